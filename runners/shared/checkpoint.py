"""Checkpoints that survive a kill at any moment, without pickle.

A checkpoint folder holds ``step-000012/`` with the state, and ``latest.json`` that points to it. A new
state is written beside the old one under a temporary name, brought to the disk, renamed, and only then
pointed to; the old one goes last. So whenever the writing stops, ``latest.json`` names a whole state.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file

from runners.shared.files import read_json, sync, write_durably, write_json
from runners.shared.tree import decode_tree, encode_tree

_STEP = re.compile(r"step-(\d+)")


def save_state(directory: Path, state: Any) -> None:
    """Write a state in place of the one before it.

    Args:
        directory: The checkpoint folder; made if it is missing. One process writes to it.
        state: A tree of dicts (string and integer keys), lists, tensors, numpy arrays, numbers, strings
            and None, as :func:`runners.shared.tree.encode_tree` takes it.

    Raises:
        TypeError: The state holds something else; the message says where. The old state stays.
    """
    text, tensors = encode_tree(state)
    directory.mkdir(parents=True, exist_ok=True)
    name = f"step-{1 + max(_steps(directory).values(), default=0):06d}"
    partial = directory / f"{name}.partial"
    if partial.exists():  # an interrupted write
        shutil.rmtree(partial)
    partial.mkdir()
    save_file(tensors, partial / "state.safetensors")
    sync(partial / "state.safetensors")
    write_durably(partial / "state.json", text)
    sync(partial)
    os.rename(partial, directory / name)
    sync(directory)
    write_json(directory / "latest.json", {"folder": name})
    _remove_all_but(directory, name)


def load_state(directory: Path) -> Any:
    """Read the latest whole state; tensors are on the CPU, and tuples have become lists.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A file is damaged; the message names it.
    """
    pointer = directory / "latest.json"
    if not pointer.exists():
        raise FileNotFoundError(f"there is no checkpoint in {directory}: the run wrote none; start a new run")
    record = read_json(pointer)
    name = record.get("folder") if isinstance(record, dict) else None
    if not isinstance(name, str) or not _STEP.fullmatch(name):
        raise ValueError(f"{pointer} names no step folder; restore it or start a new run")
    folder = directory / name
    try:
        tensors = load_file(folder / "state.safetensors", device="cpu")
    except safetensors.SafetensorError as error:
        raise ValueError(f"{folder / 'state.safetensors'} is damaged ({error}); start a new run") from error
    tree = read_json(folder / "state.json")
    try:
        return decode_tree(tree, tensors)
    except ValueError as error:
        raise ValueError(f"{folder / 'state.json'} is damaged ({error}); start a new run") from error


def has_state(directory: Path) -> bool:
    """Whether :func:`load_state` has something to read."""
    return (directory / "latest.json").exists()


def _steps(directory: Path) -> dict[str, int]:
    """The numbers of the step folders, by folder name."""
    matches = (_STEP.fullmatch(path.name) for path in directory.iterdir())
    return {match.group(): int(match.group(1)) for match in matches if match}


def _remove_all_but(directory: Path, name: str) -> None:
    """Remove older states, and whatever an interrupted write or removal left behind."""
    for path in directory.glob("step-*"):
        if path.name != name:
            shutil.rmtree(path)
