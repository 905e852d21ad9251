"""SpeedTable: which threshold of the decision rule gives which speed-up."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trbert_env.reduction.decision import logit


@dataclass(frozen=True)
class SpeedTable:
    """Which threshold gives which FLOPs speed-up, as measured on training texts.

    Attributes:
        speedups: Rising.
        thresholds: One each, rising.
    """

    speedups: tuple[float, ...]
    thresholds: tuple[float, ...]

    def threshold(self, speedup: float) -> float:
        """The threshold for a wanted speed-up, interpolated between neighbours: log speed-up against log-odds.

        Raises:
            ValueError: The table does not reach so far.

        Example:
            >>> round(SpeedTable(speedups=(1.0, 4.0), thresholds=(0.2, 0.8)).threshold(2.0), 6)
            0.5
        """
        if len(self.speedups) < 2 or not self.speedups[0] <= speedup <= self.speedups[-1]:
            known = f"{self.speedups[0]:.2f} to {self.speedups[-1]:.2f}" if self.speedups else "none"
            raise ValueError(f"speed-up {speedup} is not among those that were measured for this model: {known}")
        right = max(1, next(i for i, value in enumerate(self.speedups) if value >= speedup))
        low, high = self.speedups[right - 1], self.speedups[right]
        share = math.log(speedup / low) / math.log(high / low)
        odds = [logit(value) for value in self.thresholds[right - 1 : right + 1]]
        return 1.0 / (1.0 + math.exp(-(odds[0] + share * (odds[1] - odds[0]))))

    def speedup(self, threshold: float) -> float | None:
        """Return the speed-up of a threshold, interpolated as :meth:`threshold` does; None beyond the table.

        Example:
            >>> table = SpeedTable(speedups=(1.0, 4.0), thresholds=(0.2, 0.8))
            >>> round(table.speedup(0.5), 6), table.speedup(0.9)
            (2.0, None)
        """
        if len(self.thresholds) < 2 or not self.thresholds[0] <= threshold <= self.thresholds[-1]:
            return None
        right = max(1, next(i for i, value in enumerate(self.thresholds) if value >= threshold))
        low, high = self.speedups[right - 1], self.speedups[right]
        before, after = (logit(value) for value in self.thresholds[right - 1 : right + 1])
        share = (logit(threshold) - before) / (after - before) if after > before else 1.0
        return low * math.exp(share * math.log(high / low))
