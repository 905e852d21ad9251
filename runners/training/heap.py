"""Freed memory of a training run, which glibc keeps in pieces that no later tensor fits into.

A runner's process keeps what it frees (see ``script.py``). Where batches need other sizes each time, as long texts of
many lengths do, pieces stay free between those in use: two to three times the memory that is used.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

#: Bytes that a process may hold beyond what it uses, libraries included.
MOST_KEPT = 2 * 2**30


class _Mallinfo2(ctypes.Structure):
    """Counts of glibc's ``mallinfo2``, bytes."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def give_back(most: int = MOST_KEPT) -> bool:
    """Give freed memory back to the system where the process holds much more than it uses.

    Args:
        most: Bytes that it may hold beyond what it uses.

    Returns:
        Whether memory was given back; False on systems without glibc's means.
    """
    glibc = _glibc()
    if glibc is None or _resident() - _used(glibc) <= most:
        return False
    return bool(glibc.malloc_trim(0))


@cache
def _glibc() -> Any:
    """The C library, where it tells what is used and can give back the rest; else None."""
    if not Path("/proc/self/statm").exists():
        return None
    library = ctypes.CDLL(None)
    if not (hasattr(library, "mallinfo2") and hasattr(library, "malloc_trim")):
        return None
    library.mallinfo2.restype = _Mallinfo2
    return library


def _resident() -> int:
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _used(glibc: Any) -> int:
    """Bytes that were asked for and not freed."""
    found = glibc.mallinfo2()
    return int(found.uordblks + found.hblkhd)
