"""The spaces of one row."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary


def observation_space(max_tokens: int, hidden_size: int, num_reductions: int) -> Dict:
    """States, mask and the index of the coming reduction, of one row."""
    return Dict(
        {
            "hidden_states": Box(-np.inf, np.inf, (max_tokens, hidden_size), np.float32),
            "token_mask": MultiBinary(max_tokens),
            "reduction": Discrete(num_reductions + 1),
        }
    )


def action_space(max_tokens: int) -> MultiBinary:
    """A keep mask, of one row."""
    return MultiBinary(max_tokens)
