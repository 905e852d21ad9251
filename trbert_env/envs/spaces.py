"""The spaces of one row."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from gymnasium.vector.utils import batch_space


def observation_space(max_tokens: int, hidden_size: int, num_reductions: int) -> Dict:
    """States, mask and the index of the coming reduction, of one row."""
    return Dict(
        {
            "hidden_states": unbounded((max_tokens, hidden_size)),
            "token_mask": MultiBinary(max_tokens),
            "reduction": Discrete(num_reductions + 1),
        }
    )


def action_space(max_tokens: int) -> MultiBinary:
    """A keep mask, of one row."""
    return MultiBinary(max_tokens)


def batched_observation_space(single: Dict, num_envs: int) -> Dict:
    """Return the space of ``num_envs`` rows of :func:`observation_space`, equal to Gymnasium's ``batch_space``.

    Args:
        single: The space of one row.
        num_envs: Rows.
    """
    spaces = {name: batch_space(space, num_envs) for name, space in single.items() if name != "hidden_states"}
    spaces["hidden_states"] = unbounded((num_envs, *(single["hidden_states"].shape or ())))
    return Dict({name: spaces[name] for name in single})


def unbounded(shape: tuple[int, ...]) -> Box:
    """Return the box of all float32 arrays of a shape, whose bounds take no memory.

    Gymnasium writes the two bounds out for every entry: 360 MB for 256 rows of 384 tokens.
    """
    box = Box(-np.inf, np.inf, (1,) * len(shape), np.float32)
    box._shape = shape
    for name in ("low", "high", "bounded_below", "bounded_above"):
        setattr(box, name, np.broadcast_to(getattr(box, name), shape))
    return box
