"""Certainty of a record's numbers, which ``make_faster.py`` writes: intervals, and ranges of the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Certainty:
    """Intervals and ranges of a record; None for what it does not have.

    Attributes:
        loss_half_width: Half the width of the 95 % interval of the loss of the main metric, over texts.
        flops_speedup_half_width: The same of the FLOPs speed-up.
        wall_speedup_stock_least: Least wall speed-up of a round over stock transformers.
        wall_speedup_stock_most: Greatest.
        wall_speedup_packed_least: Least wall speed-up of a round over the packed encoder.
        wall_speedup_packed_most: Greatest.
    """

    loss_half_width: float | None = None
    flops_speedup_half_width: float | None = None
    wall_speedup_stock_least: float | None = None
    wall_speedup_stock_most: float | None = None
    wall_speedup_packed_least: float | None = None
    wall_speedup_packed_most: float | None = None

    @classmethod
    def of(cls, extra: Mapping[str, Any]) -> Certainty:
        """Read it from what a record has beyond its own keys.

        Args:
            extra: :attr:`runners.evaluation.record.EvaluationRecord.extra`.
        """
        return cls(**{entry.name: extra.get(entry.name) for entry in fields(cls)})

    @property
    def stock(self) -> str:
        """Range over stock transformers, in words; empty where it is not known."""
        return _range(self.wall_speedup_stock_least, self.wall_speedup_stock_most)

    @property
    def packed(self) -> str:
        """Range over the packed encoder, in words; empty where it is not known."""
        return _range(self.wall_speedup_packed_least, self.wall_speedup_packed_most)


def plus_minus(half: float | None) -> str:
    """Return an interval's half width as text behind its number; empty where it is not known.

    Example:
        >>> plus_minus(0.25), plus_minus(None)
        (' ± 0.25', '')
    """
    return "" if half is None else f" ± {half:.2f}"


def _range(least: float | None, most: float | None) -> str:
    return "" if least is None or most is None else f"{least:.2f}× to {most:.2f}× in single rounds"
