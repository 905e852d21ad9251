"""The trade-off between quality and speed, as attributes of a model that are checked and saved with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trbert_env.deploy.config import TokenReducedConfig
from trbert_env.ranges import check_number
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.speed_table import SpeedTable


class TradeOff:
    """Trade-off between quality and speed: by a threshold, which a speed-up may name, or by fractions of every text.

    Example:
        >>> model.speedup = 2.0  # doctest: +SKIP
        >>> model.keep_fractions = (0.5, 0.2)  # doctest: +SKIP
    """

    config: TokenReducedConfig

    @property
    def num_reductions(self) -> int:
        """Number of reductions that are decided on."""
        raise NotImplementedError

    @property
    def decision(self) -> DecisionRule:
        """Decision rule."""
        return self.config.decision

    @property
    def speed_table(self) -> SpeedTable:
        """Which threshold gives which speed-up; empty where none was measured."""
        return SpeedTable(tuple(self.config.speedups), tuple(self.config.thresholds))

    @speed_table.setter
    def speed_table(self, table: SpeedTable) -> None:
        """Save it with the model."""
        self.config.speedups, self.config.thresholds = list(table.speedups), list(table.thresholds)

    @property
    def threshold(self) -> float:
        """Keep probability from which on a token is kept; setting it lets it decide, in place of keep fractions.

        Raises:
            TypeError: It is no number.
            ValueError: It is no probability.
        """
        return self.config.threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        """Save it with the model."""
        self.set_decision(DecisionRule(threshold=check_number("threshold", threshold)))

    @property
    def keep_fractions(self) -> tuple[float, ...] | None:
        """Fractions of every text that the reductions keep; None where the threshold decides.

        Raises:
            TypeError: They are no numbers.
            ValueError: They are not one for each reduction, falling within (0, 1].
        """
        return self.decision.keep_fractions

    @keep_fractions.setter
    def keep_fractions(self, fractions: Sequence[float] | None) -> None:
        """Save them with the model."""
        if fractions is None:
            self.set_decision(DecisionRule(self.threshold))
            return
        if isinstance(fractions, str) or not isinstance(fractions, Iterable):
            raise TypeError(f"keep_fractions is {fractions!r}: give {self.num_reductions} numbers")
        numbers = tuple(check_number("a keep fraction", fraction) for fraction in fractions)
        self.set_decision(DecisionRule(self.threshold, numbers))

    @property
    def speedup(self) -> float | None:
        """FLOPs speed-up that its threshold gave on training texts; None where fractions decide, or none was measured.

        Setting it looks the threshold up in the speed table.

        Raises:
            TypeError: It is no number.
            ValueError: The model has no speed table, or it does not reach so far.
        """
        table = self.speed_table
        found = None if self.keep_fractions is not None else table.speedup(self.threshold)
        if found is None:
            return None
        # The way to the threshold and back costs the last digits; within the table, so that it can be set again.
        return min(max(round(found, 6), table.speedups[0]), table.speedups[-1])

    @speedup.setter
    def speedup(self, speedup: float) -> None:
        """Save the threshold with the model."""
        if not self.config.speedups:
            raise ValueError(
                "the model has no speed table, so that no speed-up can be set: set its threshold or keep_fractions, or "
                "train it by runners/train_policy.py"
            )
        self.threshold = self.speed_table.threshold(check_number("speedup", speedup))

    def set_decision(self, decision: DecisionRule) -> None:
        """Decide by another rule from now on, and when loaded again.

        Raises:
            ValueError: Its keep fractions are not one for each reduction, falling within (0, 1].
        """
        decision.check(self.num_reductions)
        fractions = decision.keep_fractions
        self.config.threshold = decision.threshold
        self.config.keep_fractions = None if fractions is None else list(fractions)
