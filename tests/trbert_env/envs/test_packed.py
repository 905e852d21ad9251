"""The packed way through the environment tells and does the same as Gymnasium's padded one."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import trbert_env  # noqa: F401
from trbert_env.envs.vector_env import TokenReductionVectorEnv


def make(**options: Any) -> TokenReductionVectorEnv:
    envs: Any = gymnasium.make_vec(
        "TRBERT/Identity-v0", num_envs=8, samples_per_text=2, array_type="torch", length_penalty=0.01, **options
    )
    found: TokenReductionVectorEnv = envs.unwrapped
    return found


@pytest.mark.parametrize("info_scores", [None, "attention"])
def test_it_tells_the_same(info_scores: Any) -> None:
    env = make(info_scores=info_scores)
    observation, infos = env.reset(seed=3)
    packed = env.packed_observation
    padded, told = packed.padded(), packed.padded_infos()
    assert padded.keys() == observation.keys()
    assert all(torch.equal(value, observation[name]) for name, value in padded.items())
    assert told.keys() == {name for name in infos if not name.startswith("_")}
    assert (told.pop("text_id") == infos["text_id"]).all()
    assert all(torch.equal(value, infos[name]) for name, value in told.items())
    assert torch.equal(packed.full_lengths, observation["token_mask"].sum(1))
    assert torch.equal(packed.gather(packed.in_play & ~packed.forced), packed.free)
    assert torch.equal(packed.gather(padded["hidden_states"]), packed.states)


@pytest.mark.parametrize("info_scores", [None, "attention"])
def test_it_does_the_same(info_scores: Any) -> None:
    one, other = make(info_scores=info_scores), make(info_scores=info_scores)
    one.reset(seed=3)
    other.reset(seed=3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        keep = torch.rand(8, one.max_tokens, generator=generator) < 0.5
        rewards, outcome = one.step_packed(one.packed_observation.gather(keep))
        observation, expected, ended, _, infos = other.step(keep)
        assert torch.equal(rewards, expected)
        assert (outcome is not None) == bool(ended.all())
        if outcome is not None:
            final = infos["final_info"]
            assert all(torch.equal(value, final[name]) for name, value in outcome.metrics().items())
        assert torch.equal(one.packed_observation.padded()["hidden_states"], observation["hidden_states"])
        assert (np.array(one.packed_observation.text_ids) == infos["text_id"]).all()


def test_what_it_refuses() -> None:
    env = make()
    with pytest.raises(gymnasium.error.ResetNeeded):
        _ = env.packed_observation
    env.reset(seed=0)
    total = env.packed_observation.layout.total_tokens
    for wrong in (torch.ones(total - 1, dtype=torch.bool), torch.ones(total), torch.ones(8, 64, dtype=torch.bool)):
        with pytest.raises(ValueError, match=f"give {total} booleans"):
            env.step_packed(wrong)
    with pytest.raises(ValueError, match=r"autoreset_mode is NextStep: step_packed\(\) needs 'SameStep'"):
        make(autoreset_mode="NextStep").step_packed(torch.ones(total, dtype=torch.bool))
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        env.step_packed(torch.ones(total, dtype=torch.bool))


def test_rows_of_a_pass() -> None:
    env = make(order="once")
    env.reset()
    assert env.row_valid.all()
    env.row_valid[:] = False  # a copy
    assert env.row_valid.all()


def test_attention_may_be_asked_for_while_an_episode_runs() -> None:
    env = make()
    env.reset(seed=0)
    assert env.packed_observation.importance is None
    env.info_scores = "attention"
    found = env.packed_observation.importance
    assert found is not None
    env.reset(seed=0)
    recorded = env.packed_observation.importance
    assert recorded is not None
    torch.testing.assert_close(found, recorded)
