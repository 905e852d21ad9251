"""Choice of the speed, on held-out texts: which threshold gives it, what it loses, and how surely that is known.

Speeds are tried from the slowest to the fastest, and the walk ends at the first whose bound exceeds what may be lost.
So each bound counts as it stands, however many speeds are tried: the chosen speed loses too much only if the bound
failed at the first speed of the walk that does, which has a probability of 5 % at most (fixed-sequence testing;
Angelopoulos et al. 2021, "Learn then Test").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from runners.cli.display import announce
from runners.evaluation.intervals import Loss
from runners.evaluation.quality import MeasuredPass, measure_pass
from runners.evaluation.record import Measured
from runners.evaluation.speed_table import measure_speeds
from runners.evaluation.timing import placed_reduced
from trbert_env.data.sampling import passages_of
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.speed_table import SpeedTable
from trbert_env.system import ReducedSystem

#: FLOPs speed-ups that are tried, where the model reaches them.
SPEEDS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)

#: How the choice came about: by the speed that was asked for; by a loss that is shown to be small enough; by one that
#: was measured so but not shown; or at the slowest speed, for all lose more.
Outcome = Literal["speed", "shown", "measured", "missed"]


@dataclass(frozen=True)
class SpeedPoint:
    """The model at one speed, on held-out texts.

    Attributes:
        wanted: FLOPs speed-up that the threshold was looked up for.
        decision: Decision rule.
        measured: Quality and savings.
        loss: Loss against the unreduced model.
    """

    wanted: float
    decision: DecisionRule
    measured: Measured
    loss: Loss

    @property
    def flops_speedup(self) -> float:
        """FLOPs speed-up that was measured."""
        assert self.measured.savings is not None, "a reduced model saves"
        return self.measured.savings.flops_speedup


@dataclass(frozen=True)
class Choice:
    """The speed that was chosen.

    Attributes:
        point: The model at that speed, on held-out texts.
        outcome: How the choice came about.
    """

    point: SpeedPoint
    outcome: Outcome


def choose(points: Sequence[SpeedPoint], target: float | None, max_loss: float | None) -> Choice:
    """Choose a speed.

    Args:
        points: The model at several speeds, from the slowest; at least one.
        target: FLOPs speed-up that is asked for, or with ``max_loss`` the most; None for no limit.
        max_loss: Points of the main metric that may be lost; None where the speed alone decides.

    Returns:
        Without ``max_loss``, the point nearest to the target. With it, the last point before the first whose bound is
        beyond it; where there is none, the last before the first whose mean loss is; else the slowest.
    """
    if max_loss is None:
        assert target is not None, "one of the two decides"
        return Choice(min(points, key=lambda point: abs(point.wanted - target)), "speed")
    allowed = [point for point in points if target is None or point.wanted <= target] or list(points[:1])
    shown = _before_the_first(allowed, [point.loss.bound > max_loss for point in allowed])
    if shown is not None:
        return Choice(shown, "shown")
    measured = _before_the_first(allowed, [point.loss.mean > max_loss for point in allowed])
    return Choice(allowed[0], "missed") if measured is None else Choice(measured, "measured")


def _before_the_first(points: Sequence[SpeedPoint], fails: Sequence[bool]) -> SpeedPoint | None:
    count = next((place for place, failed in enumerate(fails) if failed), len(points))
    return points[count - 1] if count else None


def candidates(table: SpeedTable, trained: float) -> list[float]:
    """Return the speed-ups to measure: those of :data:`SPEEDS` and the trained one, as far as the model reaches them.

    Args:
        table: Speeds of the model.
        trained: FLOPs speed-up that it was trained for.

    Example:
        >>> candidates(SpeedTable(speedups=(1.2, 2.2), thresholds=(0.1, 0.9)), 1.6)
        [1.25, 1.5, 1.6, 1.75, 2.0]
    """
    if len(table.speedups) < 2:  # the policy tells no tokens apart
        return []
    return sorted(speed for speed in {*SPEEDS, trained} if table.speedups[0] <= speed <= table.speedups[-1])


def measure_points(
    model: TokenReducedModel, full: MeasuredPass, trained: float, dtype: torch.dtype, device: str
) -> tuple[SpeedTable, list[SpeedPoint]]:
    """Measure a model at several speeds on held-out texts.

    Args:
        model: The model, left as it is.
        full: Pass of the unreduced model over the held-out texts.
        trained: FLOPs speed-up that the model was trained for.
        dtype: Number format of the encoder.
        device: Device to compute on.

    Returns:
        Which threshold gives which speed on these texts, and the points, from the slowest.
    """
    held_out = full.workload
    table = measure_speeds(model, held_out.texts, dtype, device, trained)
    rules = {speed: DecisionRule(threshold=table.threshold(speed)) for speed in candidates(table, trained)}
    if trained not in rules:
        announce(
            f"on held-out texts, thresholds give {table.speedups[0]:.2f}x to {table.speedups[-1]:.2f}x, and the model "
            f"was trained for {trained:g}x: it is measured there by the rule that it was trained with"
        )
        rules[trained] = model.decision
    placed, groups = placed_reduced(model, device, dtype), passages_of(held_out.examples)
    points = []
    for speed, rule in rules.items():
        found = measure_pass(ReducedSystem(placed, rule, f"held-out texts at {speed:g}x"), held_out)
        points.append(SpeedPoint(speed, rule, found.measured, Loss.of(full.scores, found.scores, groups)))
    return table, sorted(points, key=lambda point: point.flops_speedup)
