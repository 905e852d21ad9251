"""What came out, on texts that nothing was chosen by: quality, FLOPs and clock, promise and finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from runners.cli.display import announce
from runners.cli.tables import Cell, print_table
from runners.evaluation.comparison import Comparison, quality_rows, speed_rows
from runners.evaluation.intervals import CONFIDENCE, Loss
from runners.evaluation.record import EvaluationRecord, Identity
from runners.faster.choice import Choice, SpeedPoint
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.deploy.model import TokenReducedModel

#: Rounds of the clock that count.
ROUNDS = 5


# -- tables ------------------------------------------------------------------------------------------------------


def frontier_rows(points: Sequence[SpeedPoint], chosen: SpeedPoint, metric: str) -> list[list[Cell]]:
    """Return rows of speed, metric, loss and its bound on held-out texts; a star marks the choice."""
    return [
        [
            f"{point.flops_speedup:.2f}x{'*' if point is chosen else ''}",
            f"{point.measured.quality[metric]:.2f}",
            f"{point.loss.mean:.2f}",
            f"{point.loss.bound:.2f}",
            f"{point.decision.threshold:.4g}" if point.decision.keep_fractions is None else "",
        ]
        for point in points
    ]


FRONTIER_COLUMNS = ("FLOPs", "quality", "lost", "lost at most", "threshold")


def print_findings(found: Comparison) -> None:
    """Print quality and speed as tables."""
    on = found.reduced.workload
    source = f"{on.preset.name} {on.split} ({on.data_source}), {len(on.examples):,} records"
    title = f"quality on {source}, by which nothing was chosen (± 95 %)"
    print_table(title, ["", "before", "after", "change"], quality_rows(found))
    print_table("speed-up", ["", "times as fast"], speed_rows(found))
    if found.certainty.machine_quiet is False:
        announce(found.load_note)


# -- promise and finding -----------------------------------------------------------------------------------------


def promise(choice: Choice, max_loss: float | None, held_out: int, metric: str) -> str:
    """Return what was promised by held-out texts, in one or two sentences.

    Args:
        choice: The choice.
        max_loss: ``--max-loss``.
        held_out: Held-out records that the choice was made by.
        metric: Name of the main metric.
    """
    point, loss = choice.point, choice.point.loss
    speed = f"{point.flops_speedup:.2f}x in FLOPs"
    lost = f"{lost_points(loss, metric)} on {counted(held_out, 'held-out', loss.spread.count)}"
    bound = f"at most {loss.bound:.2f} lost with {CONFIDENCE:.0%} confidence"
    if max_loss is None:
        return f"promised: {speed}; {lost}, {bound}."
    if choice.outcome == "shown":
        return f"promised: a loss of at most {max_loss:g} with {CONFIDENCE:.0%} confidence, {speed}; {lost}, {bound}."
    if choice.outcome == "missed":
        return (
            f"--max-loss {max_loss:g} is not met at any measured speed: this is the slowest, {speed}; {lost}. "
            "More texts to train on, or more time, would lose less."
        )
    if loss.bound <= max_loss:  # a faster one may lose less by chance
        return (
            f"measured, not shown: {speed}; {lost}, {bound}, but a slower speed was not shown to lose as little, and "
            "speeds are tried from the slowest on."
        )
    needed, groups, would = loss.draws_needed(max_loss), loss.spread.count, ""
    if needed is not None:
        texts = _rounded_up(math.ceil(needed * held_out / groups))
        more = counted(texts, "held-out", texts if groups == held_out else _rounded_up(needed))
        would = f" About {more} like these would (--holdout-texts)."
    return f"measured, not shown: {speed}; {lost}, {bound}: too few texts to show {max_loss:g}.{would}"


def finding(found: Comparison) -> str:
    """Return what the evaluation texts say, in one sentence."""
    workload, loss = found.reduced.workload, loss_of(found)
    lost = f"{lost_points(loss, found.metric)} (± {loss.half_width:.2f})"
    return (
        f"found: {found.flops_speedup[0]:.2f}x in FLOPs; {lost} on "
        f"{counted(len(workload.examples), workload.split, loss.spread.count)}."
    )


def loss_of(found: Comparison) -> Loss:
    """Return the loss of a comparison for which both models have run.

    Args:
        found: Measurements on the evaluation texts.
    """
    assert found.loss is not None, "both models have run"
    return found.loss


def lost_points(loss: Loss, metric: str) -> str:
    """Return a mean loss in words.

    Args:
        loss: The loss.
        metric: Name of the metric.

    Example:
        >>> import numpy as np
        >>> lost_points(Loss.of(np.array([100.0, 0.0]), np.array([100.0, 50.0]), np.arange(2)), "exact_match")
        '25.00 points of exact match gained'
    """
    points = f"{abs(loss.mean):.2f} points of {metric.replace('_', ' ')}"
    return f"{points} {'gained' if loss.mean < 0 else 'lost'}"


def counted(records: int, kind: str, groups: int) -> str:
    """Return how many texts a loss is measured on, and in how many groups where these are fewer.

    Args:
        records: Number of records.
        kind: Kind of the texts.
        groups: Number of independent draws: groups of records, or records.

    Example:
        >>> counted(4, "test", 2), counted(4, "test", 4)
        ('4 test texts in 2 groups', '4 test texts')
    """
    texts = f"{records:,} {kind} texts"
    return texts if groups == records else f"{texts} in {groups:,} groups"


def _rounded_up(count: int) -> int:
    """Two digits say all that such an estimate knows.

    Example:
        >>> _rounded_up(7278), _rounded_up(95)
        (7300, 95)
    """
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return math.ceil(count / unit) * unit


def record_of(
    found: Comparison, choice: Choice, model: TokenReducedModel, max_loss: float | None, *, frozen: bool
) -> EvaluationRecord:
    """Return the record of ``metrics.json``: of the evaluation texts, and what was promised.

    Args:
        found: Measurements on the evaluation texts.
        choice: The choice; its held-out quality stands behind ``holdout_``.
        model: The model.
        max_loss: ``--max-loss``.
        frozen: True if joint training has not changed its encoder.
    """
    extra: dict[str, Any] = {
        "outcome": choice.outcome,
        "policy_alone": frozen,
        "promised_flops_speedup": choice.point.flops_speedup,
        "promised_loss": choice.point.loss.mean,
        "promised_loss_bound": choice.point.loss.bound,
        "loss": loss_of(found).mean,
        **({} if max_loss is None else {"max_loss": max_loss}),
    }
    identity = Identity(fingerprint_model(model))
    return found.record(identity=identity, holdout=choice.point.measured, extra=extra)
