"""Following the residual importance: in one sample of each text, or by cloning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.base import Rollout
from agents.imitation import RankingCloning
from agents.padded import PaddedRollout
from agents.reinforce import Reinforce
from agents.rollouts import RolloutCollector
from runners.runs.checkpoint import load_state, save_state
from trbert_env.envs.settings import InfoScores
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.decision import keep_top

MakeAgent = Callable[..., Reinforce]
MakeEnv = Callable[..., TokenReductionVectorEnv]
Equal = Callable[[Any, Any], bool]

LENGTHS = (16, 14, 12, 10, 9, 8)
SAMPLES = 4


@pytest.fixture
def env(make_env: MakeEnv) -> TokenReductionVectorEnv:
    return make_env(LENGTHS, num_envs=3 * SAMPLES, samples_per_text=SAMPLES)


@pytest.mark.parametrize("sampler", ["bernoulli", "budgeted"])
def test_one_sample_imitates_for_the_first_part_only(
    sampler: str, env: TokenReductionVectorEnv, make_agent: MakeAgent, equal: Equal
) -> None:
    agent = make_agent(env, sampler=sampler, imitation_fraction=0.5)
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    others_differ = False
    for update in range(4):
        before = agent.policy.state_dict()
        assert agent.imitates
        rollout = collector.collect((update + 1) / 8)
        assert equal(agent.policy.state_dict(), before)
        shown = residual_masks(agent, rollout)
        for keep, top in zip(PaddedRollout.of(rollout).actions, shown, strict=True):
            assert torch.equal(keep[::SAMPLES], top[::SAMPLES])
            others_differ |= not torch.equal(keep, top)
        agent.learn(rollout)
    assert others_differ
    # From half of the run on, the scores are neither asked for nor heeded.
    assert not agent.imitates
    assert agent.info_scores is None
    after = [collector.collect(0.6 + 0.1 * update) for update in range(3)]
    assert all(observation.importance is None for rollout in after for observation in rollout.observations)
    env.info_scores = "residual"
    observation, infos = env.reset(seed=5)
    assert "importance" in infos
    keep = env.packed_observation.pad(agent.act(env.packed_observation))
    counts = keep.sum(1)
    top = keep_top(infos["importance"], observation["token_mask"].bool(), infos["forced_tokens"], counts)
    assert not torch.equal(keep[::SAMPLES], top[::SAMPLES])


def residual_masks(agent: Reinforce, rollout: Rollout) -> list[Tensor]:
    """What imitation must show: the top K of the residual importance, K as the policy keeps on average."""
    shown, padded = [], PaddedRollout.of(rollout)
    lengths = padded.observations[0]["token_mask"].sum(1)
    for reduction, (observation, infos) in enumerate(zip(padded.observations, padded.infos, strict=True)):
        mask = observation["token_mask"].bool()
        keep = torch.zeros_like(mask)
        for row in range(len(mask)):
            places = mask[row].nonzero().flatten()
            if agent.options.sampler == "budgeted":
                count = max(1, round(agent.options.keep_fractions[reduction] * int(lengths[row])))
            else:
                logits = agent.policy(observation["hidden_states"][row, places], reduction)
                count = int(1 + float(torch.sigmoid(logits[1:]).detach().sum()) + 0.5)
            scores = infos["importance"][row, places].tolist()
            best = sorted(range(1, len(places)), key=lambda index: -scores[index])[: min(count, len(places)) - 1]
            keep[row, places[[0, *best]]] = True
        shown.append(keep)
    return shown


@pytest.mark.parametrize("info_scores", ["residual", "attention"])
def test_cloning_learns_a_ranking(make_env: MakeEnv, make_agent: MakeAgent, info_scores: InfoScores) -> None:
    env = make_env(LENGTHS, num_envs=len(LENGTHS), samples_per_text=1)
    agent = make_agent(env)
    cloning = RankingCloning(agent, learning_rate=1e-2, info_scores=info_scores)

    def agreement() -> float:
        """Share of the free tokens on which the policy's own top K agrees with what is shown."""
        collector = RolloutCollector(env, cloning)
        collector.reset(seed=0)
        rollout = collector.collect(0.0)
        same, count = 0, 0
        for observation, keep in zip(rollout.observations, rollout.actions, strict=True):
            own, free = agent.act(observation, deterministic=True), observation.free
            same, count = same + int((own == keep)[free].sum()), count + int(free.sum())
        return same / count

    before = agreement()
    collector = RolloutCollector(env, cloning)
    collector.reset(seed=0)
    losses = [cloning.learn(collector.collect(0.0))["losses/cloning_loss"] for _ in range(100)]
    assert losses[-1] < 0.6 * losses[0]
    assert agreement() > max(0.85, before + 0.15)


def test_cloning_shows_the_residual_top(env: TokenReductionVectorEnv, make_agent: MakeAgent) -> None:
    agent = make_agent(env)
    cloning = RankingCloning(agent)
    collector = RolloutCollector(env, cloning)
    collector.reset(seed=0)
    rollout = collector.collect(0.0)
    for keep, top in zip(PaddedRollout.of(rollout).actions, residual_masks(agent, rollout), strict=True):
        assert torch.equal(keep, top)


def test_cloning_goes_on_bit_for_bit(make_env: MakeEnv, tmp_path: Path, make_agent: MakeAgent, equal: Equal) -> None:
    def fresh() -> tuple[RolloutCollector, RankingCloning]:
        env = make_env(LENGTHS, num_envs=2, samples_per_text=1)
        cloning = RankingCloning(make_agent(env))
        return RolloutCollector(env, cloning), cloning

    collector, whole = fresh()
    collector.reset(seed=0)
    for update in range(6):
        if update == 3:
            save_state(tmp_path, {"agent": whole.state_dict(), "env": collector.env.state_dict()})
        whole.learn(collector.collect(0.0))

    collector, cloning = fresh()
    state = load_state(tmp_path)
    cloning.load_state_dict(state["agent"])
    collector.resume(state["env"])
    for _ in range(3):
        cloning.learn(collector.collect(0.0))
    assert equal(cloning.state_dict(), whole.state_dict())
