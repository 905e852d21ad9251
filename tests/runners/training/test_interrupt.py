"""Which signals a training hears."""

from __future__ import annotations

import signal
import threading

import pytest

from runners.training.interrupt import interrupt_flag


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """A shell script starts jobs in the background so: a Ctrl-C for the script is none of theirs."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt_flag() as flag:
            signal.raise_signal(signal.SIGINT)
            assert not flag.raised
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_raises_the_flag(signum: signal.Signals) -> None:
    previous = signal.getsignal(signum)
    with interrupt_flag() as flag:
        assert not flag.raised
        signal.raise_signal(signum)
        assert flag.raised
    assert signal.getsignal(signum) is previous


def test_a_training_may_run_in_another_thread() -> None:
    raised: list[bool] = []

    def work() -> None:
        with interrupt_flag() as flag:
            raised.append(flag.raised)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised == [False]
