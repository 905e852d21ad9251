"""What the options change: price, policy size, importance, precision."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from trbert_env.data.workload import Workload
from trbert_env.encoder.texts import TextBatch
from trbert_env.envs.importance import residual_importance
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.staged_model import StagedModel


def half(env: TokenReductionVectorEnv) -> Any:
    return np.tile(np.arange(env.max_tokens) % 2 == 0, (env.num_envs, 1))


@pytest.mark.parametrize("penalty", ["tokens", "flops"])
def test_the_price_can_change_while_it_runs(make_env: Any, penalty: str) -> None:
    env = make_env(2, order="once", length_penalty=0.5, penalty=penalty)
    env.reset()
    _, dear, *_ = env.step(half(env))
    env.reset()
    env.length_penalty = 0.25
    assert env.length_penalty == 0.25
    _, cheap, *_ = env.step(half(env))
    np.testing.assert_allclose(dear, 2 * cheap, rtol=1e-6)
    env.length_penalty = 0
    _, reward, *_, infos = env.step(half(env))
    np.testing.assert_allclose(reward, infos["final_info"]["log_likelihood"], rtol=1e-6)
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"length_penalty {bad}"):
            env.length_penalty = bad
    assert env.length_penalty == 0


def test_the_price_is_the_presets_unless_told_otherwise(make_env: Any, workload: Workload) -> None:
    assert make_env(2).length_penalty == workload.preset.length_penalty
    assert make_env(2, length_penalty=0.0).length_penalty == 0.0


def test_flops_are_charged_for_the_policy_by_its_size(make_env: Any) -> None:
    costs = {}
    for size in (0, 8):
        env = make_env(1, order="once", policy_size=size)
        observation, _ = env.reset()
        length = int(observation["token_mask"].sum())
        every = np.ones((1, 28), dtype=bool)
        env.step(every)
        *_, infos = env.step(every)
        costs[size] = float(infos["final_info"]["reduced_flops"][0])
        assert size or costs[0] == infos["final_info"]["full_flops"][0]
    # Two reductions, each of which looks at all tokens: Linear(32, 8), Linear(8, 1).
    assert costs[8] - costs[0] == 2 * length * 2 * (32 * 8 + 8)


@pytest.mark.parametrize("scores", ["residual", "attention"])
def test_importance_is_of_the_tokens_in_play(make_env: Any, scores: str) -> None:
    env = make_env(4, samples_per_text=2, info_scores=scores)
    observation, infos = env.reset(seed=0)
    for _ in range(4):
        importance = infos["importance"]
        assert (importance.shape, importance.dtype) == ((4, 28), np.float32)
        in_play = observation["token_mask"] == 1
        assert (importance[in_play] > 0).all()
        assert not importance[~in_play].any()
        observation, *_, infos = env.step(half(env))


def test_importance_is_that_of_the_coming_reduction(make_env: Any, workload: Workload) -> None:
    env = make_env(7, order="once", info_scores="residual", autoreset_mode="NextStep")
    texts = list(workload.texts)
    targets = workload.task.targets(texts)
    expected = residual_importance(env.staged, TextBatch.from_texts(texts), targets)
    for _ in range(2):
        _, infos = env.reset()
        every = np.ones((7, 28), dtype=bool)
        for reduction in range(2):
            lengths = [len(text) for text in texts]
            ours = np.concatenate([row[:length] for row, length in zip(infos["importance"], lengths, strict=True)])
            np.testing.assert_array_equal(ours, expected[reduction].numpy())
            *_, infos = env.step(every)
        # No reduction is to come.
        assert "importance" not in infos


def test_no_importance_unless_asked_for(make_env: Any) -> None:
    _, infos = make_env(2).reset()
    assert "importance" not in infos


def test_bfloat16_leaves_the_callers_weights_alone(make_env: Any, workload: Workload) -> None:
    before = {name: tensor.clone() for name, tensor in workload.backbone.model.state_dict().items()}
    outcomes = []
    for dtype in ("float32", "bfloat16"):
        env = make_env(4, order="once", dtype=dtype)
        observation, _ = env.reset()
        assert observation["hidden_states"].dtype == np.float32
        env.step(half(env))
        *_, infos = env.step(half(env))
        outcomes.append(infos["final_info"]["log_likelihood"])
    assert outcomes[1].dtype == np.float32
    assert not np.array_equal(*outcomes)
    np.testing.assert_allclose(outcomes[1], outcomes[0], rtol=0.1)
    after = workload.backbone.model.state_dict()
    assert all(after[name].equal(tensor) and after[name].dtype == tensor.dtype for name, tensor in before.items())


def test_nothing_in_it_trains(make_env: Any, workload: Workload) -> None:
    env = make_env(4, info_scores="residual", array_type="torch")
    observation, infos = env.reset(seed=0)
    for _ in range(2):
        assert not observation["hidden_states"].requires_grad
        assert not infos["importance"].requires_grad
        observation, rewards, *_, infos = env.step(half(env))
        assert not rewards.requires_grad
    assert not infos["final_info"]["log_likelihood"].requires_grad
    assert not workload.backbone.model.training
    assert all(parameter.grad is None for parameter in workload.backbone.model.parameters())


def test_residual_importance_is_worked_out_once_an_episode(make_env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(staged: StagedModel, batch: TextBatch, targets: Any) -> Any:
        sizes.append(batch.layout.num_texts)
        return residual_importance(staged, batch, targets)

    monkeypatch.setattr("trbert_env.envs.episode.residual_importance", counted)
    env = make_env(6, samples_per_text=3, info_scores="residual")
    env.reset(seed=0)
    for _ in range(40):
        env.step(half(env))
    # Both reductions take it from one pass, and the samples of a text share its scores.
    assert sizes == [2] * 21


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy_size": -50}, "policy_size is -50: give the width"),
        ({"policy_size": 1.5}, "policy_size is 1.5: give a whole number"),
        ({"num_envs": 4.0}, "num_envs is 4.0: give a whole number"),
        ({"samples_per_text": True}, "samples_per_text is True: give a whole number"),
        ({"final_obs": "no"}, "final_obs is 'no': give True or False"),
        (
            {"final_obs": True, "autoreset_mode": "NextStep"},
            "final_obs is for autoreset_mode 'SameStep', not 'NextStep'",
        ),
        ({"reduction_layers": 2}, r"reduction_layers is 2: give a sequence of cuts, such as \(2, 5\)"),
        ({"reduction_layers": "2"}, "reduction_layers is '2': give a sequence"),
        ({"length_penalty": "0.1"}, "length_penalty '0.1': it is a price"),
    ],
)
def test_settings_that_have_no_meaning_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvSettings(**settings)


def test_the_toy_has_no_residual_importance() -> None:
    envs = gymnasium.make_vec("TRBERT/Identity-v0", num_envs=2, info_scores="residual")
    with pytest.raises(ValueError, match=r"info_scores 'residual' is the gradient .* does not follow from states"):
        envs.reset(seed=0)
