"""Where only first tokens are left there is no choice: no entropy, no loss, and above all no NaN."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from agents.base import AgentSpec
from agents.imitation import RankingCloning
from agents.policy_agent import PolicyAgent
from agents.registry import AGENTS
from agents.registry import make_agent as make_registered
from agents.reinforce import ReinforceOptions


@pytest.mark.parametrize("name", list(AGENTS))
def test_a_reduction_without_a_choice(name: str, make_env: Any, play: Any) -> None:
    env = make_env((4, 4))
    spec = AgentSpec.of_env(env)
    options = ReinforceOptions(keep_fractions=(0.25, 0.25), overlap=False)
    agent = make_registered(name, spec, options, {})
    rollout = play(env, agent)
    assert rollout.observations[1].layout.total_tokens == env.num_envs
    figures = agent.learn(rollout)
    assert all(math.isfinite(value) for value in figures.values()), figures
    assert isinstance(agent, PolicyAgent)
    assert all(bool(values.isfinite().all()) for values in agent.policy.state_dict().values())


def test_cloning_without_a_choice(make_env: Any, play: Any, make_agent: Any) -> None:
    env = make_env((4, 4))
    cloning = RankingCloning(make_agent(env, keep_fractions=(0.25, 0.25)))
    rollout = play(env, cloning)
    assert rollout.observations[1].layout.total_tokens == env.num_envs
    assert 0.0 < cloning.learn(rollout)["losses/cloning_loss"] < math.inf
    nothing = replace(rollout, observations=rollout.observations[1:], actions=rollout.actions[1:])
    assert cloning.learn(nothing)["losses/cloning_loss"] == 0.0


def test_a_rollout_of_one_row(make_env: Any, play: Any) -> None:
    """Its deviation is none, and no divergence that stops a run."""
    env = make_env((9,), num_envs=1, samples_per_text=1)
    agent = make_registered("reinforce", AgentSpec.of_env(env), ReinforceOptions(overlap=False, baseline="none"), {})
    figures = agent.learn(play(env, agent))
    assert all(math.isfinite(value) for value in figures.values()), figures
    assert figures["losses/advantage_deviation"] == 0.0
