"""Fitting the exit offsets: the gradient of what the reward measures, a fit that raises it, and resumable."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from agents.exit_offset_fit import ExitOffsetFit
from agents.reinforce import Reinforce
from agents.rollouts import RolloutCollector
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.exit_offsets import ExitOffsets

LENGTHS = (16, 14, 12, 10)


@pytest.fixture(params=["likelihood", "distillation"])
def env(make_env: Callable[..., TokenReductionVectorEnv], request: pytest.FixtureRequest) -> TokenReductionVectorEnv:
    return make_env(LENGTHS, num_envs=16, samples_per_text=4, length_penalty=0.0, reward=request.param)


@pytest.fixture
def fit(env: TokenReductionVectorEnv) -> ExitOffsetFit:
    env.exit_offsets.offsets.data.normal_(generator=torch.Generator().manual_seed(0))
    return ExitOffsetFit(env.exit_offsets, env.workload.task)


def play_once(env: TokenReductionVectorEnv, make_agent: Callable[..., Reinforce], seed: int = 0) -> float:
    """The mean of what an episode is rewarded for; the same seed gives the same masks."""
    collector = RolloutCollector(env, make_agent(env, seed))
    collector.reset(seed=seed)
    info = collector.collect(0.0).final_info
    return float(-info["divergence"].mean() if "divergence" in info else info["log_likelihood"].mean())


def test_its_gradient_is_that_of_what_is_rewarded(
    env: TokenReductionVectorEnv, fit: ExitOffsetFit, make_agent: Callable[..., Reinforce]
) -> None:
    rewarded = play_once(env, make_agent)
    outcome = env.last_outcome
    assert outcome is not None
    figures = fit.learn(outcome, progress=1.0)  # a rate of 0 leaves the offsets
    assert figures["losses/exit_offset_loss"] == pytest.approx(-rewarded, abs=1e-5)
    gradient, offsets = env.exit_offsets.offsets.grad, env.exit_offsets.offsets.data
    assert gradient is not None
    assert env.exit_offsets.weights.grad is not None
    small = 1e-2
    for place in torch.cartesian_prod(torch.arange(3), torch.arange(2)).tolist():
        around = []
        for step in (small, -small):
            offsets[place[0], place[1]] += step
            around.append(-play_once(env, make_agent))
            offsets[place[0], place[1]] -= step
        assert float(gradient[place[0], place[1]]) == pytest.approx((around[0] - around[1]) / (2 * small), abs=1e-3)
    weights, gradient = env.exit_offsets.weights.data, env.exit_offsets.weights.grad
    for place in [(0, 0, 3), (1, 1, 7), (1, 0, 15)]:
        around = []
        for step in (small, -small):
            weights[place] += step
            around.append(-play_once(env, make_agent))
            weights[place] -= step
        assert float(gradient[place]) == pytest.approx((around[0] - around[1]) / (2 * small), abs=1e-3)


def test_it_raises_what_is_rewarded(
    env: TokenReductionVectorEnv, fit: ExitOffsetFit, make_agent: Callable[..., Reinforce]
) -> None:
    before = play_once(env, make_agent)
    for _ in range(30):
        play_once(env, make_agent)
        assert env.last_outcome is not None
        fit.learn(env.last_outcome, progress=0.0)
    assert play_once(env, make_agent) > before + 0.1


def test_it_goes_on_where_it_stood(
    env: TokenReductionVectorEnv,
    fit: ExitOffsetFit,
    make_agent: Callable[..., Reinforce],
    equal: Callable[[Any, Any], bool],
) -> None:
    play_once(env, make_agent)
    outcome = env.last_outcome
    assert outcome is not None
    fit.learn(outcome, progress=0.1)
    other = ExitOffsetFit(ExitOffsets(2, 2, 16), env.workload.task)
    other.load_state_dict(copy.deepcopy(fit.state_dict()))  # torch keeps the tensors that it is given
    fit.learn(outcome, progress=0.2)
    other.learn(outcome, progress=0.2)
    assert equal(fit.state_dict(), other.state_dict())


def test_exit_offsets_of_another_number_of_reductions_are_refused(
    make_env: Callable[..., TokenReductionVectorEnv],
) -> None:
    with pytest.raises(ValueError, match="exit offsets of 3 reductions: there are 2"):
        make_env(LENGTHS, exit_offsets=ExitOffsets(3, 2, 16))
