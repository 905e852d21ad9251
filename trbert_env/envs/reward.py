"""The reward of eq. 4: how good the answer is, less a price for what is kept."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from trbert_env.encoder.packing import Layout
from trbert_env.reduction.cost import CostModel

Penalty = Literal["tokens", "flops"]
#: What quality is: the log-likelihood of the gold answer (eq. 4), or nearness to the unreduced model's distribution.
Reward = Literal["likelihood", "distillation"]


def check_length_penalty(value: float) -> float:
    """Return ``value`` as a float.

    Raises:
        ValueError: It is negative, infinite or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 <= value < math.inf:
        raise ValueError(f"length_penalty {value!r}: it is a price in nats per kept token, so give 0 or more")
    return float(value)


def check_reward_temperature(value: float, reward: Reward) -> None:
    """Check the temperature of the reward ``distillation``.

    Args:
        value: The temperature.
        reward: The reward, which another has no use for.

    Raises:
        ValueError: It is not above 0, greater than float32 can tell apart, or no number, or the reward has none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 < value <= 100.0:
        raise ValueError(f"reward_temperature {value!r}: it divides logits, so give a number above 0, of at most 100")
    if value != 1.0 and reward != "distillation":
        raise ValueError(f"reward_temperature {value:g} is of reward 'distillation', not of {reward!r}: leave it out")


@dataclass
class LengthPrice:
    """What the tokens kept at a reduction cost, in nats.

    With ``penalty="tokens"`` each costs ``length_penalty`` (lambda of eq. 4). With ``"flops"`` the
    price is on the FLOPs of the stage that they run through, counted in tokens: the linear FLOPs of
    one token through the average number of layers between two reductions. Lambda then has the same
    scale, but long texts and deep stages cost what they really do.

    Attributes:
        length_penalty: Nats per kept token.
        penalty: Kind of price, on tokens or on FLOPs.
        cost: The encoder's cost model.
    """

    length_penalty: float
    penalty: Penalty
    cost: CostModel

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            ValueError: A negative price or an unknown penalty.
        """
        self.length_penalty = check_length_penalty(self.length_penalty)
        if self.penalty not in get_args(Penalty):
            raise ValueError(f"penalty '{self.penalty}' is unknown: use one of {', '.join(get_args(Penalty))}")

    def of_stage(self, layouts: Sequence[Layout], stage: int) -> Tensor:
        """``(num_texts,)`` float64: the price of the tokens that go into ``stage`` (1-based: after a reduction)."""
        if self.penalty == "tokens":
            return self.length_penalty * layouts[stage].token_counts.double()
        size = self.cost.size
        depths = self.cost.stage_depths
        linear = 4 * size.hidden_size + size.position_rows + size.matrices * size.intermediate_size
        unit = 2 * size.hidden_size * linear * sum(depths[1:]) / (len(depths) - 1)
        return self.length_penalty * self.cost.layers_of(layouts[stage], stage) / unit
