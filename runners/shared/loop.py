"""The loop of every training runner: updates, curves, checkpoints, and a good end on Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from runners.shared.checkpoint import save_state
from runners.shared.display import progress
from runners.shared.interrupt import interrupt_flag
from runners.shared.run_folder import RunFolder
from runners.shared.tracking import Tracker


class Training(Protocol):
    """A training run, one update at a time."""

    @property
    def texts_seen(self) -> int:
        """Texts so far, repeats counted: the x axis of every curve."""
        ...

    @property
    def total_texts(self) -> int:
        """Texts of the whole run."""
        ...

    @property
    def updates(self) -> int:
        """Updates so far."""
        ...

    def step(self) -> dict[str, float]:
        """One update; returns figures to log, by TensorBoard key."""
        ...

    def watch(self, tracker: Tracker) -> None:
        """Called before the first update and after each: to log what is measured now and then, where it is due."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


def marks(total: int, parts: int) -> set[int]:
    """Updates at which something is looked at: before the first, and after each of some equal parts of the run.

    Example:
        >>> sorted(marks(10, 4)), marks(10, 0)
        ([0, 2, 5, 8, 10], set())
    """
    return {round(part * total / parts) for part in range(parts + 1)} if parts else set()


def train(
    training: Training,
    folder: RunFolder,
    *,
    label: str,
    checkpoint_every: int,
    state: Any,
    shown: Mapping[str, str],
) -> None:
    """Run to the end, from the beginning or from a saved state.

    Args:
        training: What is trained.
        folder: Where curves and checkpoints go.
        label: Of the progress bar.
        checkpoint_every: Updates between two checkpoints.
        state: What an interrupted run saved; its curves are continued. None for a new run.
        shown: What the bar shows: name -> TensorBoard key.

    Raises:
        KeyboardInterrupt: The user asked to stop; a checkpoint was written.
    """
    if state is not None:
        training.load_state_dict(state)
    tracker = Tracker(folder.events_dir, resume_step=None if state is None else training.texts_seen + 1)
    bar_of_run = progress(label, training.total_texts, done=training.texts_seen)
    with tracker, interrupt_flag() as interrupt, bar_of_run as bar:
        if not training.updates:
            training.watch(tracker)
        while training.texts_seen < training.total_texts:
            started, before = time.perf_counter(), training.texts_seen
            figures = training.step()
            count = training.texts_seen - before
            figures["charts/texts_per_second"] = count / (time.perf_counter() - started)
            tracker.log(figures, training.texts_seen)
            bar.update(count, **{name: figures[key] for name, key in shown.items() if key in figures})
            training.watch(tracker)
            if training.updates % checkpoint_every == 0 or interrupt.raised:
                tracker.flush()
                save_state(folder.checkpoint_dir, training.state_dict())
            if interrupt.raised:
                raise KeyboardInterrupt
        tracker.flush()
        save_state(folder.checkpoint_dir, training.state_dict())
