"""Freed memory goes back to the system where there is much of it, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: A process that keeps what it frees, as a runner's does, with every other piece still in use.
SCRIPT = """
import os, runpy
runpy.run_path("runners/script.py")
from runners.training.heap import FreedMemory
from numpy import ones
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
pieces = [ones(2**17) for _ in range(400)]
pieces[::2] = [None] * 200
held = resident()
freed = FreedMemory(most=100 * 2**20)
print(FreedMemory(most=held).give_back(), resident() > held - 2**20, freed.give_back(), (held - resident()) // 2**20)
print(freed.give_back())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives memory back")
def test_memory_that_lies_free_between_pieces_in_use_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    early, kept, later, given, again = done.stdout.split()
    assert (early, kept, later, again) == ("False", "True", "True", "False")
    assert int(given) >= 150  # 200 pieces of 1 MiB, less what the libraries took meanwhile
