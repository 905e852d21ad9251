"""The loop of every training runner: updates, curves, checkpoints, and a good end on Ctrl-C."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from runners.cli.display import progress
from runners.cli.run import UserError
from runners.runs.checkpoint import has_state, save_state
from runners.runs.run_folder import RunFolder
from runners.runs.tracking import Tracker
from runners.training.heap import FreedMemory
from runners.training.interrupt import interrupt_flag


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
        """One update; returns metrics to log, by TensorBoard key."""
        ...

    def watch(self, tracker: Tracker) -> None:
        """Called before the first update and after each: to log what is measured now and then, where it is due."""
        ...

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """The tensors that are trained, by name: what must stay finite."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


#: Passes over a small training split, and updates, that a run has by default.
DEFAULT_PASSES, DEFAULT_UPDATES = 4, 200


def default_texts(most: int, split: int, texts_per_step: int) -> int:
    """Return the texts of a run where no number is given: four passes or 200 updates, the greater, at most so many.

    Args:
        most: The most texts.
        split: Texts of the training split.
        texts_per_step: Texts of an update.

    Example:
        >>> default_texts(20_000, 100_000, 16), default_texts(20_000, 1_500, 16), default_texts(20_000, 100, 16)
        (20000, 6000, 3200)
    """
    return min(most, max(DEFAULT_PASSES * split, DEFAULT_UPDATES * texts_per_step))


def milestones(total: int, parts: int) -> set[int]:
    """Return the updates to measure something at: before the first, and after each of some equal parts of the run.

    Example:
        >>> sorted(milestones(10, 4)), milestones(10, 0)
        ([0, 2, 5, 8, 10], set())
    """
    return {round(part * total / parts) for part in range(parts + 1)} if parts else set()


#: Curves that a run is not worth going on with once they are no numbers; beside all below ``losses/``.
_WATCHED = ("charts/episodic_return", "charts/log_likelihood")


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
        training: The training run.
        folder: Run folder of the curves and checkpoints.
        label: Name of the work in the progress bar.
        checkpoint_every: Updates between two checkpoints.
        state: State that an interrupted run saved; its curves are continued. None for a new run.
        shown: Metrics in the bar: name -> TensorBoard key.

    Raises:
        KeyboardInterrupt: The user asked to stop; a checkpoint was written.
        UserError: A loss, a gradient or a weight is no longer finite; the last good checkpoint is kept.
        ValueError: The saved state is not one of this training.
    """
    if state is not None:
        _restore(training, state, folder)
    run_id = folder.run_id

    def save() -> None:
        _check_weights(training, folder)
        tracker.flush()
        progress = training.texts_seen / training.total_texts
        save_state(folder.checkpoint_dir, training.state_dict(), run_id, progress)

    freed = FreedMemory()
    tracker = Tracker(folder.events_dir, resume_step=0 if state is None else training.texts_seen + 1)
    bar_of_run = progress(label, training.total_texts, done=training.texts_seen)
    with tracker, interrupt_flag() as interrupt, bar_of_run as bar:
        if not training.updates:
            training.watch(tracker)
        while training.texts_seen < training.total_texts:
            started, before = time.perf_counter(), training.texts_seen
            metrics = training.step()
            freed.give_back()
            _check_metrics(metrics, training, folder)
            count = training.texts_seen - before
            metrics["charts/texts_per_second"] = count / (time.perf_counter() - started)
            tracker.log(metrics, training.texts_seen)
            bar.update(count, **{name: metrics[key] for name, key in shown.items() if key in metrics})
            training.watch(tracker)
            if training.updates % checkpoint_every == 0 or interrupt.raised:
                save()
            if interrupt.raised:
                raise KeyboardInterrupt
        save()
        if interrupt.raised:  # during the last checkpoint
            raise KeyboardInterrupt


def _restore(training: Training, state: Any, folder: RunFolder) -> None:
    """Go on from a saved state.

    Raises:
        ValueError: It is not a state of this training.
    """
    try:
        training.load_state_dict(state)
    # What a state without the expected entries or shapes makes torch and plain Python raise.
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'nothing said'}"
        raise ValueError(
            f"{folder.checkpoint_dir} holds the state of another version ({reason}): "
            "finish the run with the version that began it, or start a new run"
        ) from error


def _check_metrics(metrics: Mapping[str, float], training: Training, folder: RunFolder) -> None:
    """Stop where a loss or a gradient is not finite.

    Raises:
        UserError: One is not; the message names the update.
    """
    for name, value in metrics.items():
        if (name.startswith("losses/") or name in _WATCHED) and not math.isfinite(value):
            raise _diverged(f"{name} is {value}", training, folder)


def _check_weights(training: Training, folder: RunFolder) -> None:
    """Stop before weights that are not finite take the place of the last good checkpoint.

    Raises:
        UserError: Some are not; the message names the update.
    """
    for name, values in training.weights():
        if not bool(torch.isfinite(values).all()):
            raise _diverged(f"the weights {name} are not finite", training, folder)


def _diverged(what: str, training: Training, folder: RunFolder) -> UserError:
    kept = "the last good checkpoint is kept" if has_state(folder.checkpoint_dir) else "no checkpoint was written yet"
    return UserError(
        f"the run diverges: {what} at update {training.updates}, after {training.texts_seen:,} texts; "
        f"start a new run with lower learning rates ({kept})"
    )
