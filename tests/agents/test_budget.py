"""The multiplier on toy policies whose cost answers a price as a trained policy's does: slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agents.budget import BudgetController


class ToyPolicy:
    """Keeps a share of its tokens; a gradient step moves its logit by what a token is worth less its price."""

    def __init__(self, worth: float, logit: float, noise: float = 0.0) -> None:
        self.worth, self.logit, self.noise = worth, logit, noise
        self.generator = np.random.default_rng(0)

    @property
    def kept(self) -> float:
        return 1.0 / (1.0 + math.exp(-self.logit))

    def step(self, price: float) -> float:
        """The speed-up of a batch; then learn from it: what is kept last is worth least."""
        cost = 20.0 + 80.0 * self.kept + self.noise * self.generator.normal()
        self.logit += 3.0 * (self.worth * (1.0 - self.kept) - price)
        return 100.0 / cost


@pytest.mark.parametrize("target", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("worth", [0.004, 0.05])
@pytest.mark.parametrize("start", [-2.0, 0.0, 4.0])
def test_a_policy_is_brought_to_its_target_and_held_there(target: float, worth: float, start: float) -> None:
    policy, controller = ToyPolicy(worth, start), BudgetController(target, price=0.005)
    speedups = []
    for _ in range(1500):
        speedups.append(policy.step(controller.price))
        controller.update(speedups[-1])
    assert max(abs(speedup / target - 1.0) for speedup in speedups[-100:]) < 0.02
    # In balance, the price is what the last token is worth.
    assert controller.price == pytest.approx(worth * (1.0 - policy.kept), rel=0.1)


def test_noise_is_averaged_out() -> None:
    policy, controller = ToyPolicy(0.02, 2.0, noise=5.0), BudgetController(2.0, price=0.005)
    costs = []
    for _ in range(1500):
        speedup = policy.step(controller.price)
        controller.update(speedup)
        costs.append(1.0 / speedup)
    assert 1.0 / (sum(costs[-300:]) / 300) == pytest.approx(2.0, rel=0.03)


def test_the_price_moves_with_the_violation() -> None:
    controller = BudgetController(2.0, price=0.01)
    assert controller.price == pytest.approx(0.01)
    figures = controller.update(1.25)
    assert figures["charts/budget_violation"] == pytest.approx(math.log(1.6))
    assert controller.price > 0.01
    assert figures["charts/multiplier"] == controller.price
    cheap = BudgetController(2.0, price=0.01)
    cheap.update(100.0 / 30.0)
    assert 0.0 < cheap.price < 0.01


def test_goes_on_where_it_stood() -> None:
    one, other = BudgetController(2.0), BudgetController(2.0)
    one.update(1.4)
    other.load_state_dict(one.state_dict())
    assert one.update(1.7) == other.update(1.7)


@pytest.mark.parametrize(("target", "price"), [(1.0, 0.1), (0.5, 0.1), (math.inf, 0.1), (2.0, 0.0), (2.0, -1.0)])
def test_impossible_settings_are_refused(target: float, price: float) -> None:
    with pytest.raises(ValueError, match="it must be above"):
        BudgetController(target, price)


def test_an_agent_that_does_not_answer_winds_no_price_up_beyond_recall() -> None:
    controller = BudgetController(target_speedup=2.0, price=0.01)
    for _ in range(50_000):
        controller.update(1.0)
    assert 0.01 < controller.price < 0.01 * math.exp(20)
    for _ in range(1_000):
        controller.update(4.0)
    assert controller.price < 0.01
