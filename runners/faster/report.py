"""What came out, on texts that nothing was chosen by: quality, FLOPs and clock, promise and finding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from runners.cli.display import Cell, announce, print_table
from runners.evaluation.certainty import Certainty
from runners.evaluation.intervals import CONFIDENCE, Loss, groups_of, metric_interval, ratio_interval
from runners.evaluation.machine import Load, LoadWatch
from runners.evaluation.passes import evaluation_conditions
from runners.evaluation.quality import MeasuredPass, measure_pass
from runners.evaluation.record import Clock, Conditions, EvaluationRecord, Identity
from runners.evaluation.summary import shown_interval
from runners.evaluation.timing import Ratio, model_systems, placed_reduced, time_sample, timed_model
from runners.faster.choice import Choice, SpeedPoint
from trbert_env.data.backbones import placed
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.envs.settings import DType
from trbert_env.staged_model import StagedModel
from trbert_env.system import ReducedSystem, UnreducedSystem

#: Rounds of the clock that count.
ROUNDS = 5


@dataclass(frozen=True)
class Findings:
    """The chosen model on the evaluation texts.

    Attributes:
        conditions: Texts, encoder and number format.
        full: Pass of the unreduced model.
        reduced: Pass of the faster model.
        stock: Clock ratio against stock transformers.
        packed: Clock ratio against our own encoder with nothing skipped.
        cpu: The same two ratios of CPU time, ``"stock"`` and ``"packed"``; empty on a GPU, where it tells nothing.
        load: Work of other processes while the clock was read.
    """

    conditions: Conditions
    full: MeasuredPass
    reduced: MeasuredPass
    stock: Ratio
    packed: Ratio
    cpu: Mapping[str, Ratio]
    load: Load

    @classmethod
    def measure(cls, model: TokenReducedModel, workload: Workload, dtype: DType, device: str) -> Findings:
        """Measure the model by its own decision rule.

        Args:
            model: The faster model.
            workload: Evaluation texts; the backbone is the unreduced model.
            dtype: Number format to compute in.
            device: Device to compute on.
        """
        number_format = getattr(torch, dtype)
        full = measure_unreduced_pass(workload, dtype, device)
        reduced = measure_pass(ReducedSystem(placed_reduced(model, device, number_format)), workload)
        timed = timed_model(model, model.decision, number_format, device)
        watch = LoadWatch()
        with watch:
            timings = time_sample(model_systems(timed), workload.texts, ROUNDS)
        stock, packed = (Ratio.of(timings[name], timings["reduced"]) for name in ("stock", "packed"))
        sides = ("stock", "packed") if torch.device(device).type == "cpu" else ()
        cpu = {name: Ratio.by_cpu(timings[name], timings["reduced"]) for name in sides}
        return cls(evaluation_conditions(workload, dtype), full, reduced, stock, packed, cpu, watch.load)

    @property
    def metric(self) -> str:
        """Name of the main metric."""
        return self.full.workload.task.metric_names[0]

    @cached_property
    def loss(self) -> Loss:
        """Loss of the main metric."""
        return Loss.of(self.full.scores, self.reduced.scores, groups_of(self.full.workload.examples))

    @property
    def load_note(self) -> str:
        """Sentence on the work of other processes; empty where the system does not say."""
        return "" if self.load.others is None else f"the clock was read while {self.load.describe(bool(self.cpu))}"

    @property
    def flops_speedup(self) -> tuple[float, float]:
        """FLOPs speed-up, and half the width of its interval."""
        return ratio_interval(self.reduced.full_flops, self.reduced.flops)


def measure_unreduced_pass(workload: Workload, dtype: DType, device: str) -> MeasuredPass:
    """Measure the unreduced model of a workload.

    Args:
        workload: Texts, with the model.
        dtype: Number format to compute in.
        device: Device to compute on.
    """
    model = placed(workload.backbone.model, torch.device(device), getattr(torch, dtype))
    return measure_pass(UnreducedSystem(StagedModel(model, workload.task)), workload)


# -- tables ------------------------------------------------------------------------------------------------------


def quality_rows(found: Findings) -> list[list[Cell]]:
    """Return rows of metric, before, after, change; the main metric with intervals."""
    groups = groups_of(found.full.workload.examples)
    before, after = found.full.measured.quality.metrics, found.reduced.measured.quality.metrics
    rows: list[list[Cell]] = []
    for name, value in before.items():
        cells = [shown_interval(value), shown_interval(after[name]), shown_interval(after[name] - value, sign=True)]
        if name == found.metric:
            halves = [metric_interval(one.scores, groups)[1] for one in (found.full, found.reduced)]
            cells = [shown_interval(value, halves[0]), shown_interval(after[name], halves[1])]
            cells.append(shown_interval(after[name] - value, found.loss.half_width, sign=True))
        rows.append([name.replace("_", " "), *cells])
    return rows


def speed_rows(found: Findings) -> list[list[Cell]]:
    """Return rows of a speed-up and its value, with its interval or range."""
    flops, half = found.flops_speedup
    rows: list[list[Cell]] = [["FLOPs", f"{flops:.2f}x ± {half:.2f}"]]
    against = {"stock": "stock transformers", "packed": "this project's encoder without padding"}
    for name, ratio in (("stock", found.stock), ("packed", found.packed)):
        rows.append([f"clock, against {against[name]}", str(ratio)])
        if name in found.cpu:
            rows.append([f"CPU time, against {against[name]}", str(found.cpu[name])])
    return rows


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


def print_findings(found: Findings) -> None:
    """Print quality and speed as tables."""
    on = found.full.workload
    source = f"{on.preset.name} {on.split} ({on.data_source}), {len(on.examples):,} records"
    title = f"quality on {source}, by which nothing was chosen (± 95 %)"
    print_table(title, ["", "before", "after", "change"], quality_rows(found))
    print_table("speed-up", ["", "times as fast"], speed_rows(found))
    if found.load.quiet is False:
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


def finding(found: Findings) -> str:
    """Return what the evaluation texts say, in one sentence."""
    workload, loss = found.full.workload, found.loss
    lost = f"{lost_points(loss, found.metric)} (± {loss.half_width:.2f})"
    return (
        f"found: {found.flops_speedup[0]:.2f}x in FLOPs; {lost} on "
        f"{counted(len(workload.examples), workload.split, loss.spread.count)}."
    )


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
    found: Findings, choice: Choice, model: TokenReducedModel, max_loss: float | None, *, frozen: bool
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
        "loss": found.loss.mean,
        **({} if max_loss is None else {"max_loss": max_loss}),
    }
    wall = {"stock": found.stock, "packed": found.packed}
    sure = Certainty.measured(found.loss.half_width, found.flops_speedup[1], wall, found.cpu, found.load)
    return EvaluationRecord(
        found.conditions,
        found.reduced.measured,
        found.full.measured.quality,
        clock=Clock(found.stock.median, found.packed.median),
        holdout=choice.point.measured,
        identity=Identity(fingerprint_model(model)),
        extra=extra | sure.to_flat(),
    )
