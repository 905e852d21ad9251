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

#: Bytes that a process may hold beyond what it uses.
MOST_KEPT = 2 * 2**30


class _Mallinfo2(ctypes.Structure):
    """Counts of glibc's ``mallinfo2``, bytes."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


class FreedMemory:
    """What a process holds beyond what it uses, given back to the system now and then.

    Args:
        most: Bytes that it may hold beyond what it uses, and beyond what could not be given back before.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most, self._stuck = most, 0

    def give_back(self) -> bool:
        """Give freed memory back where the process holds much more than it uses.

        Returns:
            Whether memory was given back; False on systems without glibc's means.
        """
        glibc = _glibc()
        if glibc is None or _resident() - self._stuck <= self._most or _kept(glibc) - self._stuck <= self._most:
            return False
        given = bool(glibc.malloc_trim(0))
        self._stuck = max(0, _kept(glibc))
        return given


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
    """Bytes in memory, files apart."""
    _, resident, shared = Path("/proc/self/statm").read_text().split()[:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _kept(glibc: Any) -> int:
    """Bytes in memory, files apart, beyond those that were asked for and not freed.

    glibc counts them by walking over all that is free, which takes longer the more pieces there are.
    """
    found = glibc.mallinfo2()
    return _resident() - int(found.uordblks + found.hblkhd)
