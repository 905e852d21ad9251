"""Episode ends: the three autoreset modes, and what the infos say of the finished and the coming text."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from trbert_env.vector_env import TokenReductionVectorEnv
from trbert_env.workload import Workload

OUTCOME = {"log_likelihood", "kept_tokens", "full_flops", "reduced_flops", "text_id"}


def half(env: TokenReductionVectorEnv) -> Any:
    return np.tile(np.arange(env.max_tokens) % 2 == 0, (env.num_envs, 1))


def check_masks(infos: dict[str, Any], num_envs: int) -> None:
    """Beside every key stands its mask, and every value has a row for each environment."""
    for key in [key for key in infos if not key.startswith("_")]:
        mask = infos[f"_{key}"]
        assert (mask.dtype, mask.shape) == (np.bool_, (num_envs,)), key
        assert mask.all()
        value = infos[key]
        if key == "final_info":
            check_masks(value, num_envs)
        elif key == "final_obs":
            assert {len(array) for array in value.values()} == {num_envs}
        else:
            assert len(value) == num_envs, key
    assert {key.removeprefix("_") for key in infos} == {key for key in infos if not key.startswith("_")}


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("as_string", [True, False])
def test_the_metadata_tell_the_mode(make_env: Any, mode: AutoresetMode, as_string: bool) -> None:
    env = make_env(2, autoreset_mode=mode.value if as_string else mode)
    assert env.metadata["autoreset_mode"] is mode
    # Each environment tells its own: one does not speak for the next.
    assert TokenReductionVectorEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert make_env(2).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_same_step_begins_the_next_text_in_the_step_that_ends_one(make_env: Any) -> None:
    env = make_env(2, order="once", final_obs=True)
    first, start = env.reset()
    middle, _, terminated, _, infos = env.step(half(env))
    check_masks(infos, 2)
    assert not terminated.any()
    assert "final_info" not in infos
    assert not OUTCOME & infos.keys() - {"text_id"}
    observation, _, terminated, truncated, infos = env.step(half(env))
    check_masks(infos, 2)
    assert terminated.all()
    assert not truncated.any()
    assert observation["reduction"].tolist() == [0, 0]
    final = infos["final_info"]
    assert {key for key in final if not key.startswith("_")} == OUTCOME
    assert final["text_id"].tolist() == start["text_id"].tolist()
    assert not set(infos["text_id"]) & set(final["text_id"])
    assert not OUTCOME & infos.keys() - {"text_id"}
    # The last observation of the finished text.
    assert infos["final_obs"]["reduction"].tolist() == [2, 2]
    assert env.observation_space.contains(infos["final_obs"])
    assert np.array_equal(infos["final_obs"]["token_mask"], middle["token_mask"] * half(env))
    # Keep masks in text order, so the second one here drops nothing more.
    kept = middle["token_mask"].sum(1)
    assert final["kept_tokens"].tolist() == [[count, count] for count in kept]
    assert (first["token_mask"].sum(1) > kept).all()


def test_the_last_observation_comes_by_option_only(make_env: Any) -> None:
    env = make_env(2)
    env.reset()
    env.step(half(env))
    *_, infos = env.step(half(env))
    assert "final_obs" not in infos


def test_next_step_wastes_one_step_which_pays_nothing(make_env: Any) -> None:
    env = make_env(2, order="once", autoreset_mode="NextStep")
    same = make_env(2, order="once")
    _, start = env.reset()
    same.reset()
    env.step(half(env))
    same.step(half(same))
    observation, rewards, terminated, _, infos = env.step(half(env))
    expected_observation, expected_rewards, _, _, expected = same.step(half(same))
    check_masks(infos, 2)
    assert terminated.all()
    assert observation["reduction"].tolist() == [2, 2]
    assert "final_info" not in infos
    assert infos.keys() >= OUTCOME
    assert infos["text_id"].tolist() == start["text_id"].tolist()
    for key in OUTCOME:
        assert np.array_equal(infos[key], expected["final_info"][key])
    assert np.array_equal(rewards, expected_rewards)
    observation, rewards, terminated, truncated, infos = env.step(half(env))
    check_masks(infos, 2)
    assert rewards.tolist() == [0.0, 0.0]
    assert not terminated.any()
    assert not truncated.any()
    assert not OUTCOME & infos.keys() - {"text_id"}
    for key, value in expected_observation.items():
        assert np.array_equal(observation[key], value)
    assert infos["text_id"].tolist() == expected["text_id"].tolist()


def test_disabled_waits_for_a_reset(make_env: Any) -> None:
    env = make_env(2, order="shuffle", autoreset_mode="Disabled")
    _, start = env.reset(seed=0)
    env.step(half(env))
    observation, _, terminated, _, infos = env.step(half(env))
    assert terminated.all()
    assert observation["reduction"].tolist() == [2, 2]
    assert infos.keys() >= OUTCOME
    assert infos["text_id"].tolist() == start["text_id"].tolist()
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\)"):
        env.step(half(env))
    for mask in ([True, False], [False, False], [True], True):
        with pytest.raises(ValueError, match=r"reset_mask must be all True, of shape \(2,\)"):
            env.reset(options={"reset_mask": np.array(mask)})
    observation, infos = env.reset(options={"reset_mask": np.array([True, True])})
    assert observation["reduction"].tolist() == [0, 0]
    assert not set(infos["text_id"]) & set(start["text_id"])


def test_a_reset_in_the_middle_draws_new_texts(make_env: Any) -> None:
    env = make_env(2)
    _, first = env.reset(seed=3)
    env.step(half(env))
    observation, second = env.reset()
    assert observation["reduction"].tolist() == [0, 0]
    assert not set(first["text_id"]) & set(second["text_id"])


def test_rows_of_one_text_are_neighbours_and_equal_at_the_start(make_env: Any) -> None:
    env = make_env(6, samples_per_text=3)
    observation, infos = env.reset(seed=0)
    ids = infos["text_id"].tolist()
    assert ids[0] == ids[1] == ids[2] != ids[3] == ids[4] == ids[5]
    for value in observation.values():
        assert np.array_equal(value[0], value[1])
        assert np.array_equal(value[3], value[5])
    action = np.ones((6, 28), dtype=bool)
    action[1, 4:] = False
    env.step(action)
    *_, infos = env.step(action)
    final = infos["final_info"]
    assert final["log_likelihood"][0] == pytest.approx(final["log_likelihood"][2])
    assert final["log_likelihood"][0] != pytest.approx(final["log_likelihood"][1])
    assert final["kept_tokens"][1].tolist() == [4, 4]


@pytest.mark.parametrize("samples", [1, 2])
def test_one_pass_covers_every_text_exactly_once(make_env: Any, workload: Workload, samples: int) -> None:
    env = make_env(3 * samples, samples_per_text=samples, order="once")
    for _ in range(2):  # a reset begins the pass anew
        _, infos = env.reset()
        seen: list[str] = []
        while infos["row_valid"].any():
            check_masks(infos, env.num_envs)
            valid = infos["row_valid"].copy()
            env.step(half(env))
            *_, infos = env.step(half(env))
            seen += infos["final_info"]["text_id"][valid].tolist()
        assert seen == [text.text_id for text in workload.texts for _ in range(samples)]


def test_shuffled_epochs_hold_every_text_once(make_env: Any, workload: Workload) -> None:
    env = make_env(7)
    orders = []
    _, infos = env.reset(seed=0)
    for _ in range(3):
        assert "row_valid" not in infos
        orders.append(infos["text_id"].tolist())
        env.step(half(env))
        *_, infos = env.step(half(env))
    ids = sorted(text.text_id for text in workload.texts)
    assert all(sorted(order) == ids for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_more_rows_than_texts(make_env: Any, workload: Workload) -> None:
    env = make_env(10, order="once")
    _, infos = env.reset()
    assert infos["row_valid"].tolist() == [True] * 7 + [False] * 3
    _, infos = make_env(10).reset(seed=0)
    assert {text.text_id for text in workload.texts} == set(infos["text_id"])


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
    from trbert_env.importance import residual_importance
    from trbert_env.texts import TextBatch

    env = make_env(7, order="once", info_scores="residual", autoreset_mode="NextStep")
    texts = list(workload.texts)
    targets = workload.task.targets(texts)
    expected = residual_importance(
        env.encoder, workload.backbone.model, workload.task, TextBatch.from_texts(texts), targets
    )
    for _ in range(2):  # the second time they come out of the cache
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
