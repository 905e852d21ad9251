"""Output of a runner: progress, and notices that nobody should overlook."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

#: The label of the bar that is drawn now, if one is.
_on_screen: list[str] = []

#: Notices that the command has printed; None outside of :func:`each_notice_once`.
_announced: ContextVar[set[str] | None] = ContextVar("announced", default=None)


class Bar(Protocol):
    """A progress display."""

    def update(self, advance: int = 1, **metrics: float) -> None:
        """Count work that is done.

        Args:
            advance: Items done since the last call.
            **metrics: Live metrics to show, by name; one not given keeps its last value.
        """


@contextmanager
def progress(label: str, total: int, *, done: int = 0, unit: str = "texts", every: float = 10.0) -> Iterator[Bar]:
    """Show a bar with rate, time left and live metrics, or plain lines where stdout is not a terminal.

    Args:
        label: Name of the work.
        total: Items in all.
        done: Items done before, by the run that this one resumes; they do not count in the rate.
        unit: Name of the items, in the plural.
        every: Least seconds between two plain lines.
    """
    state = _State(label, total, done, unit)
    if not sys.stdout.isatty():
        lines = _Lines(state, every)
        try:
            yield lines
        finally:
            lines.close()
        return
    if _on_screen:  # two bars would draw over each other: the outer one stays
        yield _RichBar(state, lambda: None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), _StateColumn(state))
    with Progress(*columns, console=Console()) as bars:
        task = bars.add_task(label, total=total, completed=done)

        def move() -> None:
            bars.update(task, completed=state.done)

        _on_screen.append(label)
        try:
            yield _RichBar(state, move)
        finally:
            _on_screen.pop()


class _State:
    """State of the work."""

    def __init__(self, label: str, total: int, done: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._done_before = done
        self.metrics: dict[str, float] = {}
        self._started = time.monotonic()

    def add(self, advance: int, metrics: dict[str, float]) -> None:
        """Add an update."""
        self.done += advance
        self.metrics |= metrics

    def summary(self) -> str:
        """Return count, rate, time left and metrics in one line."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self.done - self._done_before) / seconds
        parts = [f"{self.done:,}/{self.total:,}", f"{rate:.1f} {self.unit}/s"]
        if rate > 0:
            parts.append(f"{_clock((self.total - self.done) / rate)} left")
        return "  ".join(parts + [f"{name} {value:.4g}" for name, value in self.metrics.items()])


class _RichBar:
    """Progress on a terminal."""

    def __init__(self, state: _State, move: _Move) -> None:
        self._state, self._move = state, move

    def update(self, advance: int = 1, **metrics: float) -> None:
        self._state.add(advance, metrics)
        self._move()


class _Move(Protocol):
    def __call__(self) -> None: ...


class _StateColumn(ProgressColumn):
    """The summary behind the bar; read at each refresh, so that the rate falls when work stalls."""

    def __init__(self, state: _State) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._state = state

    def render(self, task: Task) -> Text:
        return Text(self._state.summary())


class _Lines:
    """Progress in a log file: a line now and then, and one at the end."""

    def __init__(self, state: _State, every: float) -> None:
        self._state, self._every = state, every
        self._last = time.monotonic()
        self._printed = -1

    def update(self, advance: int = 1, **metrics: float) -> None:
        self._state.add(advance, metrics)
        if time.monotonic() - self._last >= self._every:
            self._print()

    def close(self) -> None:
        """Print the end of the work, unless the last line says it already."""
        if self._printed != self._state.done:
            self._print()

    def _print(self) -> None:
        print(f"{self._state.label}  {self._state.summary()}", flush=True)
        self._last, self._printed = time.monotonic(), self._state.done


@contextmanager
def each_notice_once() -> Iterator[None]:
    """Print no notice twice while the block runs: nested runs load the same data, and say so each time."""
    token = _announced.set(set())
    try:
        yield
    finally:
        _announced.reset(token)


def announce(message: str) -> None:
    """Print a framed notice on stderr that a user must not overlook, such as a fallback.

    Args:
        message: The notice; inside of :func:`each_notice_once`, one that was printed is not printed again.
    """
    announced = _announced.get()
    if announced is not None:
        if message in announced:
            return
        announced.add(message)
    Console(stderr=True).print(Panel(Text(message), title="note", border_style="yellow", style="yellow"))


def print_end(
    folder: Path, model: Path, next_step: str | None = None, *, loader: str = "TokenReducedModel.from_pretrained"
) -> None:
    """Print where a run's curves and its model are, if it left one, and what can come next.

    Args:
        folder: Folder of the run.
        model: Folder of the model.
        next_step: A command that trains the model on; None where this is the last stage.
        loader: Function that loads the model from its folder.
    """
    word = shlex.quote(str(folder))
    print(f"watch the curves: tensorboard --logdir {word}")
    if model.is_dir():
        print(f'use the model: {loader}("{model}"), or evaluate.py --model {word}')
        if next_step is not None:
            print(f"train the encoder with it: {next_step}")


def _clock(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
