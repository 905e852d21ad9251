"""What Stable-Baselines3 observes: the environment's observation, and of its infos what a policy needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from trbert_env.envs.spaces import observation_space
from trbert_env.reduction.overlap import NUM_FEATURES


def sb3_observation_space(
    max_tokens: int, hidden_size: int, num_reductions: int, half_precision: bool = False
) -> spaces.Dict:
    """The space of one row.

    Beside the environment's own keys: ``overlap`` (max_tokens, 4), ``forced_tokens`` (max_tokens), and
    ``full_length`` (1), the tokens of the whole text, which budgets are fractions of.

    Args:
        max_tokens: Width.
        hidden_size: Width of the states.
        num_reductions: T.
        half_precision: True for float16 states, which halves a rollout buffer.
    """
    parts = dict(observation_space(max_tokens, hidden_size, num_reductions).spaces)
    states_type = np.float16 if half_precision else np.float32
    parts["hidden_states"] = spaces.Box(-np.inf, np.inf, (max_tokens, hidden_size), states_type)
    parts["overlap"] = spaces.Box(0.0, 1.0, (max_tokens, NUM_FEATURES), np.float32)
    parts["forced_tokens"] = spaces.MultiBinary(max_tokens)
    parts["full_length"] = spaces.Box(1, max_tokens, (1,), np.int64)
    return spaces.Dict(parts)


def check_observation_space(space: spaces.Space[Any]) -> None:
    """Refuse observations that are not those of :func:`sb3_observation_space`.

    Stable-Baselines3's own ``make_vec_env`` steps the one-row view, whose observations lack what infos say.

    Raises:
        ValueError: They lack some; the message names them.
    """
    known = sb3_observation_space(1, 1, 1).spaces
    missing = sorted(known.keys() - (space.keys() if isinstance(space, spaces.Dict) else set()))
    if missing:
        raise ValueError(
            f"the observations lack {', '.join(missing)}: make the environment with gymnasium.make_vec(id, "
            "num_envs=..., final_obs=True) and wrap it in agents.sb3.TokenReductionVecEnv, instead of make_vec_env"
        )


def sb3_observation(
    observation: dict[str, Any], infos: dict[str, Any], full_lengths: Tensor, half_precision: bool = False
) -> dict[str, Tensor]:
    """The observation of all rows, as tensors on the CPU; see :func:`sb3_observation_space`.

    Args:
        observation: The environment's, as tensors or arrays.
        infos: The ``infos`` of the same step.
        full_lengths: ``(rows,)`` int64.
        half_precision: True to make states float16; what float16 cannot hold becomes its greatest number.
    """
    states = _tensor(observation["hidden_states"])
    return {
        "hidden_states": _halved(states) if half_precision else states,
        "token_mask": _tensor(observation["token_mask"]),
        "reduction": _tensor(observation["reduction"]),
        "overlap": _tensor(infos["overlap"]).float(),
        "forced_tokens": _tensor(infos["forced_tokens"]).to(torch.int8),
        "full_length": full_lengths.cpu()[:, None],
    }


def _halved(states: Tensor) -> Tensor:
    """As float16; single dimensions of some encoders go beyond 65,504, and an infinite state makes the policy NaN."""
    greatest = torch.finfo(torch.float16).max
    return states.float().clamp(-greatest, greatest).half()


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value).cpu()
