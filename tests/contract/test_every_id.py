"""Every id that needs no files keeps the whole contract, on its embedded corpus."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec

from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.presets import OWN, PRESETS
from trbert_env.tasks import MultipleChoice
from trbert_env.testing.vector_env_checker import check_vector_env

NAMES = [name for name in PRESETS if name not in OWN]
#: Short sequences, so that the tests are: enough for a question and some of its context.
SHORT: dict[str, dict[str, Any]] = {
    "span_qa": {"max_tokens": 64, "stride": 8, "max_question_tokens": 24},
    "multiple_choice": {"max_tokens": 60, "max_question_tokens": 24},
    "classification": {"max_tokens": 48},
    "multi_hop_qa": {"max_tokens": 64, "max_question_tokens": 24},
    "candidate_qa": {"max_tokens": 64},
}
#: Of these ids, the texts are sliced too: one of each kind of task that can be.
SLICED = ("NewsQA", "Hyperpartisan")

Make = Callable[..., TokenReductionVectorEnv]


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path]) -> Path:
    """A tiny encoder without a head, with a real tokenizer."""
    return save_encoder(hidden_size=8, intermediate_size=8, initializer_range=0.3)


@pytest.fixture(scope="module", params=[*NAMES, *(f"{name}, sliced" for name in SLICED)])
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def name(case: str) -> str:
    return case.removesuffix(", sliced")


@pytest.fixture(scope="module")
def settings(case: str, name: str) -> dict[str, Any]:
    """Settings of the task."""
    return SHORT[PRESETS[name].task] | ({"max_slices": 3} if "sliced" in case else {})


def made(name: str, source: str | EnvSpec, **options: Any) -> TokenReductionVectorEnv:
    """Make an environment through Gymnasium; the head that is still to be trained is always the same."""
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match=f"is not fine-tuned for {name}"):
        env = gymnasium.make_vec(source, num_envs=4, **options)
    assert isinstance(env, TokenReductionVectorEnv)
    return env


@pytest.fixture(scope="module")
def of_id(
    name: str, settings: dict[str, Any], encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TokenReductionVectorEnv]:
    """The id's environment, of four rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRBERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TRBERT_DATA", raising=False)
        env = made(
            name,
            f"TRBERT/{name}-v0",
            backbone=str(encoder),
            data_source="embedded",
            max_examples=12,
            samples_per_text=2,
            task_settings=settings,
        )
        yield env
        env.close()


@pytest.fixture
def make(of_id: TokenReductionVectorEnv) -> Make:
    """``make(order="once")``: the same texts with other settings."""
    return lambda **options: TokenReductionVectorEnv(of_id.workload, replace(of_id.settings, **options))


def actions(env: TokenReductionVectorEnv, count: int) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.random((env.num_envs, env.max_tokens)) < 0.6 for _ in range(count)]


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: leaf for name, inner in value.items() for key, leaf in flatten(inner, f"{path}/{name}").items()}
    if isinstance(value, tuple | list):
        return flatten(dict(enumerate(value)), path)
    return {path: value}


def assert_same(one: Any, other: Any) -> None:
    ours, theirs = flatten(one), flatten(other)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert np.array_equal(value, theirs[key]), key


def test_it_goes_to_another_process(of_id: TokenReductionVectorEnv) -> None:
    env = of_id
    env.reset(seed=5)
    other = pickle.loads(pickle.dumps(env))
    assert_same(env.reset(seed=6), other.reset(seed=6))
    action = np.ones((env.num_envs, env.max_tokens), np.int8)
    assert_same(env.step(action), other.step(action))


def test_infos_say_which_texts_hold_their_answer(of_id: TokenReductionVectorEnv) -> None:
    env = of_id
    env.reset(seed=5)
    for _ in range(env.num_reductions):
        *_, infos = env.step(np.ones((env.num_envs, env.max_tokens), np.int8))
    final, outcome = infos["final_info"], env.last_outcome
    assert outcome is not None
    task = env.workload.task
    assert final["has_gold"].dtype == np.bool_
    assert_same(final["has_gold"], task.has_gold(task.targets(outcome.texts)).numpy())
    assert (final["log_likelihood"][~final["has_gold"]] == 0.0).all()


def test_the_checker_finds_nothing(make: Make) -> None:
    assert check_vector_env(make(final_obs=True), check_spec=False) == []


def test_the_spec_survives_json(name: str, settings: dict[str, Any], of_id: TokenReductionVectorEnv) -> None:
    env = of_id
    kind = PRESETS[name].task
    slices = (SHORT[kind] | dict(PRESETS[name].settings) | settings).get("max_slices", 1)
    options = 4 if kind == "multiple_choice" else 1
    assert env.max_tokens == SHORT[kind]["max_tokens"] * slices * options
    assert env.single_action_space.shape == (env.max_tokens,)
    assert env.spec is not None
    text = env.spec.to_json()
    again = made(name, EnvSpec.from_json(text))
    assert again.spec is not None
    assert again.spec.to_json() == text
    assert_same(env.reset(seed=5), again.reset(seed=5))
    again.close()


def test_observations_lie_in_their_space_and_first_tokens_are_forced(settings: dict[str, Any], make: Make) -> None:
    env = make(order="once")
    if "max_slices" in settings:
        assert max(len(text.sequence_lengths) for text in env.workload.texts) == settings["max_slices"]
    observation, infos = env.reset(seed=0)
    texts = {text.text_id: text for text in env.workload.texts}
    nothing = np.zeros((4, env.max_tokens), dtype=np.int8)
    shown = infos["text_id"].tolist()
    for row, key in enumerate(shown):
        assert observation["token_mask"][row].sum() == len(texts[key])
    forced = np.zeros((4, env.max_tokens), dtype=bool)
    for row, key in enumerate(shown):
        forced[row, np.cumsum([0, *texts[key].sequence_lengths[:-1]])] = True
    if isinstance(env.workload.task, MultipleChoice):
        assert forced.sum(1).tolist() == [4] * 4
    assert np.array_equal(infos["forced_tokens"], forced)
    for _ in range(2):
        assert env.observation_space.contains(observation)
        observation, rewards, _, _, infos = env.step(nothing)
        assert rewards.dtype == np.float32
        assert np.isfinite(rewards).all()
    assert infos["final_info"]["text_id"].tolist() == shown
    assert infos["final_info"]["kept_tokens"].tolist() == [[count, count] for count in forced.sum(1)]
    assert (infos["final_info"]["reduced_flops"] < infos["final_info"]["full_flops"]).all()


@pytest.mark.parametrize("scores", ["residual", "attention"])
def test_seeds_states_and_importance(scores: str, case: str, make: Make) -> None:
    env, twin, resumed = (make(info_scores=scores) for _ in range(3))
    first = env.reset(seed=7)
    assert_same(first, twin.reset(seed=7))
    steps = actions(env, 7)
    observation, infos = first
    # No gradient reaches a window of which no logit is the greatest of its text.
    least = 0.0 if scores == "residual" and case == "Hyperpartisan, sliced" else 0.9
    for step in steps[:3]:
        in_play = observation["token_mask"] == 1
        assert infos["importance"].shape == in_play.shape
        assert not infos["importance"][~in_play].any()
        assert (infos["importance"][in_play] > 0).mean() > least
        result = env.step(step)
        assert_same(result, twin.step(step))
        observation, infos = result[0], result[-1]
    state = copy.deepcopy(env.state_dict())
    resumed.load_state_dict(state)
    assert_same(resumed.state_dict(), state)
    for step in steps[3:]:
        assert_same(resumed.step(step), env.step(step))
