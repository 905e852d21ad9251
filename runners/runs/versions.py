"""Which versions made a result."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from trbert_env.encoder.kernels import attention_way, chosen_libraries

_PACKAGES = ("torch", "transformers", "gymnasium", "stable-baselines3", "trbert-env")


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the libraries that decide a result; None for one not installed.

    So does the library that multiplies on the CPU, of each number format, and how it attends in bfloat16.
    """
    chosen: dict[str, str | None] = {f"linear_{dtype}": library for dtype, library in chosen_libraries().items()}
    chosen |= {"attention_bfloat16": attention_way()}
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES} | chosen


def git_commit() -> str | None:
    """The commit of this checkout, ``-dirty`` behind it if files differ; None outside of a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # an installed copy may lie inside someone else's repository
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # git itself is not installed
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
