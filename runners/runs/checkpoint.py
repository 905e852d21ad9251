"""Checkpoints that survive a kill at any moment, without pickle.

A checkpoint folder holds ``step-000012/`` with the state, and ``latest.json`` that points to it. A new
state is written beside the old one under a temporary name, synchronised to the disk, renamed, and only then
pointed to; the old one goes last. So whenever the writing stops, ``latest.json`` names a whole state.
``latest.json`` also holds the digests of the state's files, the format's version and the run that the state
belongs to, so that a damaged file or another run's state is noticed.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file

from runners.runs.files import file_digest, read_json, read_record, write_durably, write_json
from runners.runs.tree import decode_tree, encode_tree
from trbert_env.folders import sync, writing_tensors

#: Version of what a run leaves on the disk to be resumed from: its options in ``config.json``, and its states. Raised
#: when what was written before cannot be read any more. 3: options by their names on the command line.
FORMAT = 3

_STEP = re.compile(r"step-(\d+)")
_FILES = ("state.safetensors", "state.json")


def save_state(directory: Path, state: Any, run_id: str = "", progress: float = 0.0) -> None:
    """Write a state in place of the one before it.

    Args:
        directory: The checkpoint folder; made if it is missing. One process writes to it.
        state: A tree of dicts (string and integer keys), lists, tensors, numpy arrays, numbers, strings
            and None, as :func:`runners.runs.tree.encode_tree` takes it.
        run_id: The run that the state belongs to; :func:`load_state` asks for the same.
        progress: Share of the run's texts that it has seen, 0 to 1; see :func:`saved_progress`.

    Raises:
        OSError: It could not be written. The old state stays.
        TypeError: The state holds something else; the message says where. The old state stays.
    """
    text, tensors = encode_tree(state)
    directory.mkdir(parents=True, exist_ok=True)
    name = f"step-{1 + max(_steps(directory).values(), default=0):06d}"
    partial = directory / f"{name}.partial"
    if partial.exists():  # an interrupted write
        shutil.rmtree(partial)
    partial.mkdir()
    with writing_tensors(partial / "state.safetensors"):
        save_file(tensors, partial / "state.safetensors")
    sync(partial / "state.safetensors")
    write_durably(partial / "state.json", text)
    sync(partial)
    digests = {file: file_digest(partial / file) for file in _FILES}
    os.rename(partial, directory / name)
    sync(directory)
    record = {"folder": name, "format": FORMAT, "run_id": run_id, "digests": digests, "progress": progress}
    write_json(directory / "latest.json", record)
    _remove_all_but(directory, name)


def load_state(directory: Path, run_id: str = "") -> Any:
    """Read the latest whole state; tensors are on the CPU, and tuples have become lists.

    Args:
        directory: The checkpoint folder.
        run_id: The run that the state must belong to.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A file is damaged, of another version or of another run; the message names it.
    """
    pointer = directory / "latest.json"
    if not pointer.exists():
        raise FileNotFoundError(f"there is no checkpoint in {directory}: the run wrote none; start a new run")
    folder = _checked_folder(pointer, run_id)
    try:
        tensors = load_file(folder / "state.safetensors", device="cpu")
    except safetensors.SafetensorError as error:
        raise ValueError(f"{folder / 'state.safetensors'} is damaged ({error}); start a new run") from error
    tree = read_json(folder / "state.json")
    try:
        return decode_tree(tree, tensors)
    except ValueError as error:
        raise ValueError(f"{folder / 'state.json'} is damaged ({error}); start a new run") from error


def _checked_folder(pointer: Path, run_id: str) -> Path:
    """Return the folder that ``latest.json`` names, once its files are what was written by this run."""
    record = read_record(pointer, ("folder",))
    name = record["folder"]
    if not isinstance(name, str) or not _STEP.fullmatch(name):
        raise ValueError(f"{pointer} names no step folder; restore it or start a new run")
    if record.get("format") != FORMAT:
        found = record.get("format", 1)
        raise ValueError(
            f"{pointer} has a state of format {found}, this version reads {FORMAT}: "
            "finish the run with the version that began it, or start a new run"
        )
    if record.get("run_id") != run_id:
        raise ValueError(
            f"{pointer} belongs to run {record.get('run_id')!r}, not to this one ({run_id!r}): "
            "restore the run's own checkpoint, or start a new run"
        )
    digests = record.get("digests")
    folder = pointer.parent / name
    for file in _FILES:
        wanted = digests.get(file) if isinstance(digests, dict) else None
        if not (folder / file).exists():
            raise ValueError(f"{folder / file} is missing; restore it or start a new run")
        if file_digest(folder / file) != wanted:
            raise ValueError(f"{folder / file} is damaged (its digest is another); start a new run")
    return folder


def saved_progress(directory: Path) -> float:
    """Return the share of the run's texts that the latest state has seen; 0 where there is none, or it does not say.

    Args:
        directory: The checkpoint folder.

    Raises:
        ValueError: ``latest.json`` is damaged.
    """
    if not has_state(directory):
        return 0.0
    return float(read_record(directory / "latest.json").get("progress", 0.0))


def has_state(directory: Path) -> bool:
    """Return whether :func:`load_state` has something to read."""
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
