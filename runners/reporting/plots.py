"""The plots of a report: quality against speed, and the curves of training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runners.cli.plots import metric_label
from runners.evaluation.intervals import WHOLE
from runners.evaluation.record import EvaluationRecord
from runners.evaluation.summary import interval, shown_interval
from runners.faster.speeds import Speeds
from runners.reporting.charts import Chart, Line, Mark, smoothed
from runners.reporting.sources import (
    LIKELIHOOD,
    LOSS,
    RETURN,
    SPEEDUP,
    Point,
    Source,
    Training,
    main_metric,
    quality_of,
)

#: Name of the encoder that all is compared with.
UNREDUCED = "unreduced"


@dataclass(frozen=True)
class Row:
    """Runs that differ by their seed alone: the mean of each number, and half of its 95 % interval.

    Attributes:
        series: Line that they belong to.
        target: FLOPs speed-up that was aimed at; 0 where none was.
        runs: Number of runs.
        examples: Examples that they were measured on.
        quality: Main metric; None where the runs have none of their own.
        quality_half: Half of its interval; NaN for a single run.
        difference: Main metric less that of the unreduced encoder; None where ``quality`` is.
        difference_half: Half of its interval over the texts, which a single run may tell; NaN for none.
        flops_speedup: FLOPs speed-up.
        wall_speedup_stock: Wall speed-up over stock transformers; None where the clock was not read.
        wall_speedup_packed: Wall speed-up over the packed encoder; None where the clock was not read.
        kept: Kept fraction at each reduction; empty where nothing is skipped.
    """

    series: str
    target: float
    runs: int
    examples: int
    quality: float | None
    quality_half: float
    difference: float | None
    difference_half: float
    flops_speedup: float
    wall_speedup_stock: float | None
    wall_speedup_packed: float | None
    kept: tuple[float, ...]


@dataclass(frozen=True)
class DataSet:
    """What was measured on one data set.

    Attributes:
        env: Name of the data set.
        metric: Name of its main metric.
        unreduced: Main metric of the unreduced encoders and the examples that it was measured on.
        rows: One row a series and speed-up.
        record: A record of it, for its conditions.
    """

    env: str
    metric: str
    unreduced: Sequence[tuple[float, int]]
    rows: Sequence[Row]
    record: EvaluationRecord

    @property
    def is_mixed(self) -> bool:
        """Whether the unreduced encoders do not agree: other examples, or another encoder."""
        return len(self.unreduced) > 1

    @property
    def frontier(self) -> Chart | None:
        """Quality against speed; None where there is a single point beside the unreduced encoder.

        Where the unreduced encoders do not agree, it is the change of quality, for qualities cannot be compared.
        """
        shown = [row for row in self.rows if row.difference is not None]
        if len(shown) < 2:
            return None
        start = 0.0 if self.is_mixed else self.unreduced[0][0]
        lines = [Line(UNREDUCED, 0, [Mark(1.0, start, label=UNREDUCED)])]
        for style, series in enumerate(dict.fromkeys(row.series for row in shown), start=1):
            own = sorted((row for row in shown if row.series == series), key=lambda row: row.flops_speedup)
            lines.append(Line(series, style, [self._mark(row) for row in own]))
        label = f"change of {metric_label(self.metric)}" if self.is_mixed else metric_label(self.metric)
        ceiling = math.inf if self.is_mixed else WHOLE
        return Chart(f"{self.env}: quality against speed", "FLOPs speed-up", label, lines, ceiling=ceiling)

    def _mark(self, row: Row) -> Mark:
        height = row.difference if self.is_mixed else row.quality
        assert height is not None, "a row with a difference has a quality"
        told = shown_interval(height, row.quality_half, sign=self.is_mixed)
        return Mark(row.flops_speedup, height, row.quality_half, f"{row.series}: {told} at {row.flops_speedup:.2f}x")


def data_sets(sources: Sequence[Source]) -> list[DataSet]:
    """Return what was measured on each data set, in the order in which they come.

    Args:
        sources: All folders of a report.
    """
    points = [point for source in sources for point in source.points]
    kinds = dict.fromkeys(_kind_of(point) for point in points)
    return [_data_set(*kind, [point for point in points if _kind_of(point) == kind]) for kind in kinds]


def _kind_of(point: Point) -> tuple[str, str]:
    """Data set and main metric: own data of one name may be classes, rankings or numbers."""
    return point.record.conditions.env, main_metric(point.record)


def _data_set(env: str, metric: str, points: Sequence[Point]) -> DataSet:
    alike = dict.fromkeys(point.alike for point in points)
    rows = [_row([point for point in points if point.alike == key], metric) for key in alike]
    full = [(quality_of(point.record.full, metric), examples_of(point.record)) for point in points]
    unreduced = dict.fromkeys((value, count) for value, count in full if value is not None)
    return DataSet(env, metric, list(unreduced), rows, max((point.record for point in points), key=examples_of))


def examples_of(record: EvaluationRecord) -> int:
    """Return the number of examples that a record was measured on; of texts where it does not tell.

    Args:
        record: Record of an evaluation.
    """
    return record.conditions.num_examples or record.conditions.num_texts


def _row(points: Sequence[Point], metric: str) -> Row:
    qualities = [quality_of(point.record.reduced.quality, metric) for point in points]
    own = [value for value in qualities if value is not None]
    mean, half = interval(own) if own else (None, math.nan)
    full = [quality_of(point.record.full, metric) for point in points]
    differences = [one - other for one, other in zip(qualities, full, strict=True) if None not in (one, other)]  # type: ignore[operator]
    clocks = [point.record.clock for point in points if point.record.clock is not None]
    lost = points[0].record.certainty.loss_half_width
    fractions = [saved.kept_fractions for point in points if (saved := point.record.reduced.savings) is not None]
    return Row(
        points[0].series,
        points[0].target,
        len(points),
        examples_of(points[0].record),
        mean,
        half,
        statistics.fmean(differences) if differences else None,
        math.nan if len(points) > 1 or lost is None else lost,
        statistics.fmean(point.flops_speedup for point in points),
        statistics.fmean(clock.wall_speedup_stock for clock in clocks) if clocks else None,
        statistics.fmean(clock.wall_speedup_packed for clock in clocks) if clocks else None,
        tuple(statistics.fmean(column) for column in zip(*fractions, strict=True)) if fractions else (),
    )


def training_charts(sources: Sequence[Source]) -> list[Chart]:
    """Return the curves of training: the return, or what the runs log of it, the speed, and quality on held-out texts.

    A line of likelihood or loss is left out where the same training has a return, which says both with the price of
    the tokens. Lines of several data sets are told apart by them.

    Args:
        sources: All folders of a report.
    """
    runs = [source for source in sources if any(training.curves for training in source.trainings)]
    several = len({source.env for source in runs}) > 1
    trainings = [
        replace(training, name=f"{source.env}, {training.name}") if several else training
        for source in runs
        for training in source.trainings
        if training.curves
    ]
    metrics = dict.fromkeys(main_metric(source.record) for source in runs)
    titles = {
        RETURN: ("Return", "reward of the answer less the price of the tokens, nats a text"),
        SPEEDUP: ("Speed while training", "FLOPs speed-up"),
        **{
            f"holdout/{metric}": ("Quality on held-out texts", f"held-out {metric_label(metric)}") for metric in metrics
        },
        LIKELIHOOD: ("Log-likelihood", "log Pr(gold), nats"),
        LOSS: ("Loss", "loss on gold labels, nats"),
    }
    charts = []
    for key, (title, label) in titles.items():
        lines = [
            _curve(training, key, style)
            for style, training in enumerate(trainings, start=1)
            if _has_curve(training, key) and not (key in (LIKELIHOOD, LOSS) and _has_curve(training, RETURN))
        ]
        if lines:
            charts.append(Chart(title, "training texts", label, lines, floor=1.0 if key == SPEEDUP else None))
    return charts


def held_out_chart(env: str, speeds: Speeds) -> Chart:
    """Return quality against speed of one model on held-out texts.

    Args:
        env: Name of the data set.
        speeds: Speeds that were measured.
    """
    marks = []
    for point in speeds.points:
        if point.quality is None:
            continue
        lost = "" if point.loss is None else f", {point.loss:.2f} lost"
        bound = "" if point.loss_bound is None else f", at most {point.loss_bound:.2f} with 95 % confidence"
        half = math.nan if point.loss_half_width is None else point.loss_half_width
        label = f"{point.quality:.2f} at {point.flops_speedup:.2f}x{lost}{bound}"
        marks.append((point.chosen, Mark(point.flops_speedup, point.quality, half, label)))
    chosen = [replace(mark, half=math.nan) for own, mark in marks if own]  # its interval is drawn already
    lines = [Line("measured", 1, [mark for _, mark in marks]), Line("chosen", 2, chosen)]
    if speeds.unreduced is not None:
        start = Mark(1.0, speeds.unreduced, label=f"{UNREDUCED}: {speeds.unreduced:.2f}")
        lines.insert(0, Line(UNREDUCED, 0, [start]))
    label = metric_label(speeds.metric)
    return Chart(f"{env}: quality against speed, held-out texts", "FLOPs speed-up", label, lines, ceiling=WHOLE)


def _has_curve(training: Training, key: str) -> bool:
    return len(training.curves.get(key, ())) > 1


def _curve(training: Training, key: str, style: int) -> Line:
    points = [(float(step), value) for step, value in training.curves[key]]
    if len(points) <= 20:  # measured now and then: each point counts
        return Line(training.name, style, [Mark(x, y, label=f"{y:.2f} at {x:,.0f} texts") for x, y in points])
    return Line(training.name, style, path=smoothed(points, 40), behind=smoothed(points))
