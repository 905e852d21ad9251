"""Ctrl-C at a good moment: the step in work is finished, a checkpoint written, and only then the run ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class InterruptFlag:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.raised = False


@contextmanager
def interrupt_flag() -> Iterator[InterruptFlag]:
    """Within the block, a first Ctrl-C only raises the flag; a second one interrupts at once.

    What runs in the block looks at the flag where its state is whole, saves, and raises
    ``KeyboardInterrupt`` itself.
    """
    flag = InterruptFlag()

    def note(signum: int, frame: FrameType | None) -> None:
        if flag.raised:
            raise KeyboardInterrupt
        flag.raised = True
        print("\nstopping after this step (again: at once) ...", flush=True)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
