"""Certainty of a record's numbers: intervals over texts, ranges of the clock, and CPU time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from runners.evaluation.machine import Load


@dataclass(frozen=True)
class Certainty:
    """Intervals, ranges and conditions of the clock of a record; None for what it does not have.

    Attributes:
        loss_half_width: Half the width of the 95 % interval of the loss of the main metric, over texts.
        flops_speedup_half_width: The same of the FLOPs speed-up.
        wall_speedup_stock_least: Least wall speed-up of a round over stock transformers.
        wall_speedup_stock_most: Greatest.
        wall_speedup_packed_least: Least wall speed-up of a round over the packed encoder.
        wall_speedup_packed_most: Greatest.
        cpu_speedup_stock: Speed-up over stock transformers by CPU time of the same rounds.
        cpu_speedup_packed: The same over the packed encoder.
        cpu_speedup_stock_least: Least speed-up of a round over stock transformers by CPU time.
        cpu_speedup_stock_most: Greatest.
        cpu_speedup_packed_least: Least speed-up of a round over the packed encoder by CPU time.
        cpu_speedup_packed_most: Greatest.
        other_processors: Processors that other processes kept busy while the clock was read.
        processors: Processors of the machine.
        machine_quiet: True if the machine was left to the measurement.
    """

    loss_half_width: float | None = None
    flops_speedup_half_width: float | None = None
    wall_speedup_stock_least: float | None = None
    wall_speedup_stock_most: float | None = None
    wall_speedup_packed_least: float | None = None
    wall_speedup_packed_most: float | None = None
    cpu_speedup_stock: float | None = None
    cpu_speedup_packed: float | None = None
    cpu_speedup_stock_least: float | None = None
    cpu_speedup_stock_most: float | None = None
    cpu_speedup_packed_least: float | None = None
    cpu_speedup_packed_most: float | None = None
    other_processors: float | None = None
    processors: int | None = None
    machine_quiet: bool | None = None

    @classmethod
    def of(cls, flat: Mapping[str, Any]) -> Certainty:
        """Read it from the flat record of ``metrics.json``.

        Args:
            flat: The record.
        """
        return cls(**{entry.name: flat.get(entry.name) for entry in fields(cls)})

    def to_flat(self) -> dict[str, Any]:
        """Return its part of the flat record, by name, of what is known."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def stock(self) -> str:
        """Range and CPU time over stock transformers, in words; empty where they are not known."""
        return _words(self.wall_speedup_stock_least, self.wall_speedup_stock_most, self.cpu_speedup_stock)

    @property
    def packed(self) -> str:
        """Range and CPU time over the packed encoder, in words; empty where they are not known."""
        return _words(self.wall_speedup_packed_least, self.wall_speedup_packed_most, self.cpu_speedup_packed)

    @property
    def load(self) -> str:
        """Work of other processes while the clock was read, in words; empty where it is not known."""
        if self.other_processors is None or self.processors is None:
            return ""
        return Load(self.other_processors, self.processors).describe(self.cpu_speedup_stock is not None)


def plus_minus(half: float | None) -> str:
    """Return an interval's half width as text behind its number; empty where it is not known.

    Example:
        >>> plus_minus(0.25), plus_minus(None), plus_minus(math.inf)
        (' ± 0.25', '', '')
    """
    return "" if half is None or not math.isfinite(half) else f" ± {half:.2f}"


def _words(least: float | None, most: float | None, by_cpu: float | None) -> str:
    found = "" if least is None or most is None else f"{least:.2f}× to {most:.2f}× in single rounds"
    return ", ".join(filter(None, [found, "" if by_cpu is None else f"{by_cpu:.2f}× by CPU time"]))
