"""One pass over a split, ``order="once"``: the same texts in every autoreset mode."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from trbert_env.envs.vector_env import TokenReductionVectorEnv


def kept(env: TokenReductionVectorEnv) -> Any:
    return np.ones((env.num_envs, env.max_tokens), dtype=np.int8)


def shown(infos: dict[str, Any]) -> tuple[list[str], list[bool]]:
    return infos["text_id"].tolist(), infos["row_valid"].tolist()


def finished(env: TokenReductionVectorEnv) -> dict[str, Any]:
    """The infos of the next texts, once those in work have ended."""
    infos: dict[str, Any] = {}
    for _ in range(env.num_reductions):
        infos = env.step(kept(env))[-1]
    if env.autoreset_mode is AutoresetMode.NEXT_STEP:
        return dict(env.step(kept(env))[-1])
    return dict(env.reset()[1] if env.autoreset_mode is AutoresetMode.DISABLED else infos)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_all_texts_come_in_their_order_and_nothing_after_them(make_env: Any, mode: str) -> None:
    env = make_env(2, order="once", autoreset_mode=mode)
    ids = [text.text_id for text in env.workload.texts]
    passed = [shown(env.reset()[1])]
    while any(passed[-1][1]):
        passed.append(shown(finished(env)))
    told = [key for names, valid in passed for key, is_valid in zip(names, valid, strict=True) if is_valid]
    assert told == ids
    for seed in (None, 5):  # a seed begins anew in each mode, and where an episode runs, a reset without one does
        assert shown(env.reset(seed=5)[1]) == passed[0]
        env.step(kept(env))
        assert shown(env.reset(seed=seed)[1]) == passed[0]


def test_a_plain_environment_leads_through_the_pass() -> None:
    env = gymnasium.make("TRBERT/Identity-v0", order="once")
    observation, infos = env.reset()
    ids = [infos["text_id"]]
    for _ in range(3):
        ended = False
        while not ended:
            observation, _, ended, _, infos = env.step(np.ones_like(observation["token_mask"]))
        observation, infos = env.reset()
        ids.append(infos["text_id"])
    assert len(set(map(str, ids))) == 4
    env.close()
