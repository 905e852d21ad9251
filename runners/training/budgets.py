"""What a training run may spend: one budget, one drawn for every update, or one that a price holds it to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.base import Learner
from agents.budget import BudgetController
from agents.policy_agent import PolicyAgent
from runners.cli.run import UserError
from runners.evaluation.matching import fractions_for_speedup, fractions_speedup, full_layout
from trbert_env.encoder.texts import EncodedText
from trbert_env.presets import Preset
from trbert_env.reduction.cost import CostModel

#: Budgets that a range of speed-ups is divided into.
RANGE_STEPS = 16


class Budgets:
    """Sets an agent's keep fractions, and the price of what it keeps.

    Under a budget the fractions are bent until they give the target. Once an agent samples without one,
    the price becomes a multiplier that holds it to the target.

    Args:
        agent: The agent. Where it has a policy of eq. 2, its keep fractions are set, and its present ones are the
            shape of all budgets. Any other agent is held to a target by the price alone.
        cost: Cost of the encoder and the policy.
        texts: Training texts, which say what fractions cost.
        price: Lambda of eq. 4 where there is no target, and where the multiplier starts.
        target_speedup: The FLOPs speed-up that is wanted, if one is.
        speedup_range: Draw a budget from this range for every update, about even in log speed-up. The model is made
            for the speed-up of the shape, or for the nearest in the range.
    """

    def __init__(
        self,
        agent: Learner,
        cost: CostModel,
        texts: Sequence[EncodedText],
        price: float,
        target_speedup: float | None = None,
        speedup_range: tuple[float, float] | None = None,
    ) -> None:
        self._price = price
        self._agent = agent if isinstance(agent, PolicyAgent) else None
        self._choices: list[tuple[float, ...]] = []
        self._controller: BudgetController | None = None
        #: FLOPs speed-up that is trained for: the target, or that of the budget; None where a price decides.
        self.target_speedup = target_speedup
        #: The budget, before any is drawn; None for an agent that knows none.
        self.fractions: tuple[float, ...] | None = None
        if target_speedup is not None:
            self._controller = BudgetController(target_speedup, price)
        if self._agent is None:
            return
        shape = self._agent.keep_fractions
        if target_speedup is not None:
            self._agent.keep_fractions = fractions_for_speedup(target_speedup, shape, cost, texts)
        elif self._agent.ends_budgeted:
            self.target_speedup = fractions_speedup(shape, cost, full_layout(texts))
        if speedup_range is not None:
            speeds = np.geomspace(*speedup_range, num=RANGE_STEPS)
            self._choices = [fractions_for_speedup(float(speed), shape, cost, texts) for speed in speeds]
            self._keep_within(*speedup_range)
        self.fractions = self._agent.keep_fractions

    def _keep_within(self, low: float, high: float) -> None:
        """Take the nearest of the budgets that are drawn, where the shape's own is beyond them: it is shipped."""
        assert self._agent is not None, "only the budgets of a policy are drawn"
        assert self.target_speedup is not None, "which ends under one"
        if not low <= self.target_speedup <= high:
            fast = self.target_speedup > high
            self.target_speedup, self._agent.keep_fractions = high if fast else low, self._choices[-1 if fast else 0]

    @property
    def priced(self) -> bool:
        """Whether the price decides what the coming update costs, and not a budget."""
        return self._agent is None or not self._agent.budgeted

    @property
    def price(self) -> float:
        """Lambda of the coming update."""
        return self._price if self._controller is None else self._controller.price

    def draw(self, generator: np.random.Generator) -> None:
        """Set the budget of the coming update, where there is a range of them."""
        if self._choices and self._agent is not None:
            self._agent.keep_fractions = self._choices[int(generator.integers(len(self._choices)))]

    def account(self, speedup: float) -> dict[str, float]:
        """Take in the FLOPs speed-up of an update without a budget; returns metrics to log."""
        return {} if self._controller is None else self._controller.update(speedup)

    def state_dict(self) -> dict[str, Any]:
        """The multiplier; budgets are drawn by the run's own generator."""
        return {"controller": None if self._controller is None else self._controller.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        if self._controller is not None:
            self._controller.load_state_dict(state["controller"])


def check_price(budgets: Budgets, preset: Preset, given: float | None) -> None:
    """Refuse a run whose cost a price alone decides, where none is given and the data set has none of its own.

    Args:
        budgets: Budgets of the run.
        preset: The data set's record.
        given: The price that is given; None for the preset's.

    Raises:
        UserError: The preset's price is only what a target speed-up starts from.
    """
    if budgets.target_speedup is None and given is None and not preset.has_published_price:
        raise UserError(f"{preset.name} has no published price of a token: give --target-speedup or --length-penalty")
