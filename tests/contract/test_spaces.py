"""Spaces, observations, actions and rewards, in both array types."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector.utils import batch_space

from trbert_env.data.workload import Workload
from trbert_env.envs.spaces import batched_observation_space, observation_space
from trbert_env.envs.vector_env import TokenReductionVectorEnv


def keep_all(env: TokenReductionVectorEnv) -> Any:
    return np.ones((env.num_envs, env.max_tokens), dtype=np.int8)


def test_the_spaces_are_those_of_the_contract(make_env: Any) -> None:
    env = make_env(4)
    single = env.single_observation_space
    assert isinstance(single, Dict)
    assert single["hidden_states"] == Box(-np.inf, np.inf, (28, 32), np.float32)
    assert single["token_mask"] == MultiBinary(28)
    assert single["reduction"] == Discrete(3)
    assert env.single_action_space == MultiBinary(28)
    assert env.observation_space["hidden_states"].shape == (4, 28, 32)
    assert env.observation_space["token_mask"].dtype == np.int8
    assert env.observation_space["reduction"] == MultiDiscrete([3] * 4)
    assert env.action_space.shape == (4, 28)
    assert (env.max_tokens, env.num_reductions, env.hidden_size) == (28, 2, 32)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_numpy_observations_lie_in_the_space(make_env: Any, mode: str) -> None:
    env = make_env(4, autoreset_mode=mode)
    observation, _ = env.reset(seed=1)
    env.action_space.seed(0)
    for _ in range(2 if mode == "Disabled" else 5):
        assert env.observation_space.contains(observation)
        for key, values in observation.items():
            assert all(env.single_observation_space[key].contains(value) for value in values)
        observation, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
        assert (rewards.dtype, rewards.shape) == (np.float32, (4,))
        assert (terminated.dtype, truncated.dtype) == (np.bool_, np.bool_)
        assert not truncated.any()
    assert env.observation_space.contains(observation)


def test_a_text_as_the_first_observation_shows_it(make_env: Any, workload: Workload) -> None:
    env = make_env(7, order="once")
    observation, infos = env.reset()
    lengths = [len(text) for text in workload.texts]
    assert len(set(lengths)) > 1
    assert observation["token_mask"].sum(1).tolist() == lengths
    assert (np.cumprod(observation["token_mask"], 1) == observation["token_mask"]).all(), "padding is not at the end"
    assert observation["hidden_states"][observation["token_mask"] == 1].any(-1).all()
    assert not observation["hidden_states"][observation["token_mask"] == 0].any()
    assert observation["reduction"].tolist() == [0] * 7
    assert infos["text_id"].tolist() == [text.text_id for text in workload.texts]
    forced = np.zeros((7, 28), dtype=bool)
    forced[:, 0] = True
    assert (infos["forced_tokens"] == forced).all()


def test_dropped_tokens_leave_the_observation_and_never_come_back(make_env: Any) -> None:
    env = make_env(4, reduction_layers=[2, 3, 4])
    observation, _ = env.reset(seed=0)
    random = np.random.default_rng(0)
    for reduction in range(2):
        before = observation["token_mask"]
        action = random.integers(0, 2, before.shape)
        observation, rewards, *_ = env.step(action)
        expected = before * action
        expected[:, 0] = 1
        assert (observation["token_mask"] == expected).all()
        assert not observation["hidden_states"][expected == 0].any()
        assert observation["reduction"].tolist() == [reduction + 1] * 4
        np.testing.assert_allclose(rewards, -env.length_penalty * expected.sum(1), rtol=1e-5)


def test_torch_and_numpy_give_the_same_numbers(make_env: Any) -> None:
    options = {"samples_per_text": 2, "info_scores": "residual", "order": "once", "final_obs": True}
    ours, theirs = make_env(4, **options), make_env(4, array_type="torch", **options)
    random = np.random.default_rng(3)
    results = [ours.reset(seed=5), theirs.reset(seed=5)]
    for _ in range(4):
        flat, tensors = _flatten(results[0]), _flatten(results[1])
        assert flat.keys() == tensors.keys()
        for key, value in flat.items():
            other = tensors[key]
            # Ids are text, and masks are Gymnasium's own: both are arrays in either case.
            if isinstance(other, torch.Tensor):
                other = other.numpy()
            elif "text_id" not in key:
                assert key.split("/")[-1].startswith("_")
            assert other.dtype == value.dtype, key
            assert np.array_equal(other, value), key
        action = random.integers(0, 2, (4, 28))
        results = [ours.step(action), theirs.step(torch.from_numpy(action))]


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    pairs: Any
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, tuple):
        pairs = enumerate(value)
    else:
        return {path: value}
    return {key: leaf for name, inner in pairs for key, leaf in _flatten(inner, f"{path}/{name}").items()}


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float32, np.float64, np.float16, np.uint16])
def test_every_kind_of_number_is_an_action(make_env: Any, dtype: Any) -> None:
    env = make_env(2, order="once")
    action = np.random.default_rng(0).integers(0, 2, (2, 28)).astype(dtype)
    env.reset()
    observation, *_ = env.step(action)
    for same in (action.tolist(), np.asfortranarray(action), torch.from_numpy(action)):
        env.reset()
        again, *_ = env.step(same)
        assert np.array_equal(again["token_mask"], observation["token_mask"])


def test_the_action_is_neither_changed_nor_kept(make_env: Any) -> None:
    env = make_env(2, order="once")
    observation, _ = env.reset()
    action = np.zeros((2, 28), dtype=bool)
    action.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, *_ = env.step(action)
    assert not action.any()
    assert observation["token_mask"].sum() > 4
    assert first["token_mask"].sum() == 2


def test_padding_in_an_action_is_ignored(make_env: Any) -> None:
    env = make_env(2, order="once")
    results = []
    for padding in (0, 1):
        observation, _ = env.reset()
        action = np.where(observation["token_mask"] == 1, np.arange(28) % 2, padding)
        results.append(_flatten(env.step(action)))
    assert all(np.array_equal(value, results[1][key]) for key, value in results[0].items())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda action: action[:, :27], r"actions have shape \(2, 27\): give \(2, 28\)"),
        (lambda action: action[0], r"actions have shape \(28,\): give \(2, 28\)"),
        (lambda action: np.where(np.arange(28) == 3, 2, action), "action 2 in row 0, token 3"),
        (lambda action: -action, "action -1 in row 0, token 0"),
        (lambda action: np.where(np.arange(28) == 4, np.nan, action), "action nan in row 0, token 4"),
        (lambda action: action * 0.5, "action 0.5 in row 0, token 0"),
        (lambda action: torch.full((2, 28), 0.25), "action 0.25 in row 0, token 0"),
        (lambda action: action.astype(str), "actions of dtype <U.* are not numbers"),
        (lambda action: action.astype(object), "actions of dtype object are not numbers"),
        (lambda action: action.astype(complex), "actions of dtype complex128 are not numbers"),
        (lambda action: None, "actions of dtype object are not numbers"),
    ],
)
def test_a_wrong_action_is_refused_and_nothing_is_lost(make_env: Any, spoil: Any, message: str) -> None:
    env = make_env(2, order="once")
    before, _ = env.reset()
    with pytest.raises(ValueError, match=message):
        env.step(spoil(keep_all(env).astype(np.int64)))
    observation, *_ = env.step(keep_all(env))
    assert np.array_equal(observation["token_mask"], before["token_mask"])


def test_no_step_before_the_first_reset_nor_after_close(make_env: Any) -> None:
    env = make_env(2)
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(keep_all(env))
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\) first"):
        env.token_strings(0)
    env.reset()
    env.close()
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError, match="closed"):
        env.step(keep_all(env))
    with pytest.raises(gymnasium.error.ClosedEnvironmentError, match="closed"):
        env.reset()


def test_the_bounds_of_a_large_space_take_no_memory() -> None:
    single = observation_space(384, 384, 2)
    space = batched_observation_space(single, 256)
    for box in (single["hidden_states"], space["hidden_states"]):
        for name in ("low", "high", "bounded_below", "bounded_above"):
            bounds = getattr(box, name)
            assert bounds.shape == box.shape
            assert set(bounds.strides) == {0}  # one number, seen at every place


def test_it_is_gymnasiums_batch_of_the_space() -> None:
    plain = Dict(
        {
            "hidden_states": Box(-np.inf, np.inf, (6, 4), np.float32),
            "token_mask": MultiBinary(6),
            "reduction": Discrete(3),
        }
    )
    single = observation_space(6, 4, 2)
    space = batched_observation_space(single, 3)
    assert single == plain
    assert space == batch_space(plain, 3)
    for ours, theirs in ((single, plain), (space, batch_space(plain, 3))):
        ours.seed(1)
        theirs.seed(1)
        one, other = ours.sample(), theirs.sample()
        assert ours.contains(one)
        assert theirs.contains(one)
        assert all(np.array_equal(one[name], other[name]) for name in one)
        assert repr(ours) == repr(theirs)
        assert copy.deepcopy(ours) == pickle.loads(pickle.dumps(ours)) == ours
