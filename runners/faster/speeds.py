"""The speeds that were measured on held-out texts, kept beside ``metrics.json`` for a report to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runners.faster.choice import SpeedPoint
from runners.runs.files import read_record, write_json

#: Name of the file in the run's folder.
SPEEDS_FILE = "speeds.json"


@dataclass(frozen=True)
class Speed:
    """The model at one speed.

    Attributes:
        flops_speedup: FLOPs speed-up.
        quality: Main metric; None where it is no number.
        loss: Points of it that are lost against the unreduced model.
        loss_bound: Loss that is not exceeded with 95 % confidence; None where one passage says nothing of it.
        loss_half_width: Half the width of the two-sided interval of the loss; None likewise.
        threshold: Threshold of the decision rule; None for a rule of keep fractions.
        chosen: True for the speed that the model is set to.
    """

    flops_speedup: float
    quality: float | None
    loss: float | None
    loss_bound: float | None
    loss_half_width: float | None
    threshold: float | None
    chosen: bool


@dataclass(frozen=True)
class Speeds:
    """A model at several speeds, on held-out texts by which one of them was chosen.

    Attributes:
        metric: Name of the main metric.
        unreduced: Main metric of the unreduced model on the same texts; None where it is no number.
        held_out: Number of held-out records.
        points: The speeds, from the slowest.
    """

    metric: str
    unreduced: float | None
    held_out: int
    points: Sequence[Speed]

    @classmethod
    def of(
        cls, points: Sequence[SpeedPoint], chosen: SpeedPoint, metric: str, unreduced: float, held_out: int
    ) -> Speeds:
        """Take them from measurements.

        Args:
            points: The model at several speeds, from the slowest.
            chosen: The one of them that the model is set to.
            metric: Name of the main metric.
            unreduced: Main metric of the unreduced model.
            held_out: Number of held-out records.
        """
        return cls(metric, _finite(unreduced), held_out, [_speed(point, metric, point is chosen) for point in points])

    def write(self, folder: Path) -> None:
        """Write them into a run's folder, in one step."""
        write_json(folder / SPEEDS_FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Speeds | None:
        """Read them from a run's folder; None where it has none.

        Raises:
            ValueError: The file is damaged.
        """
        path = folder / SPEEDS_FILE
        if not path.is_file():
            return None
        record: dict[str, Any] = read_record(path, ("metric", "unreduced", "held_out", "points"))
        try:
            points = [Speed(**point) for point in record["points"]]
        except TypeError as error:
            raise ValueError(f"{path} holds something else than speeds ({error}): restore it") from error
        return cls(record["metric"], record["unreduced"], record["held_out"], points)


def _speed(point: SpeedPoint, metric: str, chosen: bool) -> Speed:
    loss, rule = point.loss, point.decision
    return Speed(
        point.flops_speedup,
        _finite(point.measured.quality[metric]),
        _finite(loss.mean),
        _finite(loss.bound),
        _finite(loss.half_width),
        rule.threshold if rule.keep_fractions is None else None,
        chosen,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
