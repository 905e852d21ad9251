"""Ctrl-C at a good moment: the step in work is finished, a checkpoint written, and only then the run ends.

SIGTERM, by which schedulers and containers end a job that has some seconds left, is the same.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class InterruptFlag:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.raised = False


@contextmanager
def interrupt_flag() -> Iterator[InterruptFlag]:
    """Within the block, a first Ctrl-C or SIGTERM only raises the flag; a Ctrl-C behind it interrupts at once.

    A second SIGTERM does not: ``timeout`` sends two at a time, and who has no patience sends SIGKILL.

    What runs in the block looks at the flag where its state is whole, saves, and raises
    ``KeyboardInterrupt`` itself. A signal that is ignored, as Ctrl-C is of jobs in a shell script's background, stays
    so; and outside of the main thread, which alone can handle signals, the flag is never raised.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def note(signum: int, frame: FrameType | None) -> None:
        if flag.raised:
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            return
        flag.raised = True
        print("\nstopping after this step (Ctrl-C again: at once) ...", flush=True)

    heard = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) not in (signal.SIG_IGN, None)]
    previous = {signum: signal.signal(signum, note) for signum in heard}
    try:
        yield flag
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
