"""Candidates of a run: the jointly trained model, and the policy on the unchanged encoder where much is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from runners.cli.display import announce
from runners.cli.tables import print_table
from runners.evaluation.intervals import CONFIDENCE
from runners.evaluation.quality import MeasuredPass
from runners.faster.choice import Choice, SpeedPoint, choose, measure_points
from runners.faster.options import MakeFasterOptions
from runners.faster.report import FRONTIER_COLUMNS, frontier_rows
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.reduction.speed_table import SpeedTable

#: Share of the loss that is there at the slowest speed already, from which on the policy alone is measured too.
TRAINED_AWAY = 0.5
#: Outcomes from the best to the worst.
_OUTCOMES = ("shown", "measured", "speed", "missed")
#: Share by which two FLOPs speed-ups may differ and count as one.
ALIKE = 0.05


@dataclass(frozen=True)
class Candidate:
    """A model at several speeds on held-out texts.

    Attributes:
        model: The model.
        table: Which threshold gives which speed on these texts.
        points: The model at several speeds, from the slowest.
        target: FLOPs speed-up that is asked for; None for none.
        max_loss: Points of the main metric that may be lost; None where the speed alone decides.
        frozen: True if joint training has not changed its encoder.
    """

    model: TokenReducedModel
    table: SpeedTable
    points: Sequence[SpeedPoint]
    target: float | None
    max_loss: float | None
    frozen: bool = False

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
        """Measure a model on held-out texts.

        Args:
            model: The model.
            full: Pass of the unreduced model over the held-out texts.
            options: Options of the run.
            dtype: Number format of the encoder.
            device: Device to compute on.
            frozen: True if joint training has not changed its encoder.
        """
        table, points = measure_points(model, full, options.trained_speedup, dtype, device)
        target = options.trained_speedup if options.max_loss is None else options.target_speedup
        return cls(model, table, points, target, options.max_loss, frozen)

    @cached_property
    def choice(self) -> Choice:
        """The speed that is chosen of this model; see :func:`runners.faster.choice.choose`."""
        return choose(self.points, self.target, self.max_loss)

    def among(self, count: int) -> Candidate:
        """Return the same with bounds that hold for the best of several models.

        Args:
            count: Number of models that are compared on the same texts.
        """
        return replace(self, points=[replace(point, loss=point.loss.among(count)) for point in self.points])

    def show(self, held_out: int, metric: str) -> None:
        """Print the speeds as a table.

        Args:
            held_out: Number of held-out records.
            metric: Name of the main metric.
        """
        of_it = "policy alone, encoder unchanged: " if self.frozen else ""
        print_table(
            f"{of_it}speeds on {held_out:,} held-out texts: {metric.replace('_', ' ')}, points of it lost, and at most "
            f"with {CONFIDENCE:.0%} confidence (* its choice)",
            FRONTIER_COLUMNS,
            frontier_rows(self.points, self.choice.point, metric),
        )


def best_candidate(trained: Candidate, measure_frozen: Callable[[], Candidate]) -> Candidate:
    """Return the better one of two models; the second is measured only where much is lost at the slowest speed already.

    Few texts of joint training can cost an encoder more than skipping costs a policy on the unchanged encoder. Where
    two are compared, their bounds are those of the better of two.

    Args:
        trained: The jointly trained model.
        measure_frozen: Measures the policy on the unchanged encoder.
    """
    if not loses_when_slow(trained.points, trained.choice):
        return trained
    slowest = trained.points[0]
    announce(
        f"{slowest.loss.mean:.2f} points are lost at the slowest speed, {slowest.flops_speedup:.2f}x, already: joint "
        "training on few texts can lose more than skipping does. So the policy alone, with the encoder as it was, is "
        "measured too, which takes as long again. More texts to train on (--total-texts, --minutes) would lose less"
    )
    frozen, trained = measure_frozen().among(2), trained.among(2)
    if not better(frozen, trained):
        return trained
    announce("the policy alone is better here: the faster model has the encoder as it was before joint training")
    return frozen


def loses_when_slow(points: Sequence[SpeedPoint], choice: Choice) -> bool:
    """Tell whether most of what is lost is surely lost at the slowest speed already, or all speeds lose too much.

    Args:
        points: A model at several speeds, from the slowest.
        choice: The choice among them.
    """
    slowest = points[0].loss
    surely = slowest.mean > slowest.bound - slowest.mean  # as far from no loss as the bound is from the mean
    return choice.outcome == "missed" or (surely and slowest.mean >= TRAINED_AWAY * choice.point.loss.mean)


def better(one: Candidate, other: Candidate) -> bool:
    """Tell whether a model is better: by its outcome, then by its speed where that is asked for, then by its loss.

    Args:
        one: The one.
        other: The other.
    """
    mine, others = one.choice, other.choice
    if mine.outcome != others.outcome:
        return _OUTCOMES.index(mine.outcome) < _OUTCOMES.index(others.outcome)
    speed, against = mine.point.flops_speedup, others.point.flops_speedup
    if mine.outcome != "missed" and abs(speed / against - 1.0) > ALIKE:
        wanted = mine.point.wanted  # by the speed alone: whichever is nearer to it; by a loss: whichever is faster
        return abs(speed - wanted) < abs(against - wanted) if mine.outcome == "speed" else speed > against
    return mine.point.loss.mean < others.point.loss.mean
