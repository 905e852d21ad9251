"""The lines that every runner opens with, as `runners.shared` documents them, do what they are there for."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import runners.shared


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A runner of the documented lines, beside a file that would hide a library of the same name."""
    documented = inspect.getdoc(runners.shared) or ""
    block = documented.partition("other imports::\n")[2].partition("\nand closes with::")[0]
    lines = inspect.cleandoc("\n" + block)
    assert "sys.path" in lines
    (tmp_path / "colorsys.py").write_text("raise SystemExit('the wrong module was imported')\n")
    path = tmp_path / "job.py"
    path.write_text(f"{lines}\n\nimport colorsys\n\nprint(colorsys.__file__)\n")
    return path


def test_a_sibling_file_does_not_hide_a_library(script: Path) -> None:
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent != script.parent


def test_without_the_project_the_mend_is_said(script: Path) -> None:
    # -I -S: neither installed packages nor the environment's paths.
    command = [sys.executable, "-I", "-S", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the project is not installed in ")
    assert "make venv" in done.stderr
    assert done.stderr.count("\n") == 1
