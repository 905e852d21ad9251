"""The VecEnv: what Stable-Baselines3 expects of one, with the environment's own numbers."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

import trbert_env  # noqa: F401
from agents.sb3 import TokenActorCriticPolicy, TokenReductionVecEnv
from agents.sb3.observations import sb3_observation

ID = "TRBERT/Identity-v0"


def make(half_precision: bool = False, **kwargs: Any) -> TokenReductionVecEnv:
    envs: Any = gymnasium.make_vec(ID, num_envs=4, final_obs=True, **kwargs)
    return TokenReductionVecEnv(envs.unwrapped, half_precision)


@pytest.mark.parametrize("array_type", ["numpy", "torch"])
def test_observations_lie_in_the_space_and_are_the_environments(array_type: str) -> None:
    vec_env = make(array_type=array_type)
    vec_env.seed(3)
    seen = vec_env.reset()
    envs: Any = gymnasium.make_vec(ID, num_envs=4)
    observation, infos = envs.reset(seed=3)
    for name, values in observation.items():
        np.testing.assert_array_equal(seen[name], values)
    np.testing.assert_array_equal(seen["forced_tokens"], infos["forced_tokens"])
    np.testing.assert_array_equal(seen["full_length"][:, 0], observation["token_mask"].sum(1))
    for row in range(4):
        one = {name: values[row] for name, values in seen.items()}
        assert vec_env.observation_space.contains(one)


def test_a_step_tells_each_row_what_is_its_own() -> None:
    vec_env = make()
    vec_env.seed(0)
    before = vec_env.reset()
    texts = [info["text_id"] for info in vec_env.reset_infos]
    marked = vec_env.env.unwrapped.marked  # type: ignore[attr-defined]
    after, rewards, dones, infos = vec_env.step(marked)
    np.testing.assert_allclose(rewards, 1.0)
    assert rewards.dtype == np.float32
    assert dones.all()
    for row, info in enumerate(infos):
        assert info["text_id"] == texts[row]
        assert info["TimeLimit.truncated"] is False
        assert info["log_likelihood"] == pytest.approx(1.0)
        assert info["reduced_flops"] < info["full_flops"]
        last = info["terminal_observation"]
        assert vec_env.observation_space.contains(last)
        assert last["reduction"] == 1
        np.testing.assert_array_equal(last["token_mask"][1:], marked[row][1:])
        assert not last["overlap"].any()  # those would be the next text's
        assert not last["forced_tokens"].any()
    assert (after["reduction"] == 0).all()
    assert not np.array_equal(after["hidden_states"], before["hidden_states"])
    kept = infos[0]["terminal_observation"]["token_mask"].copy()
    vec_env.step(marked)
    np.testing.assert_array_equal(infos[0]["terminal_observation"]["token_mask"], kept)  # a copy: it stays


def test_a_seed_counts_once() -> None:
    vec_env = make()
    firsts = []
    for _ in range(2):
        vec_env.seed(5)
        firsts.append(vec_env.reset()["hidden_states"])
    np.testing.assert_array_equal(*firsts)
    assert not np.array_equal(vec_env.reset()["hidden_states"], firsts[0])


def test_states_beyond_float16_stay_finite() -> None:
    envs: Any = gymnasium.make_vec(ID, num_envs=4)
    observation, infos = envs.reset(seed=0)
    observation["hidden_states"] = observation["hidden_states"] * 1e6
    halved = sb3_observation(observation, infos, torch.ones(4, dtype=torch.int64), True)["hidden_states"]
    assert halved.isfinite().all()
    assert halved.abs().max() == torch.finfo(torch.float16).max


def test_half_precision_halves_the_states() -> None:
    whole, half = make(), make(half_precision=True)
    for vec_env in (whole, half):
        vec_env.seed(0)
    states, rounded = whole.reset()["hidden_states"], half.reset()["hidden_states"]
    assert rounded.nbytes * 2 == states.nbytes
    np.testing.assert_array_equal(rounded, states.astype(np.float16))
    sizes = []
    for vec_env in (whole, half):
        model = PPO(TokenActorCriticPolicy, vec_env, n_steps=2, batch_size=8)
        model.learn(8)
        sizes.append(model.rollout_buffer.observations["hidden_states"].nbytes)  # type: ignore[index]
    assert sizes[0] == 2 * sizes[1] == 2 * 4 * states[0].nbytes


def test_attributes_and_methods_are_the_environments() -> None:
    vec_env = make()
    vec_env.reset()
    assert vec_env.get_attr("samples_per_text") == [1] * 4
    vec_env.set_attr("length_penalty", 0.25)
    assert vec_env.env.length_penalty == 0.25
    assert vec_env.env_method("token_strings", 0, indices=[1])[0][0] == "[CLS]"
    assert vec_env.env_is_wrapped(VecMonitor) == [False] * 4
    with pytest.raises(ValueError, match="leave indices out"):
        vec_env.set_attr("length_penalty", 0.5, indices=[0])
    vec_env.set_options([{"reset_mask": np.ones(4, dtype=bool)}, {}, {}, {}])
    with pytest.raises(ValueError, match="options differ"):
        vec_env.reset()
    vec_env.set_options([{"reset_mask": np.ones(4, dtype=bool)} for _ in range(4)])
    assert vec_env.reset()["token_mask"].shape == (4, vec_env.env.max_tokens)


def test_pictures_are_the_environments() -> None:
    vec_env = make(render_mode="rgb_array")
    vec_env.reset()
    for image, expected in zip(vec_env.get_images(), vec_env.env.render() or (), strict=True):
        np.testing.assert_array_equal(image, expected)
    tiled = vec_env.render()  # as VecVideoRecorder asks for them
    assert tiled is not None
    assert tiled.dtype == np.uint8
    assert make().get_images() == [None] * 4
    assert make(render_mode="ansi").get_images() == [None] * 4


def test_environments_that_cannot_be_viewed_are_refused() -> None:
    no_last: Any = gymnasium.make_vec(ID, num_envs=2)
    with pytest.raises(ValueError, match="final_obs=True"):
        TokenReductionVecEnv(no_last.unwrapped)
    other_mode: Any = gymnasium.make_vec(ID, num_envs=2, autoreset_mode="Disabled")
    with pytest.raises(ValueError, match="SameStep"):
        TokenReductionVecEnv(other_mode.unwrapped)


@pytest.mark.parametrize("kind", [PPO, A2C])
def test_its_own_loop_learns_the_toy(kind: Any) -> None:
    envs: Any = gymnasium.make_vec(ID, num_envs=32, final_obs=True)
    vec_env = VecMonitor(TokenReductionVecEnv(envs.unwrapped))
    settings = {"n_epochs": 4, "batch_size": 64} if kind is PPO else {}
    steps, rate = (2560, 2e-3) if kind is PPO else (5120, 4e-3)
    model = kind(
        TokenActorCriticPolicy,
        vec_env,
        n_steps=4,
        gamma=1.0,
        learning_rate=rate,
        seed=0,
        policy_kwargs={"overlap": False},
        **settings,
    )
    model.learn(steps)
    mean, _ = evaluate_policy(model, vec_env, n_eval_episodes=64)
    assert mean > 0.95
