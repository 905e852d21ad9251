from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from agents.base import Rollout
from agents.heuristics import HEURISTICS, ImportanceTokens, KeepAll, RandomTokens, make_heuristic
from agents.padded import PaddedRollout
from agents.rollouts import rollout_metrics
from runners.evaluation.matching import match_fractions
from runners.evaluation.record import Savings
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.packed import PackedObservation
from trbert_env.envs.settings import InfoScores
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.overlap import lexical_overlap

MakeEnv = Callable[..., TokenReductionVectorEnv]
Play = Callable[..., Rollout]

LENGTHS = (16, 11, 7, 4)
FRACTIONS = (0.6, 0.3)


@pytest.fixture
def env(make_env: MakeEnv) -> TokenReductionVectorEnv:
    """4 texts of different lengths, twice each."""
    return make_env(LENGTHS, num_envs=8, samples_per_text=2)


def lengths_of(rollout: Rollout) -> torch.Tensor:
    return rollout.observations[0].full_lengths


def test_keep_all_costs_everything(env: TokenReductionVectorEnv, play: Play) -> None:
    rollout = play(env, KeepAll())
    assert rollout_metrics(rollout)["charts/flops_speedup"] == 1.0
    assert rollout_metrics(rollout)["charts/kept_fraction_1"] == 1.0
    assert torch.equal(rollout.final_info["kept_tokens"], lengths_of(rollout)[:, None].expand(-1, 2))


@pytest.mark.parametrize("name", ["random", "overlap", "attention", "residual"])
def test_exact_fractions_are_kept(name: str, env: TokenReductionVectorEnv, play: Play) -> None:
    agent = make_heuristic(name, FRACTIONS, 2)
    rollout = play(env, agent)
    expected = [[max(1, round(fraction * int(length))) for fraction in FRACTIONS] for length in lengths_of(rollout)]
    assert sorted(set(lengths_of(rollout).tolist())) == sorted(LENGTHS)
    assert rollout.final_info["kept_tokens"].tolist() == expected


@pytest.mark.parametrize("name", ["random", "overlap", "attention", "residual"])
def test_budgets_of_sliced_texts_keep_all_first_tokens(name: str, make_env: MakeEnv, play: Play) -> None:
    sequences = ((6, 6, 4), (5,), (7, 7), (4, 4, 4))
    env = make_env(sequences, num_envs=4, samples_per_text=1)
    rollout = play(env, make_heuristic(name, (0.5, 0.1), 2))
    slices = {f"text {index}": own for index, own in enumerate(sequences)}
    expected = []
    for key in rollout.observations[0].text_ids:
        own = slices[key]
        expected.append([max(len(own), round(fraction * sum(own))) for fraction in (0.5, 0.1)])
    assert rollout.final_info["kept_tokens"].tolist() == expected
    assert {second for _, second in expected} == {1, 2, 3}  # as many as there are first tokens


@pytest.mark.parametrize("scores", ["attention", "residual"])
def test_importance_tokens_keep_the_top(scores: InfoScores, env: TokenReductionVectorEnv, play: Play) -> None:
    rollout = PaddedRollout.of(play(env, ImportanceTokens(FRACTIONS, 2, scores)))
    for observation, infos, keep in zip(rollout.observations, rollout.infos, rollout.actions, strict=True):
        importance = infos["importance"]
        assert float(importance.abs().sum()) > 0
        for row in range(env.num_envs):
            mask = observation["token_mask"][row].bool()
            dropped = mask & ~keep[row]
            chosen = keep[row] & ~infos["forced_tokens"][row]
            assert bool(infos["forced_tokens"][row, 0])
            assert bool(keep[row, 0])
            assert not bool((keep[row] & ~mask).any())
            if chosen.any() and dropped.any():
                assert float(importance[row, chosen].min()) >= float(importance[row, dropped].max())


def test_overlap_tokens_keep_the_question_and_the_places_that_share_its_words() -> None:
    question, answering, idle = [30, 31, 32], [40, 31, 32, 41], list(range(50, 90))
    ids = np.array([1, *question, 2, *idle, *answering, *idle, 2])
    text = EncodedText("one", ids.astype(np.int32), np.zeros_like(ids), (len(ids),), np.zeros(2, dtype=np.int64))
    batch = TextBatch.from_texts([text])
    observation = PackedObservation(
        torch.zeros(len(ids), 1),
        batch.layout,
        lexical_overlap(batch, lambda tokens: torch.ones(len(tokens))),
        None,
        0,
        len(ids),
        ("one",),
    )
    keep = make_heuristic("overlap", (0.3,), 1).act(observation)
    places = keep.nonzero().flatten().tolist()
    assert len(places) == round(0.3 * len(ids))
    assert places[:5] == [0, 1, 2, 3, 4]
    assert places[-1] == len(ids) - 1  # the separator
    around = places[5:-1]
    assert set(range(45, 49)) <= set(around)
    assert max(around) - min(around) < 2 * 16 + 4


def test_random_tokens_are_random_and_seeded(env: TokenReductionVectorEnv, play: Play) -> None:
    def masks(seed: int) -> torch.Tensor:
        return torch.stack(PaddedRollout.of(play(env, RandomTokens(FRACTIONS, 2, seed), seed=0)).actions)

    assert torch.equal(masks(1), masks(1))
    assert not torch.equal(masks(1), masks(2))
    one = masks(1)[0]
    assert not torch.equal(one[0], one[1])  # the two samples of a text


def test_random_tokens_favour_none(make_env: MakeEnv, play: Play) -> None:
    env = make_env((11,), num_envs=2_000, samples_per_text=2_000)
    rollout = PaddedRollout.of(play(env, RandomTokens((0.6, 0.3), 2)))
    kept = rollout.actions[1].float().mean(0)[:11]
    assert float(kept[0]) == 1.0
    expected = 2 / 10  # [CLS] and 2 of the other 10
    assert bool(((kept[1:] - expected).abs() < 4 * (expected * (1 - expected) / 2_000) ** 0.5).all())


@pytest.mark.parametrize(
    ("speedup", "kept"),
    [(1.3, (0.7, 0.3)), (1.6, (0.7, 0.3)), (2.0, (0.7, 0.3)), (1.2, (0.3, 0.1)), (1.05, (0.4, 0.4))],
)
def test_matched_fractions_cost_as_much(speedup: float, kept: tuple[float, ...], make_env: MakeEnv, play: Play) -> None:
    """The closed form and the environment's own count agree."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(8, 17, (400,), generator=generator).tolist()
    env = make_env(lengths, num_envs=400, samples_per_text=1)
    fractions, promised = match_fractions(Savings(speedup, kept), env.encoder, env.workload.texts)
    assert promised == pytest.approx(speedup, rel=0.02)
    assert fractions[0] >= fractions[1]
    found = rollout_metrics(play(env, RandomTokens(fractions, 2)))["charts/flops_speedup"]
    assert found == pytest.approx(promised, rel=1e-6)


def test_a_run_of_other_reductions_cannot_be_matched(env: TokenReductionVectorEnv) -> None:
    for savings in (Savings(2.0, (0.7,)), Savings(2.0, (0.7, 0.5, 0.2)), Savings(2.0), None):
        with pytest.raises(ValueError, match="other reductions"):
            match_fractions(savings, env.encoder, env.workload.texts)


def test_wrong_heuristics() -> None:
    with pytest.raises(ValueError, match="agent 'best' is unknown"):
        make_heuristic("best", FRACTIONS, 2)
    for fractions in [(0.5,), (0.5, 0.6), (1.5, 0.5), (0.5, 0.0)]:
        with pytest.raises(ValueError, match="keep_fractions"):
            make_heuristic("random", fractions, 2)


def test_scores_that_are_missing_are_named(env: TokenReductionVectorEnv) -> None:
    env.reset(seed=0)
    for name in ("attention", "residual"):
        with pytest.raises(ValueError, match=f"no importance: set info_scores='{name}'"):
            make_heuristic(name, FRACTIONS, 2).act(env.packed_observation)


def test_heuristics_act_and_nothing_more() -> None:
    for name in HEURISTICS:
        actor = make_heuristic(name, FRACTIONS, 2)
        assert actor.info_scores == (name if name in ("attention", "residual") else None)
        assert not hasattr(actor, "learn")
