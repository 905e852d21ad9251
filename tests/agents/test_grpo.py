"""GRPO and RLOO by hand: advantages, clipping, several steps, and going on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from agents.base import AgentSpec
from agents.grpo import Grpo, GrpoOptions
from agents.policy_agent import PolicyAgentOptions
from agents.registry import agent_options, make_agent
from agents.reinforce import Reinforce, ReinforceOptions
from agents.rollouts import RolloutCollector
from trbert_env.envs.vector_env import TokenReductionVectorEnv

SAMPLES = 4
MakeEnv = Callable[..., TokenReductionVectorEnv]


@pytest.fixture
def env(make_env: MakeEnv) -> TokenReductionVectorEnv:
    return make_env((16, 14, 12, 10), num_envs=4 * SAMPLES, samples_per_text=SAMPLES)


def make_grpo(env: TokenReductionVectorEnv, **options: Any) -> Grpo:
    settings = {"keep_fractions": (0.6, 0.3), "overlap": False, **options}
    return Grpo(AgentSpec.of_env(env), GrpoOptions(**settings))


def collect(env: TokenReductionVectorEnv, agent: Any) -> Any:
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    return collector.collect(0.0)


def test_advantages_are_in_units_of_the_texts_own_deviation(env: TokenReductionVectorEnv) -> None:
    agent = make_grpo(env)
    found = agent.advantages(torch.tensor([1.0, 2.0, 3.0, 6.0, 5.0, 5.0, 5.0, 5.0]), 4)
    deviation = ((4 + 1 + 0 + 9) / 4) ** 0.5
    expected = torch.tensor([-2.0, -1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]) / deviation
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [2, 3, 8, 12])
def test_equal_returns_teach_nothing_whatever_they_are(env: TokenReductionVectorEnv, samples: int) -> None:
    returns = torch.randn(200, generator=torch.Generator().manual_seed(0)).repeat_interleave(samples)
    rounded = returns * (1.0 + 3e-7 * torch.randn(len(returns), generator=torch.Generator().manual_seed(1)))
    agent = make_grpo(env)
    for same in (returns, 30.0 * returns, rounded):
        assert not agent.advantages(same, samples).any()
    assert agent.advantages(returns + 1e-3 * torch.arange(len(returns)), samples).abs().mean() > 0.5


def test_rloo_compares_with_the_others(env: TokenReductionVectorEnv) -> None:
    shared = ReinforceOptions(keep_fractions=(0.6, 0.3))
    agent = make_agent("rloo", AgentSpec.of_env(env), shared, {})
    assert isinstance(agent, Reinforce)
    assert agent.options.baseline == "leave-one-out"
    found = agent.advantages(torch.tensor([1.0, 2.0, 3.0, 6.0]), 4)
    torch.testing.assert_close(found, torch.tensor([1 - 11 / 3, 2 - 10 / 3, 3 - 9 / 3, 6 - 6 / 3]))
    with pytest.raises(ValueError, match="raise --samples-per-text"):
        make_agent("rloo", replace(AgentSpec.of_env(env), samples_per_text=1), shared, {})
    with pytest.raises(ValueError, match="agent 'rloo' has no option 'baseline' of its own"):
        agent_options("rloo", PolicyAgentOptions(), {"baseline": "mean"})


@pytest.mark.parametrize("log_probability", ["sum", "mean"])
def test_the_surrogate_is_clipped_token_by_token(env: TokenReductionVectorEnv, log_probability: Any) -> None:
    agent = make_grpo(env, clip=0.1, log_probability=log_probability, sampler="bernoulli", imitation_fraction=0.0)
    rollout = collect(env, agent)
    with torch.no_grad():
        before = [agent.choices(rollout, reduction) for reduction in range(2)]
    for parameter in agent.policy.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    loss, figures = agent.loss(rollout, before)
    advantages = agent.advantages(rollout.returns, SAMPLES)
    total, clipped, free_tokens = 0.0, 0, 0
    for row in range(len(advantages)):
        for reduction in range(2):
            with torch.no_grad():
                now, then = agent.choices(rollout, reduction), before[reduction]
            gains = []
            for token in torch.nonzero(now.free[row]).flatten().tolist():
                ratio = float(torch.exp(now.log_probabilities[row, token] - then.log_probabilities[row, token]))
                limited = min(max(ratio, 0.9), 1.1)
                gains.append(min(ratio * float(advantages[row]), limited * float(advantages[row])))
                clipped += ratio != limited
            free_tokens += len(gains)
            total += sum(gains) / (len(gains) if log_probability == "mean" else 1)
    assert float(loss.detach()) == pytest.approx(-total / len(advantages), rel=1e-4)
    assert figures["losses/clipped_share"] == pytest.approx(clipped / free_tokens, abs=0.05)
    assert 0.1 < figures["losses/clipped_share"] < 1.0


def test_it_takes_several_steps_on_a_rollout(env: TokenReductionVectorEnv) -> None:
    weights = []
    for steps in (1, 3):
        agent = make_grpo(env, steps_per_rollout=steps, learning_rate=1e-1)
        figures = agent.learn(collect(env, agent))
        assert agent._optimizer.param_groups[0]["lr"] == pytest.approx(1e-1 / steps)  # they share it
        assert (figures["losses/clipped_share"] > 0) == (steps > 1)
        weights.append(agent.policy.state_dict()["heads.0.1.weight"])
    assert not weights[0].equal(weights[1])


def test_it_learns(env: TokenReductionVectorEnv) -> None:
    agent = make_grpo(env, learning_rate=1e-2)
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    returns = []
    for update in range(60):
        rollout = collector.collect((update + 1) / 60)
        agent.learn(rollout)
        returns.append(float(rollout.returns.mean()))
    assert sum(returns[-10:]) / 10 > sum(returns[:10]) / 10 + 0.3


def test_goes_on_bit_for_bit(env: TokenReductionVectorEnv, equal: Any) -> None:
    whole, resumed = make_grpo(env), make_grpo(env)
    rollout = collect(env, whole)
    whole.learn(rollout)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    whole.learn(rollout)
    resumed.learn(rollout)
    assert equal(whole.state_dict(), resumed.state_dict())


@pytest.mark.parametrize(("option", "value"), [("clip", 0.0), ("clip", 1.0), ("steps_per_rollout", 0)])
def test_bad_options(option: str, value: float, env: TokenReductionVectorEnv) -> None:
    with pytest.raises(ValueError, match=option):
        make_grpo(env, **{option: value})


@pytest.mark.parametrize("name", ["reinforce", "grpo"])
def test_one_sample_a_text_is_refused_where_it_would_teach_nothing(name: str, make_env: MakeEnv) -> None:
    env = make_env((16, 14, 12, 10), num_envs=4, samples_per_text=1)
    shared: Any = (ReinforceOptions if name == "reinforce" else GrpoOptions)(keep_fractions=(0.6, 0.3), overlap=False)
    agent = make_agent(name, AgentSpec.of_env(env), shared, {})
    rollout = collect(env, agent)
    with pytest.raises(ValueError, match=r"compares samples of a text, and there is 1: raise --samples-per-text"):
        agent.learn(rollout)
