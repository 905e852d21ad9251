"""Candidates of a run: the jointly trained model, and the policy on the unchanged encoder where training loses much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from runners.cli.display import announce, print_table
from runners.evaluation.quality import MeasuredPass
from runners.faster.choice import Choice, SpeedPoint, choose, measure_points
from runners.faster.options import MakeFasterOptions
from runners.faster.report import FRONTIER_COLUMNS, frontier_rows
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.reduction.speed_table import SpeedTable

#: Share of the loss that is there at the slowest speed already, from which on training is held to lose it.
TRAINED_AWAY = 0.5
#: Outcomes from the best to the worst.
_OUTCOMES = ("shown", "measured", "speed", "missed")


@dataclass(frozen=True)
class Candidate:
    """A model at several speeds on held-out texts, and the one that was chosen of them.

    Attributes:
        model: The model.
        table: Which threshold gives which speed on these texts.
        points: The model at several speeds, from the slowest.
        choice: The choice among these.
        frozen: True if its encoder is the checkpoint's, unchanged.
    """

    model: TokenReducedModel
    table: SpeedTable
    points: Sequence[SpeedPoint]
    choice: Choice
    frozen: bool

    @classmethod
    def measure(
        cls,
        model: TokenReducedModel,
        full: MeasuredPass,
        options: MakeFasterOptions,
        dtype: torch.dtype,
        device: str,
        *,
        frozen: bool = False,
    ) -> Candidate:
        """Measure a model on held-out texts, choose a speed, and print its table.

        Args:
            model: The model.
            full: Pass of the unreduced model over the held-out texts.
            options: Options of the run.
            dtype: Number format of the encoder.
            device: Device to compute on.
            frozen: True if its encoder is the checkpoint's.
        """
        table, points = measure_points(model, full, options.trained_speedup, dtype, device)
        target = options.trained_speedup if options.max_loss is None else options.target_speedup
        choice = choose(points, target, options.max_loss)
        count, metric = len(full.workload.examples), full.workload.task.metric_names[0].replace("_", " ")
        of_it = "policy alone, encoder unchanged: " if frozen else ""
        print_table(
            f"{of_it}speeds on {count:,} held-out texts: {metric}, points of it lost, and at most with 95 % confidence "
            "(* chosen)",
            FRONTIER_COLUMNS,
            frontier_rows(points, choice.point, full.workload.task.metric_names[0]),
        )
        return cls(model, table, points, choice, frozen)


def best_candidate(trained: Candidate, measure_frozen: Callable[[], Candidate]) -> Candidate:
    """Return the better one of two models; the second is measured only where training seems to lose more than skipping.

    Few texts of joint training can cost an encoder more than skipping costs a policy on the unchanged encoder.

    Args:
        trained: The jointly trained model.
        measure_frozen: Measures the policy on the unchanged encoder.
    """
    if not lost_by_training(trained.points, trained.choice):
        return trained
    slowest, chosen = trained.points[0], trained.choice.point
    announce(
        f"{slowest.loss.mean:.2f} points are lost at {slowest.flops_speedup:.2f}x already, {chosen.loss.mean:.2f} at "
        f"{chosen.flops_speedup:.2f}x: training lost them rather than skipping. More texts to train on (--total-texts, "
        "--minutes) would lose less; the policy alone, with the encoder as it was, is measured too"
    )
    frozen = measure_frozen()
    if not better(frozen.choice, trained.choice):
        return trained
    announce("the policy alone is better here: the faster model has the encoder as it was, unchanged")
    # Both are tried in this order, so that the second shows nothing where the first has not; see choice.py.
    outcome = "measured" if frozen.choice.outcome == "shown" else frozen.choice.outcome
    return replace(frozen, choice=Choice(frozen.choice.point, outcome))


def lost_by_training(points: Sequence[SpeedPoint], choice: Choice) -> bool:
    """Tell whether most of what is lost is surely lost at the slowest speed already, or all speeds lose too much.

    Args:
        points: A model at several speeds, from the slowest.
        choice: The choice among them.
    """
    slowest = points[0].loss
    surely = slowest.mean > slowest.bound - slowest.mean  # as far from no loss as the bound is from the mean
    return choice.outcome == "missed" or (surely and slowest.mean >= TRAINED_AWAY * choice.point.loss.mean)


def better(one: Choice, other: Choice) -> bool:
    """Tell whether one choice is better: by its outcome, then by what was to be reached, speed or a small loss.

    Args:
        one: The one.
        other: The other.
    """
    if one.outcome != other.outcome:
        return _OUTCOMES.index(one.outcome) < _OUTCOMES.index(other.outcome)
    if one.outcome in ("shown", "measured") and one.point.wanted != other.point.wanted:
        return one.point.wanted > other.point.wanted
    return one.point.loss.mean < other.point.loss.mean
