"""PPO and A2C as agents: the update is Stable-Baselines3's, on our rollouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

import trbert_env  # noqa: F401
from agents.base import AgentSpec, Rollout
from agents.policy_agent import policy_logits
from agents.reinforce import Reinforce, ReinforceOptions
from agents.rollouts import RolloutCollector
from agents.sb3.agent import A2cAgent, A2cOptions, PpoAgent, PpoOptions, numpy_seed
from agents.trained import TrainedPolicy
from trbert_env.envs.vector_env import TokenReductionVectorEnv

SHARED: dict[str, Any] = {"sampler": "bernoulli", "imitation_fraction": 0.0, "half_precision": False}


def spec_of(env: TokenReductionVectorEnv) -> AgentSpec:
    return AgentSpec.of_env(env)


def played(env: TokenReductionVectorEnv, agent: Any) -> Rollout:
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    return collector.collect(0.5)


def by_hand(agent: Any, rollout: Rollout) -> Tensor:
    """A2C's policy loss: minus the mean over steps and rows of (what is still to come, compared within the text)
    x (mean log-probability of the step's choices)."""
    total = torch.zeros(())
    for step, (observation, action) in enumerate(zip(rollout.observations, rollout.actions, strict=True)):
        to_come = rollout.rewards[step:].sum(0).view(-1, rollout.samples_per_text)
        advantage = (to_come - to_come.mean(1, keepdim=True)).flatten()
        logits, keep = observation.pad(policy_logits(agent.policy, observation)), observation.pad(action)
        free = observation.in_play & ~observation.forced
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
    np.testing.assert_allclose(buffer.returns[1], rollout.rewards[1], rtol=1e-5)
    np.testing.assert_allclose(buffer.advantages.reshape(2, 4, 4).mean(-1), 0.0, atol=1e-5)
    assert (buffer.observations["reduction"][:, :, 0] == np.array([[0], [1]])).all()


def test_advantages_by_hand(make_env: Any) -> None:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16) over two steps, the critic's word included."""
    env = make_env([6, 9, 12, 16], num_envs=16, samples_per_text=4)
    agent = A2cAgent(
        spec_of(env), A2cOptions(**SHARED, keep_fractions=(0.6, 0.3), gae_lambda=0.7, group_advantages=False)
    )
    for parameter in agent._actor_critic.critic.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    rollout = played(env, agent)
    buffer = agent._fill(rollout)
    first, second = buffer.values
    assert np.abs(second).min() > 0
    last_step = rollout.rewards[1].numpy() - second
    first_step = rollout.rewards[0].numpy() + second - first
    np.testing.assert_allclose(buffer.advantages, [first_step + 0.7 * last_step, last_step], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(buffer.returns, buffer.advantages + buffer.values, rtol=1e-5)


@pytest.mark.parametrize("half_precision", [False, True])
def test_log_probabilities_are_those_of_the_sampler_that_acted(make_env: Any, half_precision: bool) -> None:
    """Under a budget too: the mean over tokens of what REINFORCE sums."""
    env = make_env([6, 9, 12, 16], num_envs=16, samples_per_text=4)
    shared: dict[str, Any] = {"sampler": "budgeted", "keep_fractions": (0.6, 0.3), "exploration": (2.0, 1.0)}
    agent = PpoAgent(spec_of(env), PpoOptions(**shared, half_precision=half_precision))
    reinforce = Reinforce(spec_of(env), ReinforceOptions(**shared, log_probability="mean"))
    for parameter in agent.policy.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    reinforce.policy.load_state_dict(agent.policy.state_dict())
    rollout = played(env, agent)
    buffer = agent._fill(rollout)
    assert buffer.observations["hidden_states"].dtype == (np.float16 if half_precision else np.float32)
    for reduction in range(2):
        choices = reinforce.choices(rollout, reduction)
        expected = reinforce.over_tokens(choices.log_probabilities, choices.free).detach().numpy()
        tolerance = 2e-2 if half_precision else 1e-5
        np.testing.assert_allclose(buffer.log_probs[reduction], expected, rtol=tolerance, atol=tolerance)


def test_what_it_is_told_reaches_the_algorithm(make_env: Any) -> None:
    env = make_env([6, 9], num_envs=8, samples_per_text=4)
    told: dict[str, Any] = {"gae_lambda": 0.9, "ent_coef": 0.02, "vf_coef": 0.3, "n_epochs": 3, "batch_size": 4}
    options = PpoOptions(**SHARED, **told, clip_range=0.01, max_gradient_norm=0.7, learning_rate=0.02, policy_size=24)
    agent = PpoAgent(spec_of(env), replace(options, keep_fractions=(0.6, 0.3)))
    algorithm: Any = agent._algorithm
    assert {name: getattr(algorithm, name) for name in told} == told
    assert (algorithm.clip_range(1.0), algorithm.max_grad_norm, algorithm.gamma) == (0.01, 0.7, 1.0)
    assert algorithm.policy.critic.policy_size == algorithm.policy.actor.policy_size == 24
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    steps = 3 * 4  # epochs, and minibatches of 4 of 16 rows: they share the learning rate
    for progress, rate in ((0.25, 0.02), (0.5, 0.015)):  # the rate of an update is that of what was done before it
        agent.learn(collector.collect(progress))
        assert algorithm.policy.optimizer.param_groups[0]["lr"] == pytest.approx(rate / steps)


def test_the_actor_is_the_policy_that_is_shipped(make_env: Any) -> None:
    env = make_env([6, 9], num_envs=8, samples_per_text=4)
    agent = PpoAgent(spec_of(env), PpoOptions(**SHARED, keep_fractions=(0.6, 0.3), learning_rate=0.05))
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    rollout = played(env, agent)
    agent.learn(rollout)
    assert any(not torch.equal(one, two) for one, two in zip(before, agent.policy.parameters(), strict=True))
    shipped = TrainedPolicy(agent.policy, agent.decision)
    for observation in rollout.observations:
        one = agent.act(observation, deterministic=True)
        assert torch.equal(one, shipped.act(observation, deterministic=True))


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
    with pytest.raises(ValueError, match="batch_size is 1"):
        PpoOptions(batch_size=1)
    assert PpoOptions(batch_size=1, normalize_advantage=False).batch_size == 1


def test_a_rollout_of_one_row_is_refused() -> None:
    """Its advantage has no deviation, and NaN would spread to all weights without a word."""
    envs: Any = gymnasium.make_vec("TRBERT/Identity-v0", num_envs=1, array_type="torch").unwrapped
    agent = A2cAgent(spec_of(envs), A2cOptions(**SHARED, keep_fractions=(0.5,)))
    with pytest.raises(ValueError, match="raise --samples-per-text"):
        agent.learn(played(envs, agent))
