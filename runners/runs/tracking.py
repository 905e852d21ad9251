"""TensorBoard, in the same way for every runner."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from runners.cli.flags import options_to_json
from runners.cli.options import RunnerOptions


class Tracker:
    """Write a run's curves.

    Args:
        events_dir: The folder of the events.
        resume_step: The first step that is logged from now on: what was logged from there on before, by an
            interrupted run for example, is dropped. 0 for a new run.
    """

    def __init__(self, events_dir: Path, resume_step: int = 0) -> None:
        # Said for a new run too: TensorBoard takes a folder's first START for its beginning, and drops nothing there.
        self._writer = SummaryWriter(str(events_dir), purge_step=resume_step)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve.

        Args:
            metrics: Values by TensorBoard key, such as ``charts/episodic_return``.
            step: The x axis.
        """
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)

    def log_evaluation(self, record: Mapping[str, Any], step: int) -> None:
        """Add the metrics of an evaluation record, as ``eval/<name>``."""
        self.log({f"eval/{name}": float(value) for name, value in record.items() if _is_number(value)}, step)

    def log_text(self, name: str, text: str, step: int) -> None:
        """Add a piece of Markdown."""
        self._writer.add_text(name, text, step)

    def log_figure(self, name: str, figure: Figure) -> None:
        """Add a plot as an image."""
        self._writer.add_figure(name, figure, close=False)

    def flush(self) -> None:
        """Write everything logged to the disk; done with each checkpoint, a kill leaves no gap."""
        self._writer.flush()

    def add_hparams(self, options: RunnerOptions, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Close the record: the options beside the final metrics, in TensorBoard's table of runs.

        Args:
            options: The run's options.
            metrics: The final record; what is not a number in it is left out.
            step: The x axis.
        """
        values = {name: _scalar(value) for name, value in options_to_json(options).items()}
        # Names of their own: a table column that is also a curve shows only the last of the two.
        finals = {f"final/{name}": float(value) for name, value in metrics.items() if _is_number(value)}
        # Not by SummaryWriter.add_hparams: its second writer would not tell of a full disk.
        writer = self._writer._get_file_writer()
        for summary in hparams(values, finals):
            writer.add_summary(summary, step)
        self.log(finals, step)

    def close(self) -> None:
        """Write everything to the disk and close the file.

        Raises:
            OSError: Something could not be written.
        """
        try:
            self._writer.flush()  # closing alone does not say so
        finally:
            self._writer.close()

    def __enter__(self) -> Tracker:
        """Use it in a ``with`` block, which closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; where the block failed already, its own error is the one that is told."""
        if error is None:
            self.close()
        else:
            with suppress(OSError):
                self._writer.close()


def track_end(events_dir: Path, options: RunnerOptions, record: Mapping[str, Any], total_texts: int) -> None:
    """Log a run's closing record.

    The points stand one step behind the run's last: a resumed run drops all from there on, so that a record
    which is logged again after an interruption stands there once.

    Args:
        events_dir: The folder of the events.
        options: The run's options.
        record: The record of ``metrics.json``.
        total_texts: Texts of the whole run, the x axis of its curves.
    """
    step = total_texts + 1
    with Tracker(events_dir, resume_step=step) as tracker:
        tracker.log_evaluation(record, step)
        tracker.add_hparams(options, record, step)


def read_curve(events_dir: Path, key: str) -> list[tuple[int, float]]:
    """A run's curve, as ``(step, value)``; empty where it has none of that key."""
    return read_curves(events_dir, (key,)).get(key, [])


def read_curves(events_dir: Path, keys: Collection[str]) -> dict[str, list[tuple[int, float]]]:
    """Return those of a run's curves that it has, as ``(step, value)``, by key.

    Args:
        events_dir: The folder of the events.
        keys: TensorBoard keys.
    """
    events = EventAccumulator(str(events_dir), size_guidance={SCALARS: 0})  # 0: all of them
    events.Reload()
    there = [key for key in events.Tags()[SCALARS] if key in keys]
    return {key: [(event.step, event.value) for event in events.Scalars(key)] for key in there}


def _scalar(value: Any) -> bool | int | float | str:
    """An option as TensorBoard's table takes it."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
