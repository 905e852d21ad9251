"""PPO and A2C as agents: the update is Stable-Baselines3's, on our rollouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agents.base import AgentSpec, Rollout
from agents.policy_agent import padded_logits
from agents.rollouts import RolloutCollector
from agents.sb3.agent import A2cAgent, A2cOptions, PpoAgent, PpoOptions, numpy_seed
from agents.trained import TrainedPolicy
from trbert_env.vector_env import TokenReductionVectorEnv

SHARED: dict[str, Any] = {"sampler": "bernoulli", "imitation_fraction": 0.0, "half_precision": False}


def spec_of(env: TokenReductionVectorEnv) -> AgentSpec:
    return AgentSpec(env.hidden_size, env.num_reductions, env.max_tokens, env.samples_per_text, 0, "cpu")


def played(env: TokenReductionVectorEnv, agent: Any) -> Rollout:
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    return collector.collect(0.5)


def by_hand(agent: Any, rollout: Rollout) -> Tensor:
    """A2C's policy loss: minus the mean over steps and rows of (what is still to come, compared within the text)
    x (mean log-probability of the step's choices)."""
    total = torch.zeros(())
    for step, (observation, infos, keep) in enumerate(
        zip(rollout.observations, rollout.infos, rollout.actions, strict=True)
    ):
        to_come = rollout.rewards[step:].sum(0).view(-1, rollout.samples_per_text)
        advantage = (to_come - to_come.mean(1, keepdim=True)).flatten()
        logits = padded_logits(agent.policy, observation, infos)
        free = observation["token_mask"].bool() & ~infos["forced_tokens"]
        log_probability = logsigmoid(torch.where(keep, logits, -logits)) * free
        total = total - (advantage * log_probability.sum(1) / free.sum(1).clamp(min=1)).mean()
    return total / len(rollout.actions)


def test_a2c_steps_along_the_gradient_worked_out_by_hand(make_env: Any) -> None:
    env = make_env([6, 9], num_envs=8, samples_per_text=4)
    # No critic's share: the values cancel in the comparison only if they are the same for all samples of a text.
    options = A2cOptions(**SHARED, vf_coef=0.0, normalize_advantage=False, max_gradient_norm=1e9, keep_fractions=(1, 1))
    agent = A2cAgent(spec_of(env), options)
    for parameter in agent._actor_critic.critic.parameters():
        parameter.data.zero_()
    rollout = played(env, agent)
    loss = by_hand(agent, rollout).detach()
    by_hand(agent, rollout).backward()
    expected = {name: parameter.grad.clone() for name, parameter in agent.policy.named_parameters()}  # type: ignore[union-attr]
    figures = agent.learn(rollout)
    for name, parameter in agent.policy.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)
    assert figures["losses/policy_loss"] == pytest.approx(float(loss), abs=1e-5)


@pytest.mark.parametrize("kind", [PpoAgent, A2cAgent])
def test_what_a_rollout_is_filled_with(make_env: Any, kind: Any) -> None:
    env = make_env([6, 9, 12, 16], num_envs=16, samples_per_text=4)
    agent = kind(spec_of(env), kind.options_class(**SHARED, keep_fractions=(0.6, 0.3)))
    rollout = played(env, agent)
    buffer = agent._fill(rollout)
    np.testing.assert_allclose(buffer.rewards, rollout.rewards)
    np.testing.assert_allclose(buffer.returns[0], rollout.returns, rtol=1e-5)  # gae_lambda 1: nothing but returns
    np.testing.assert_allclose(buffer.advantages.reshape(2, 4, 4).mean(-1), 0.0, atol=1e-5)
    assert (buffer.observations["reduction"][:, :, 0] == np.array([[0], [1]])).all()
    alone = kind(spec_of(env), kind.options_class(**SHARED, keep_fractions=(0.6, 0.3), group_advantages=False))
    apart = alone._fill(rollout)
    np.testing.assert_allclose(apart.advantages, apart.returns - apart.values, atol=1e-5)


def test_the_actor_is_the_policy_that_is_shipped(make_env: Any) -> None:
    env = make_env([6, 9], num_envs=8, samples_per_text=4)
    agent = PpoAgent(spec_of(env), PpoOptions(**SHARED, keep_fractions=(0.6, 0.3), learning_rate=0.05))
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    rollout = played(env, agent)
    agent.learn(rollout)
    assert any(not torch.equal(one, two) for one, two in zip(before, agent.policy.parameters(), strict=True))
    shipped = TrainedPolicy(agent.policy, agent.decision)
    for observation, infos in zip(rollout.observations, rollout.infos, strict=True):
        one = agent.act(observation, infos, deterministic=True)
        assert torch.equal(one, shipped.act(observation, infos, deterministic=True))


def test_shuffling_leaves_numpys_own_generator_as_it_was() -> None:
    np.random.seed(3)
    expected = np.random.random(2)
    np.random.seed(3)
    first = np.random.random()
    with numpy_seed(7):
        inside = np.random.random()
    second = np.random.random()
    np.testing.assert_array_equal([first, second], expected)
    with numpy_seed(7):
        assert np.random.random() == inside


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="budget_scope"):
        A2cOptions(budget_scope="batch")
    with pytest.raises(ValueError, match="clip_range"):
        PpoOptions(clip_range=0.0)
    with pytest.raises(ValueError, match="batch_size 1"):
        PpoOptions(batch_size=1)
