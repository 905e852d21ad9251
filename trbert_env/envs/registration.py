"""The registered ids: ``TRBERT/<Name>-v0``, one for each preset, and the toy ``TRBERT/Identity-v0``."""

from __future__ import annotations

import gymnasium

from trbert_env.presets import PRESETS


def env_id(name: str) -> str:
    """The Gymnasium id of a data set.

    Example:
        >>> env_id("SQuAD2")
        'TRBERT/SQuAD2-v0'
    """
    return f"TRBERT/{name}-v0"


def register_envs() -> None:
    """Register every preset and the toy, where they are not registered yet."""
    if env_id("Identity") not in gymnasium.registry:
        gymnasium.register(
            id=env_id("Identity"),
            entry_point="trbert_env.testing.identity:make_identity_env",
            vector_entry_point="trbert_env.testing.identity:make_identity_vector_env",
        )
    for name in PRESETS:
        if env_id(name) not in gymnasium.registry:
            gymnasium.register(
                id=env_id(name),
                entry_point="trbert_env.envs.make:make_env",
                vector_entry_point="trbert_env.envs.make:make_vector_env",
                kwargs={"env": name},
            )
