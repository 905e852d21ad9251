"""Summaries of runs over seeds: means, intervals, and lines of a plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Protocol

from runners.evaluation.intervals import student_quantile
from runners.evaluation.record import EvaluationRecord

#: Share that a speed may be off the target before a table says so.
OFF_TARGET = 0.03


class Reached(Protocol):
    """A measured point: speed and quality that a run reached."""

    @property
    def target(self) -> float:
        """FLOPs speed-up that was aimed at."""

    @property
    def flops_speedup(self) -> float:
        """FLOPs speed-up that was reached."""

    @property
    def record(self) -> EvaluationRecord:
        """Record of the evaluation."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t; NaN for a single value.

    Example:
        >>> mean, half = interval([1.0, 2.0, 3.0])
        >>> mean, round(half, 3)
        (2.0, 2.484)
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, student_quantile(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def shown_interval(mean: float, half: float = math.nan, sign: bool = False) -> str:
    """Return a mean and its interval as text; empty for no number.

    Args:
        mean: The mean.
        half: Half the width of the interval; NaN or infinite for none.
        sign: True to write the sign of positive means too.

    Example:
        >>> shown_interval(2.0, 0.25), shown_interval(0.5, sign=True), shown_interval(float("nan"))
        ('2.00 ± 0.25', '+0.50', '')
    """
    if math.isnan(mean):
        return ""
    text = f"{mean:+.2f}" if sign else f"{mean:.2f}"
    return f"{text} ± {half:.2f}" if math.isfinite(half) else text


def shown_speedup(speedup: float, target: float | None = None) -> str:
    """Return a FLOPs speed-up as text, with a star where it is off its target.

    Args:
        speedup: FLOPs speed-up that was reached.
        target: FLOPs speed-up that was aimed at; None for none.

    Example:
        >>> shown_speedup(2.01, 2.0), shown_speedup(2.1, 2.0)
        ('2.01x', '2.10x*')
    """
    off = target is not None and abs(speedup / target - 1.0) > OFF_TARGET
    return f"{shown_interval(speedup)}x{'*' if off else ''}"


def mean_line(points: Sequence[Reached], metric: str) -> list[tuple[float, float]]:
    """Return one point a target: the mean over seeds of speed-up and quality, in the order of the speed-up.

    Args:
        points: Points of one line of a plot.
        metric: Name of the metric.
    """
    line = []
    for target in sorted({point.target for point in points}):
        chosen = [point for point in points if point.target == target]
        speedup = statistics.fmean(point.flops_speedup for point in chosen)
        line.append((speedup, statistics.fmean(point.record.reduced.quality[metric] for point in chosen)))
    return sorted(line)
