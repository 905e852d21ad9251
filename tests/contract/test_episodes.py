"""Episode ends: the three autoreset modes, and what the infos say of the finished and the coming text."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from trbert_env.data.workload import Workload
from trbert_env.envs.vector_env import TokenReductionVectorEnv

OUTCOME = {"log_likelihood", "has_gold", "kept_tokens", "full_flops", "reduced_flops", "text_id"}


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
    assert {key for key in final if not key.startswith("_")} == OUTCOME | {"row_valid"}
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
        for _ in range(5):
            if not infos["row_valid"].any():
                break
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
