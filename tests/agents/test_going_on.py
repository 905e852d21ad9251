"""Every algorithm: the same seed is the same run, and one that goes on from the disk is the one that never stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.base import AgentSpec, Learner
from agents.policy_agent import PolicyAgentOptions
from agents.registry import AGENTS, make_agent
from agents.rollouts import RolloutCollector
from runners.runs.checkpoint import load_state, save_state
from trbert_env.envs.vector_env import TokenReductionVectorEnv

Equal = Callable[[Any, Any], bool]
UPDATES = 6


def fresh(make_env: Any, name: str, seed: int = 0) -> tuple[TokenReductionVectorEnv, Learner]:
    env = make_env([6, 9, 12, 16], num_envs=8, samples_per_text=4)
    spec = AgentSpec.of_env(env, seed)
    shared = PolicyAgentOptions(keep_fractions=(0.6, 0.3), budgeted_share=0.5, imitation_fraction=0.3)
    return env, make_agent(name, spec, shared, {})


def run(collector: RolloutCollector, agent: Learner, first: int, last: int) -> list[dict[str, float]]:
    return [agent.learn(collector.collect((update + 1) / UPDATES)) for update in range(first, last)]


@pytest.mark.parametrize("name", AGENTS)
def test_same_seed_same_run_and_resumed_is_uninterrupted(
    make_env: Any, equal: Equal, tmp_path: Path, name: str
) -> None:
    states, figures = [], []
    for seed in (0, 0, 1):
        env, agent = fresh(make_env, name, seed)
        collector = RolloutCollector(env, agent)
        collector.reset(seed=seed)
        figures.append(run(collector, agent, 0, UPDATES))
        states.append(agent.state_dict())
    assert equal(states[0], states[1])
    assert figures[0] == figures[1]
    assert not equal(states[0]["policy"], states[2]["policy"])

    env, agent = fresh(make_env, name)
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    run(collector, agent, 0, 3)
    save_state(tmp_path, {"agent": agent.state_dict(), "env": env.state_dict()})
    env, agent = fresh(make_env, name, seed=9)  # whatever it is made with, what was saved counts
    saved = load_state(tmp_path)
    agent.load_state_dict(saved["agent"])
    collector = RolloutCollector(env, agent)
    collector.resume(saved["env"])
    assert run(collector, agent, 3, UPDATES) == figures[0][3:]
    assert equal(agent.state_dict(), states[0])
