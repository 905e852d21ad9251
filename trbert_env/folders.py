"""Folders that are either wholly there or not there at all, even if the machine stops in between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing_tensors(path: Path) -> Iterator[None]:
    """Turn what safetensors raises while it writes into the ``OSError`` that it stands for.

    Args:
        path: The file or folder that is written; named in the error.

    Raises:
        OSError: The file could not be written: a full disk, for example.
    """
    try:
        yield
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error}): make room on the disk") from error


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of ``path`` at the end of the block.

    Whenever the writing stops, ``path`` is the old folder, missing, or the new one, whole.

    Args:
        path: The folder that is replaced. One process writes to it.
    """
    partial = path.with_name(path.name + ".partial")
    if partial.exists():  # an interrupted write
        shutil.rmtree(partial)
    partial.mkdir()
    with writing_tensors(path):
        yield partial
    for file in partial.iterdir():
        sync(file)
    if path.exists():
        shutil.rmtree(path)
    os.rename(partial, path)
    sync(path.parent)
