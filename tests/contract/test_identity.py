"""The toy: it keeps the contract, its answer is the answer, and every algorithm learns it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import trbert_env  # noqa: F401
from agents.base import AgentSpec
from agents.registry import AGENTS, make_agent
from agents.reinforce import ReinforceOptions
from agents.rollouts import RolloutCollector
from trbert_env.testing.vector_env_checker import check_vector_env

ID = "TRBERT/Identity-v0"


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_it_keeps_the_contract(mode: str) -> None:
    envs = gymnasium.make_vec(ID, num_envs=4, autoreset_mode=mode, final_obs=mode == "SameStep")
    assert check_vector_env(envs) == []


def test_its_one_row_view_is_a_plain_environment() -> None:
    env: Any = gymnasium.make(ID)
    check_env(env.unwrapped)
    env.reset(seed=1)
    marked = env.unwrapped.vector_env.marked[0]
    _, reward, terminated, _, _ = env.step(marked)
    assert (reward, terminated) == (1.0, True)


def test_gymnasium_knows_its_render_modes() -> None:
    env: Any = gymnasium.make(ID, render_mode="ansi_list")
    env.reset(seed=1)
    env.step(env.unwrapped.vector_env.marked[0])
    first, last = env.render()
    assert "\x1b[9;2m" not in first
    assert "\x1b[9;2m" in last


def test_returns_are_the_share_of_right_decisions() -> None:
    envs: Any = gymnasium.make_vec(ID, num_envs=8, samples_per_text=2)
    observation, _ = envs.reset(seed=0)
    marked = envs.unwrapped.marked
    lengths = observation["token_mask"].sum(1)
    generator = np.random.default_rng(0)
    action = generator.integers(0, 2, marked.shape)
    right = (action == marked) & (observation["token_mask"] == 1)
    _, rewards, terminated, _, _ = envs.step(action)
    assert terminated.all()
    np.testing.assert_allclose(rewards, right[:, 1:].sum(1) / (lengths - 1), atol=1e-6)
    for wrong, expected in ((marked, 1.0), (1 - marked, 0.0)):
        envs.reset(seed=0)
        _, rewards, *_ = envs.step(wrong)
        np.testing.assert_allclose(rewards, expected)


def test_a_price_is_charged_too() -> None:
    envs: Any = gymnasium.make_vec(ID, num_envs=2, length_penalty=0.01)
    envs.reset(seed=0)
    marked = envs.unwrapped.marked
    _, rewards, *_ = envs.step(marked)
    np.testing.assert_allclose(rewards, 1.0 - 0.01 * (marked.sum(1) + 1), atol=1e-6)  # [CLS] is kept too


def learned(name: str, seed: int, updates: int = 80) -> float:
    """Mean return of a trained agent that decides as in evaluation."""
    envs: Any = gymnasium.make_vec(ID, num_envs=32, samples_per_text=8, array_type="torch").unwrapped
    spec = AgentSpec.of_env(envs, seed)
    shared = ReinforceOptions(
        learning_rate=2e-3, sampler="bernoulli", imitation_fraction=0.0, overlap=False, keep_fractions=(0.5,)
    )
    agent = make_agent(name, spec, shared, {})
    collector = RolloutCollector(envs, agent)
    collector.reset(seed=seed)
    for update in range(updates):
        agent.learn(collector.collect((update + 1) / updates))
    return float(collector.collect(1.0, deterministic=True).returns.mean())


@pytest.mark.parametrize("name", AGENTS)
def test_every_algorithm_learns_it(name: str) -> None:
    assert min(learned(name, seed) for seed in range(3)) > 0.95


def test_the_toy_is_not_learned_by_a_habit() -> None:
    """Keeping all or skipping all earns half."""
    envs: Any = gymnasium.make_vec(ID, num_envs=64)
    for habit in (0, 1):
        envs.reset(seed=0)
        _, rewards, *_ = envs.step(np.full((64, envs.unwrapped.max_tokens), habit))
        assert abs(float(rewards.mean()) - 0.5) < 0.08
