"""A price on computation that finds itself: the multiplier that holds a policy to a wanted speed-up."""

from __future__ import annotations

import math
from typing import Any

#: Natural logarithm of the most that a price may become of what it was, and of its reciprocal.
LONGEST_WAY = 12.0


class BudgetController:
    """Adapts the price of eq. 4 so that the policy costs what the user allows (a Lagrange multiplier).

    The constraint is ``reduced FLOPs <= full FLOPs / target``. Its violation, on a logarithmic scale,
    moves the price by a proportional and an integral term: policies answer a price with delay, and the
    integral alone (plain dual ascent) would swing around the target (Stooke et al. 2020, PID Lagrangian).
    The proportional part is the greater by far, so that little is wound up on a long way to the target.
    The price stays positive, and its step is relative, so that no scale must be known beforehand.

    Args:
        target_speedup: Wanted mean full over mean reduced FLOPs, above 1.
        price: Price at the start, in nats per unit of :class:`~trbert_env.envs.reward.LengthPrice`.
        proportional: Gain of the present violation.
        integral: Gain of the past ones, per update.
        smoothing: Weight of the past in the running mean of the cost, reduced over full FLOPs.

    Raises:
        ValueError: The target is not above 1, or the price not above 0.

    Example:
        >>> controller = BudgetController(target_speedup=2.0, price=0.01)
        >>> _ = controller.update(speedup=1.25)  # too slow: dearer
        >>> controller.price > 0.01
        True
    """

    def __init__(
        self,
        target_speedup: float,
        price: float = 0.005,
        proportional: float = 4.0,
        integral: float = 0.05,
        smoothing: float = 0.9,
    ) -> None:
        if not 1.0 < target_speedup < math.inf:
            raise ValueError(f"target speed-up {target_speedup}: it must be above 1")
        if not 0.0 < price < math.inf:
            raise ValueError(f"price {price}: it must be above 0 to be adapted by relative steps")
        self.target_speedup = target_speedup
        self._proportional, self._integral, self._smoothing = proportional, integral, smoothing
        self._log_price = self._start = math.log(price)
        self._cost: float | None = None

    @property
    def violation(self) -> float:
        """Log of the running mean cost over the allowed one; 0 on target, positive where it is too slow."""
        return 0.0 if self._cost is None else math.log(self._cost * self.target_speedup)

    @property
    def price(self) -> float:
        """What a unit costs now."""
        return math.exp(self._log_price + self._proportional * self.violation)

    def update(self, speedup: float) -> dict[str, float]:
        """Take in a batch; returns metrics to log.

        Args:
            speedup: Its unreduced FLOPs over what the policy ran them in.
        """
        weight = 0.0 if self._cost is None else self._smoothing
        self._cost = weight * (self._cost or 0.0) + (1.0 - weight) / speedup
        # Bounded, for an agent that does not answer the price would wind it up beyond all numbers.
        price = self._log_price + self._integral * self.violation
        self._log_price = min(max(price, self._start - LONGEST_WAY), self._start + LONGEST_WAY)
        return {"charts/multiplier": self.price, "charts/budget_violation": self.violation}

    def state_dict(self) -> dict[str, Any]:
        """Price and running cost."""
        return {"log_price": self._log_price, "cost": self._cost}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._log_price, self._cost = state["log_price"], state["cost"]
