"""Invariant 7, the environment's part: same seed, same run; stopped and resumed, the same run too."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from trbert_env.envs.vector_env import TokenReductionVectorEnv


def actions(env: TokenReductionVectorEnv, count: int, seed: int = 0) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.random((env.num_envs, env.max_tokens)) < 0.6 for _ in range(count)]


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        pairs: Any = value.items()
    elif isinstance(value, tuple | list):
        pairs = enumerate(value)
    else:
        return {path: value}
    return {key: leaf for name, inner in pairs for key, leaf in flatten(inner, f"{path}/{name}").items()}


def assert_same(ours: Any, theirs: Any) -> None:
    one, other = flatten(ours), flatten(theirs)
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert np.array_equal(value, other[key]), key


OPTIONS: list[dict[str, Any]] = [
    {},
    {"samples_per_text": 2, "info_scores": "residual"},
    {"samples_per_text": 4, "info_scores": "attention", "final_obs": True, "reduction_layers": [2, 3, 4]},
    {"order": "once", "autoreset_mode": "NextStep", "info_scores": "residual"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_same_seed_same_run_bit_for_bit(make_env: Any, options: dict[str, Any]) -> None:
    one, other = make_env(4, **options), make_env(4, **options)
    assert_same(one.reset(seed=7), other.reset(seed=7))
    for action in actions(one, 8):
        assert_same(one.step(action), other.step(action))
    # Also in an environment that has done other things before.
    again = make_env(4, **options)
    again.reset(seed=1)
    again.step(actions(one, 1)[0])
    assert_same(one.reset(seed=7), again.reset(seed=7))


def test_another_seed_is_another_run(make_env: Any) -> None:
    env = make_env(4)
    runs = [tuple(env.reset(seed=seed)[1]["text_id"]) for seed in range(5)]
    assert len(set(runs)) > 3
    assert tuple(env.reset(seed=0)[1]["text_id"]) == runs[0]


def test_without_a_seed_a_reset_goes_on_in_the_order(make_env: Any) -> None:
    env = make_env(3)
    ids = [env.reset(seed=0)[1]["text_id"].tolist(), env.reset()[1]["text_id"].tolist()]
    assert not set(ids[0]) & set(ids[1])
    assert env.np_random_seed == 0


def test_a_seed_may_come_as_a_list(make_env: Any) -> None:
    env = make_env(2)
    assert_same(env.reset(seed=[5, 6]), make_env(2).reset(seed=5))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 5])
def test_resumed_equals_uninterrupted(make_env: Any, options: dict[str, Any], stop: int) -> None:
    steps = actions(make_env(4), 9)
    whole = make_env(4, **options)
    results = [whole.reset(seed=3)]
    for action in steps[:stop]:
        results.append(whole.step(action))
    state = copy.deepcopy(whole.state_dict())
    assert "importance" not in state
    rest = [whole.step(action) for action in steps[stop:]]
    resumed = make_env(4, **options)
    restored = resumed.load_state_dict(state)
    # Importance is computed again, on the same texts.
    assert_same(resumed.state_dict(), state)
    last = results[-1]
    observation, infos = last[0], last[-1]
    assert_same(restored[0], observation)
    # What belongs to a finished text was paid out already.
    coming = {key: value for key, value in infos.items() if key.removeprefix("_") in restored[1]}
    assert_same(restored[1], coming)
    for action, expected in zip(steps[stop:], rest, strict=True):
        assert_same(resumed.step(action), expected)


def test_the_state_holds_the_price_and_survives_torch_and_json(make_env: Any, tmp_path: Any) -> None:
    env = make_env(2, info_scores="residual")
    env.reset(seed=0)
    env.length_penalty = 0.125
    env.step(actions(env, 1)[0])
    state = env.state_dict()
    # Plain values only, so that a checkpoint needs no pickle.
    kinds = {type(leaf) for leaf in flatten(state).values()}
    assert kinds <= {int, float, str, bool, np.ndarray, torch.Tensor}
    resumed = make_env(2, info_scores="residual")
    resumed.load_state_dict(state)
    assert resumed.length_penalty == 0.125


def test_a_state_from_before_the_first_reset(make_env: Any) -> None:
    env = make_env(2)
    env.reset(seed=4)
    env.reset()
    fresh = make_env(2)
    assert fresh.load_state_dict(make_env(2).state_dict()) is None
    assert_same(fresh.reset(seed=4), make_env(2).reset(seed=4))


def test_a_state_does_not_change_while_the_run_goes_on(make_env: Any) -> None:
    env = make_env(4, info_scores="residual")
    env.reset(seed=0)
    state = env.state_dict()
    before = copy.deepcopy(state)
    for action in actions(env, 5):
        env.step(action)
    assert_same(state, before)


def test_a_mask_may_be_written_anew(make_env: Any) -> None:
    """A state that is saved later has the masks that were given, whatever became of the caller's tensor."""
    env = make_env(4, samples_per_text=2, array_type="torch")
    env.reset(seed=3)
    mask = env.packed_observation.gather(env.packed_observation.forced)
    env.step_packed(mask)
    states = env.packed_observation.states.clone()
    mask.fill_(True)
    env.load_state_dict(env.state_dict())
    assert torch.equal(env.packed_observation.states, states)


@pytest.mark.parametrize("steps_before", [0, 1])
@pytest.mark.parametrize("options", [{}, {"autoreset_mode": "Disabled"}])
def test_attention_may_be_asked_for_while_an_episode_runs(
    make_env: Any, options: dict[str, Any], steps_before: int
) -> None:
    settings = {"reduction_layers": [2, 3, 4], **options}
    env, twin = make_env(4, **settings), make_env(4, info_scores="attention", **settings)
    env.reset(seed=0)
    twin.reset(seed=0)
    steps = actions(env, 3)
    for action in steps[:steps_before]:
        env.step(action)
        twin.step(action)
    env.info_scores = "attention"
    for action in steps[steps_before:]:
        assert env.packed_observation.importance.equal(twin.packed_observation.importance)
        found, expected = env.step(action), twin.step(action)
        theirs = flatten(expected[:4])
        for place, value in flatten(found[:4]).items():
            np.testing.assert_allclose(value, theirs[place], rtol=0, atol=1e-5)
