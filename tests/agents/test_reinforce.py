from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.base import AgentSpec, Learner, Rollout
from agents.padded import PaddedRollout
from agents.policy_agent import policy_logits
from agents.reinforce import Reinforce, ReinforceOptions
from agents.rollouts import RolloutCollector
from agents.samplers import BudgetedSampler
from runners.runs.checkpoint import load_state, save_state
from trbert_env.data.workload import Workload
from trbert_env.envs.episode import Outcome
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.tasks.varied import drawn_text

MakeAgent = Callable[..., Reinforce]
MakeEnv = Callable[..., TokenReductionVectorEnv]
Equal = Callable[[Any, Any], bool]
MakeWorkload = Callable[[Any], Workload]

LENGTHS = (16, 14, 12, 10, 9, 8)
SAMPLES = 4


@pytest.fixture
def env(make_env: MakeEnv) -> TokenReductionVectorEnv:
    return make_env(LENGTHS, num_envs=3 * SAMPLES, samples_per_text=SAMPLES)


def train(env: TokenReductionVectorEnv, agent: Learner, updates: int, seed: int = 0) -> list[Rollout]:
    """Updates from the start."""
    collector = RolloutCollector(env, agent)
    collector.reset(seed=seed)
    rollouts = []
    for update in range(updates):
        rollouts.append(collector.collect((update + 1) / updates))
        agent.learn(rollouts[-1])
    return rollouts


# -- advantages and log-probabilities ---------------------------------------------------------------------


def test_advantages_by_hand(env: TokenReductionVectorEnv, make_agent: MakeAgent) -> None:
    returns = torch.tensor([1.0, 2.0, 3.0, 6.0, -1.0, -1.0, -1.0, -1.0])
    mean = make_agent(env).advantages(returns, 4)
    assert mean.tolist() == [-2.0, -1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]
    others = make_agent(env, baseline="leave-one-out").advantages(returns, 4)
    by_hand = [1 - 11 / 3, 2 - 10 / 3, 3 - 9 / 3, 6 - 6 / 3, 0, 0, 0, 0]
    torch.testing.assert_close(others, torch.tensor(by_hand))


@pytest.mark.parametrize("form", ["sum", "mean"])
def test_log_probabilities_by_hand(form: str, env: TokenReductionVectorEnv, make_agent: MakeAgent) -> None:
    agent = make_agent(env, sampler="bernoulli", log_probability=form, imitation_fraction=0.0)
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    rollout = collector.collect(0.0)
    found, entropy = agent.log_probability(rollout)
    padded = PaddedRollout.of(rollout)
    expected, entropies = [], []
    for row in range(env.num_envs):
        total = 0.0
        for reduction, (observation, keep) in enumerate(zip(padded.observations, padded.actions, strict=True)):
            free = observation["token_mask"][row].nonzero().flatten().tolist()[1:]  # without [CLS]
            logits = agent.policy(observation["hidden_states"][row, free], reduction).double()
            kept = keep[row, free].double()
            probability = 1 / (1 + torch.exp(-logits.detach()))
            each = torch.where(kept > 0, probability, 1 - probability).log()
            entropies.append(-(probability * probability.log() + (1 - probability) * (1 - probability).log()))
            if free:
                total += float(each.sum() if form == "sum" else each.mean())
        expected.append(total)
    torch.testing.assert_close(found.detach(), torch.tensor(expected), atol=1e-4, rtol=1e-5)
    # The mean over the reductions of the mean over the choices.
    by_reduction = [torch.cat(entropies[reduction::2]).mean() for reduction in range(2)]
    assert float(entropy) == pytest.approx(float(sum(by_reduction)) / 2, abs=1e-6)


# -- phases --------------------------------------------------------------------------------------------------


def test_a_run_may_start_budgeted_and_go_on_bernoulli(env: TokenReductionVectorEnv, make_agent: MakeAgent) -> None:
    agent = make_agent(env, budgeted_share=0.5, imitation_fraction=0.0)
    rollouts = train(env, agent, 8)
    counts = [rollout.final_info["kept_tokens"] for rollout in rollouts]
    lengths = [rollout.observations[0].full_lengths for rollout in rollouts]
    budget = [torch.stack([(0.6 * length).round(), (0.3 * length).round()], 1) for length in lengths]
    follows = [torch.equal(count, wanted.long()) for count, wanted in zip(counts, budget, strict=True)]
    assert follows == [True] * 4 + [False] * 4
    assert agent.decision.keep_fractions is None
    assert make_agent(env).decision.keep_fractions == (0.6, 0.3)


def test_budgeted_training_brings_one_half_to_the_budget(env: TokenReductionVectorEnv, make_agent: MakeAgent) -> None:
    """So that a threshold of 0.5, and the Bernoulli sampler after it, keep about as many."""
    agent = make_agent(env, imitation_fraction=0.0, learning_rate=1e-2)
    train(env, agent, 60)
    bernoulli = make_agent(env, sampler="bernoulli", imitation_fraction=0.0)
    bernoulli.policy = agent.policy
    collector = RolloutCollector(env, bernoulli)
    collector.reset(seed=1)
    rollout = collector.collect(0.0, deterministic=True)
    lengths = rollout.observations[0].layout.total_tokens
    first = float(rollout.final_info["kept_tokens"][:, 0].sum() / lengths)
    assert first == pytest.approx(0.6, abs=0.12)


# -- learning ------------------------------------------------------------------------------------------------


class Planted(TokenReductionVectorEnv):
    """Texts of two words: it rewards nothing but keeping the word 2, and charges for the word 1."""

    def step_packed(self, keep: torch.Tensor) -> tuple[torch.Tensor, Outcome | None]:
        ids = torch.zeros(self.num_envs, self.max_tokens, dtype=torch.int64)
        for row, index in enumerate(self._indices.repeat(self.samples_per_text)):
            text = drawn_text(self.workload.texts, index)
            ids[row, : len(text)] = torch.from_numpy(text.input_ids).long()
        worth = torch.where(ids == 2, 1.0, -1.0) * self.packed_observation.pad(keep)
        worth[:, 0] = 0.0
        _, outcome = super().step_packed(keep)
        return worth.sum(1), outcome


@pytest.mark.parametrize("sampler", ["bernoulli", "budgeted"])
def test_it_learns_what_is_planted(sampler: str, make_workload: MakeWorkload, make_agent: MakeAgent) -> None:
    workload = make_workload([12] * 24)
    texts = [replace(text, input_ids=1 + text.input_ids % 2) for text in workload.texts]
    settings = EnvSettings(8 * SAMPLES, samples_per_text=SAMPLES, array_type="torch", length_penalty=0.0)
    env = Planted(replace(workload, texts=texts), settings)
    agent = make_agent(env, sampler=sampler, imitation_fraction=0.0, keep_fractions=(0.5, 0.25))
    rollouts = train(env, agent, 120)
    returns = [float(rollout.returns.mean()) for rollout in rollouts]
    first, last = returns[0], sum(returns[-10:]) / 10
    best = {"bernoulli": 11.0, "budgeted": 7.0}[sampler]  # about half of 11 tokens, twice; 5 of them, then 2
    assert last > max(0.6 * best, first + 0.3 * best)
    # And what is learned is what is decided by.
    collector = RolloutCollector(env, agent)
    collector.reset(seed=9)
    assert float(collector.collect(1.0, deterministic=True).returns.mean()) > 0.6 * best


def test_the_length_penalty_makes_it_drop(make_env: MakeEnv, make_agent: MakeAgent) -> None:
    env = make_env((16, 14, 12, 10), num_envs=4 * SAMPLES, samples_per_text=SAMPLES, length_penalty=2.0)
    agent = make_agent(env, sampler="bernoulli", imitation_fraction=0.0)
    rollouts = train(env, agent, 60)
    kept = [float(rollout.final_info["kept_tokens"].float().mean()) for rollout in rollouts]
    assert kept[-1] < 0.5 * kept[0]
    assert float(rollouts[-1].returns.mean()) > float(rollouts[0].returns.mean()) + 5


def test_the_gradient_is_clipped(env: TokenReductionVectorEnv, make_agent: MakeAgent) -> None:
    agent = make_agent(env, max_gradient_norm=1e-3)
    train(env, agent, 1)
    norm = torch.cat([parameter.grad.flatten() for parameter in agent.policy.parameters()]).norm()  # type: ignore[union-attr]
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("overlap", [False, True])
def test_the_hand_over_to_bernoulli_rescales_every_part_of_the_logits(
    overlap: bool, env: TokenReductionVectorEnv, make_agent: MakeAgent
) -> None:
    agent = make_agent(env, overlap=overlap, budgeted_share=0.5, imitation_fraction=0.0, learning_rate=0.0)
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    rollout = collector.collect(0.5)
    generator = torch.Generator().manual_seed(0)
    observations = [  # the tiny texts overlap nowhere
        replace(seen, overlap=torch.rand(seen.overlap.shape, generator=generator)) for seen in rollout.observations
    ]
    rollout = replace(rollout, observations=observations)
    for parameter in agent.policy.parameters():
        parameter.data += 2 * torch.randn(parameter.shape, generator=generator)
    sampler = agent.sampler
    assert isinstance(sampler, BudgetedSampler)
    before = [policy_logits(agent.policy, observation).detach() for observation in observations]
    agent.learn(rollout)
    for logits, observation, keep in zip(before, observations, rollout.actions, strict=True):
        free = observation.free
        after = policy_logits(agent.policy, observation).detach()[free]
        temperature = sampler.temperature(logits, free)
        assert float(temperature) > 1.5
        slope = after - logits[free] / temperature
        torch.testing.assert_close(slope, slope[:1].expand_as(slope), rtol=0, atol=1e-4)
        # Probability 1/2 stands at the budget.
        assert float((after > 0).float().mean()) == pytest.approx(float(keep[free].float().mean()), abs=0.03)


# -- the same run again ----------------------------------------------------------------------------------------

PHASES = {"imitation_fraction": 0.4, "budgeted_share": 0.6}


def test_the_same_seed_is_the_same_run(env: TokenReductionVectorEnv, make_agent: MakeAgent, equal: Equal) -> None:
    def weights(seed: int) -> dict[str, Any]:
        agent = make_agent(env, seed, **PHASES)
        train(env, agent, 6, seed)
        return agent.state_dict()

    first = weights(0)
    assert equal(first, weights(0))
    assert not equal(first["policy"], weights(1)["policy"])


def test_making_an_agent_leaves_torchs_generator_alone(env: TokenReductionVectorEnv, make_agent: MakeAgent) -> None:
    state = torch.get_rng_state()
    make_agent(env)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("stop", [1, 2, 4, 6, 9])
def test_a_state_goes_on_bit_for_bit(
    stop: int, make_env: MakeEnv, tmp_path: Path, make_agent: MakeAgent, equal: Equal
) -> None:
    """Stopped while imitating, at its end, budgeted and Bernoulli, and read back by a new agent."""
    updates = 10

    def fresh() -> tuple[RolloutCollector, Reinforce]:
        env = make_env(LENGTHS, num_envs=2 * SAMPLES, samples_per_text=SAMPLES)
        agent = make_agent(env, **PHASES)
        return RolloutCollector(env, agent), agent

    def go_on(collector: RolloutCollector, agent: Learner, first: int, last: int) -> None:
        for update in range(first, last):
            agent.learn(collector.collect((update + 1) / updates))

    collector, whole = fresh()
    collector.reset(seed=0)
    go_on(collector, whole, 0, updates)

    collector, agent = fresh()
    collector.reset(seed=0)
    go_on(collector, agent, 0, stop)
    save_state(tmp_path, {"agent": agent.state_dict(), "env": collector.env.state_dict()})
    go_on(collector, agent, stop, stop + 1)  # what was saved is a copy

    collector, agent = fresh()
    state = load_state(tmp_path)
    agent.load_state_dict(state["agent"])
    collector.resume(state["env"])
    go_on(collector, agent, stop, updates)
    assert equal(agent.state_dict(), whole.state_dict())


def test_collect_before_reset(env: TokenReductionVectorEnv, make_agent: MakeAgent) -> None:
    with pytest.raises(RuntimeError, match="reset"):
        RolloutCollector(env, make_agent(env)).collect(0.0)


# -- options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reductions", [1, 2, 3])
def test_a_sampler_without_a_budget_needs_no_keep_fractions(reductions: int) -> None:
    agent = Reinforce(AgentSpec(16, reductions, 16, SAMPLES, 0, "cpu"), ReinforceOptions(sampler="bernoulli"))
    assert agent.keep_fractions == (0.5, 0.2, 0.2)[:reductions]
    assert agent.decision.keep_fractions is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"keep_fractions": (0.5,)}, "keep_fractions"),
        ({"keep_fractions": (0.3, 0.6)}, "keep_fractions"),
        ({"initial_keep_probability": 1.0}, "initial_keep_probability"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Reinforce(
            AgentSpec(16, 2, 16, SAMPLES, 0, "cpu"), replace(ReinforceOptions(keep_fractions=(0.6, 0.3)), **options)
        )
