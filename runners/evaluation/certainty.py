"""Certainty of a record's numbers: intervals over texts, ranges of the clock, and CPU time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from runners.evaluation.machine import Load
from runners.evaluation.timing import ClockReading


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
    def of(cls, extra: Mapping[str, Any]) -> Certainty:
        """Read it from what a record has beyond its own keys.

        Args:
            extra: :attr:`runners.evaluation.record.EvaluationRecord.extra`.
        """
        return cls(**{entry.name: extra.get(entry.name) for entry in fields(cls)})

    @classmethod
    def measured(cls, loss_half: float | None, flops_half: float | None, reading: ClockReading | None) -> Certainty:
        """Return it from what was measured.

        Args:
            loss_half: Half the width of the interval of the loss; None where the unreduced model did not run.
            flops_half: The same of the FLOPs speed-up; None where nothing was to be saved.
            reading: Reading of the clock; None where it was not read.
        """
        found: dict[str, Any] = {"loss_half_width": loss_half, "flops_speedup_half_width": flops_half}
        if reading is None:
            return cls(**found)
        for name, ratio in reading.wall.items():
            found |= {f"wall_speedup_{name}_least": ratio.least, f"wall_speedup_{name}_most": ratio.most}
        for name, ratio in reading.cpu.items():
            found |= {f"cpu_speedup_{name}": ratio.median}
            found |= {f"cpu_speedup_{name}_least": ratio.least, f"cpu_speedup_{name}_most": ratio.most}
        return cls(**found | reading.load.to_flat())

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
        >>> plus_minus(0.25), plus_minus(None)
        (' ± 0.25', '')
    """
    return "" if half is None else f" ± {half:.2f}"


def _words(least: float | None, most: float | None, by_cpu: float | None) -> str:
    found = "" if least is None or most is None else f"{least:.2f}× to {most:.2f}× in single rounds"
    return ", ".join(filter(None, [found, "" if by_cpu is None else f"{by_cpu:.2f}× by CPU time"]))
