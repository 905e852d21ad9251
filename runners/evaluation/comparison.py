"""Comparison of a system with the unreduced model on a split: quality, FLOPs and clock, each with its certainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runners.cli.display import announce
from runners.cli.tables import Cell, print_table
from runners.evaluation.certainty import Certainty, plus_minus
from runners.evaluation.intervals import Groups, Loss, metric_interval, ratio_interval
from runners.evaluation.quality import MeasuredPass
from runners.evaluation.record import Conditions, EvaluationRecord, Identity, Measured, Quality
from runners.evaluation.summary import shown_interval
from runners.evaluation.timing import ClockReading
from trbert_env.data.sampling import passages_of

#: What the two sides of the clock are, in words.
SIDES = {"stock": "stock transformers", "packed": "this project's encoder without padding"}


@dataclass(frozen=True)
class Comparison:
    """What was measured of a system on a split, and of the unreduced model beside it.

    Attributes:
        conditions: Texts, encoder and number format.
        reduced: Pass of the system.
        full: Quality of the unreduced model.
        full_pass: Its pass; None where its quality was taken from an earlier record.
        reading: Reading of the clock; None where it was not read.
    """

    conditions: Conditions
    reduced: MeasuredPass
    full: Quality
    full_pass: MeasuredPass | None = None
    reading: ClockReading | None = None

    @property
    def metric(self) -> str:
        """Name of the main metric."""
        return self.reduced.workload.task.metric_names[0]

    @cached_property
    def loss(self) -> Loss | None:
        """Loss of the main metric; None where the unreduced model did not run."""
        if self.full_pass is None:
            return None
        return Loss.of(self.full_pass.scores, self.reduced.scores, self.groups)

    @cached_property
    def flops_speedup(self) -> tuple[float, float]:
        """FLOPs speed-up, and half the width of its interval."""
        return ratio_interval(self.reduced.full_flops, self.reduced.flops)

    @cached_property
    def certainty(self) -> Certainty:
        """Intervals, ranges and conditions of what was measured."""
        found: dict[str, Any] = {"loss_half_width": None if self.loss is None else self.loss.half_width}
        found["flops_speedup_half_width"] = self.flops_speedup[1]
        if self.reading is None:
            return Certainty(**found)
        for name, ratio in self.reading.wall.items():
            found |= {f"wall_speedup_{name}_least": ratio.least, f"wall_speedup_{name}_most": ratio.most}
        for name, ratio in self.reading.cpu.items():
            found |= {f"cpu_speedup_{name}": ratio.median}
            found |= {f"cpu_speedup_{name}_least": ratio.least, f"cpu_speedup_{name}_most": ratio.most}
        return Certainty(**found | self.reading.load.to_flat())

    @cached_property
    def groups(self) -> Groups:
        """Passage of each record."""
        return passages_of(self.reduced.workload.examples)

    @property
    def load_note(self) -> str:
        """Sentence on the work of other processes; empty where the clock was not read, or the system does not say."""
        words = self.certainty.load
        return words and f"the clock was read while {words}"

    def record(
        self,
        *,
        agent: str | None = None,
        identity: Identity | None = None,
        holdout: Measured | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> EvaluationRecord:
        """Return the record of ``metrics.json``.

        Args:
            agent: Name of the heuristic or system; None for a token-reduced model.
            identity: Identity of the model or agent; None for none beyond its name.
            holdout: Quality and savings on held-out training texts.
            extra: Further keys.
        """
        return EvaluationRecord(
            self.conditions,
            self.reduced.measured,
            self.full,
            agent=agent,
            clock=None if self.reading is None else self.reading.clock,
            holdout=holdout,
            identity=Identity() if identity is None else identity,
            certainty=self.certainty,
            extra=extra or {},
        )


def quality_rows(found: Comparison) -> list[list[Cell]]:
    """Return rows of metric, unreduced, reduced, change; the main metric with 95 % intervals where both models ran."""
    reduced = found.reduced.measured.quality
    rows: list[list[Cell]] = []
    for name, value in found.full.metrics.items():
        before, after, change = _halves(found) if name == found.metric else (math.nan,) * 3
        moved = shown_interval(reduced[name] - value, change, sign=True)
        rows.append(
            [name.replace("_", " "), shown_interval(value, before), shown_interval(reduced[name], after), moved]
        )
    return rows


def _halves(found: Comparison) -> tuple[float, float, float]:
    """Half widths of the main metric before and after, and of its change; NaN where they are not known."""
    after = metric_interval(found.reduced.scores, found.groups)[1]
    if found.full_pass is None or found.loss is None:
        return math.nan, after, math.nan
    return metric_interval(found.full_pass.scores, found.groups)[1], after, found.loss.half_width


def speed_rows(found: Comparison) -> list[list[Cell]]:
    """Return rows of a speed-up and its value, with its interval or range."""
    flops, half = found.flops_speedup
    rows: list[list[Cell]] = [["FLOPs", f"{flops:.2f}x{plus_minus(half)}"]]
    if found.reading is not None:
        for name, ratio in found.reading.wall.items():
            rows.append([f"clock, against {SIDES[name]}", str(ratio)])
            if name in found.reading.cpu:
                rows.append([f"CPU time, against {SIDES[name]}", str(found.reading.cpu[name])])
    return rows


def print_comparison(found: Comparison) -> None:
    """Print quality of the reduced and of the unreduced model, and what was saved."""
    on, reduced = found.conditions, found.reduced.measured
    source = f"{on.env} {on.split} ({on.data_source}), {on.num_examples:,} examples"
    likelihoods = found.full.log_likelihood, reduced.quality.log_likelihood
    rows = quality_rows(found)
    change = likelihoods[1] - likelihoods[0]
    rows.append(["log likelihood", *(f"{value:.3f}" for value in likelihoods), f"{change:+.3f}"])
    title = f"quality on {source}, backbone {on.backbone} (± 95 %)"
    print_table(title, ["", "unreduced", "reduced", "change"], rows)
    kept = () if reduced.savings is None else reduced.savings.kept_fractions
    shares: list[list[Cell]] = [[f"kept at reduction {index}", f"{share:.1%}"] for index, share in enumerate(kept, 1)]
    print_table("speed-up", ["", "times as fast"], speed_rows(found))
    if shares:
        print_table("tokens", ["", "of the full length"], shares)
    if found.certainty.machine_quiet is False:
        announce(found.load_note)
