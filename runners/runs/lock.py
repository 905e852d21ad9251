"""A lock on a run folder: two processes never write one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from runners.cli.run import UserError
from runners.runs.files import read_json, write_json

#: Beside each other in the folder: the lock, which ends with its process, and who holds it.
LOCK_FILE, HOLDER_FILE = ".lock", ".process.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process while the block runs.

    The operating system lets go of the lock when its process ends, however that happens, so that a lock
    which a killed process left behind holds nobody up.

    Args:
        folder: The run's folder; it must exist.

    Raises:
        UserError: Another process holds it.
        OSError: The lock cannot be made, in a folder that cannot be written for example.
    """
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"{folder} is still going ({_holder(folder)}): wait until it ends, or stop it, before --resume"
        ) from error
    try:
        write_json(folder / HOLDER_FILE, {"process": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        (folder / HOLDER_FILE).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    """Return who holds the lock, as far as the folder says so."""
    try:
        record = read_json(folder / HOLDER_FILE)
        return f"process {record['process']} on {record['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written, or was never
        return "another process"
