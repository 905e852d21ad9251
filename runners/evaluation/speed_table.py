"""Many speeds from one model: which threshold gives which FLOPs speed-up, measured on training texts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from runners.cli.display import announce, progress
from runners.evaluation.matching import fractions_speedup, full_layout
from runners.evaluation.timing import placed_reduced, system_flops_speedup
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.speed_table import SpeedTable
from trbert_env.system import ReducedSystem

#: Texts that speeds are measured on, and thresholds that are tried.
MEASURED_TEXTS, TABLE_SIZE = 256, 12
#: The table reaches from about no reduction to about the latter, where the policy goes so far.
SLOWEST, FASTEST = 1.05, 5.0
#: A speed-up below this much of what keeping all tokens gives is not looked for.
NEAR = 1.02
#: How far the log-odds go to either side until that is reached; beyond, a threshold tells no tokens apart.
REACH = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


def check_target(target: float, length_penalty: float | None, penalty_rise: float = 0.0) -> None:
    """Refuse a target that cannot be, and options that it leaves no room for.

    Raises:
        ValueError: It is not above 1, or the price is free or set to rise.
    """
    if not 1.0 < target < math.inf:
        raise ValueError(f"--target-speedup is {target}; it must be above 1")
    if length_penalty == 0.0:
        raise ValueError("--length-penalty is 0, where the multiplier of --target-speedup starts: give more, or none")
    if penalty_rise:
        raise ValueError("--penalty-rise has no meaning with --target-speedup, which finds the price: leave one out")


def settle_speed(
    model: TokenReducedModel, texts: Sequence[EncodedText], dtype: torch.dtype, device: str, target: float | None
) -> None:
    """Give a trained model its speed table, and the threshold for its target.

    A threshold lets the count adapt to the text, which is better than fixed fractions at equal cost.

    Args:
        model: Changed in place.
        texts: Training texts; see :func:`measure_speeds`.
        dtype: Number format of the encoder.
        device: Device to compute on.
        target: FLOPs speed-up; None leaves the model's decision rule as it is.
    """
    table = measure_speeds(model, texts, dtype, device, target)
    model.speed_table = table
    if target is None:
        return
    try:
        model.set_decision(DecisionRule(threshold=table.threshold(target)))
    except ValueError as error:  # a policy that tells tokens hardly apart; the run is not lost for that
        announce(f"{error}; the decision rule stays as it was")


def measure_speeds(
    model: TokenReducedModel,
    texts: Sequence[EncodedText],
    dtype: torch.dtype,
    device: str,
    target: float | None = None,
) -> SpeedTable:
    """Run a model at many thresholds; see :class:`~trbert_env.reduction.speed_table.SpeedTable`.

    Args:
        model: The model to measure; left as it is.
        texts: Training texts, in random order; the first :data:`MEASURED_TEXTS` are used.
        dtype: Number format of the encoder.
        device: Device to compute on.
        target: FLOPs speed-up that the table is to reach too; None for none.
    """
    measured = placed_reduced(model, device, dtype)
    sample = texts[:MEASURED_TEXTS]

    with progress("which threshold gives which speed", TABLE_SIZE, unit="thresholds") as bar:

        def speedup(odds: float) -> float:
            found = system_flops_speedup(ReducedSystem(measured, DecisionRule(threshold=probability(odds))), sample)
            bar.update()
            return found

        all_kept = (1.0,) * measured.num_reductions
        return tabulate(speedup, target, fractions_speedup(all_kept, measured.cost, full_layout(sample)))


def tabulate(speedup: Callable[[float], float], target: float | None = None, keep_all: float = 0.0) -> SpeedTable:
    """A table of a function of the threshold's log-odds, that grows with them, about even in log speed-up.

    Args:
        speedup: The function.
        target: Speed-up that it is to reach, besides :data:`SLOWEST` to :data:`FASTEST`; None for none.
        keep_all: What keeping all tokens gives, if it is known: no lower threshold is looked at near it.
    """
    points, wanted = {0.0: speedup(0.0)}, (SLOWEST, FASTEST, target or FASTEST)
    least = max(min(wanted), min(NEAR * keep_all, target or math.inf))
    for odds in REACH:
        if points[max(points)] < max(wanted):
            points[odds] = speedup(odds)
    for odds in REACH:
        if points[min(points)] > least:
            points[-odds] = speedup(-odds)
    while len(points) < TABLE_SIZE:
        known = sorted(points)
        gaps = [math.log(points[high] / points[low]) for low, high in itertools.pairwise(known)]
        widest = max(range(len(gaps)), key=gaps.__getitem__)
        middle = (known[widest] + known[widest + 1]) / 2
        points[middle] = speedup(middle)
    rising: list[tuple[float, float]] = []
    for odds in sorted(points):
        if rising and points[odds] == rising[-1][0]:  # of thresholds that give one speed, the one next to the others
            rising[-1] = (points[odds], probability(odds))
        elif not rising or points[odds] > rising[-1][0]:
            rising.append((points[odds], probability(odds)))
    return SpeedTable(tuple(value for value, _ in rising), tuple(threshold for _, threshold in rising))


def probability(odds: float) -> float:
    """The sigmoid, in double precision."""
    return 1.0 / (1.0 + math.exp(-odds))
