"""The one-row view: the same environment as a plain ``gymnasium.Env``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import Observation, TokenReductionVectorEnv

#: Settings of an environment that :class:`TokenReductionEnv` can view.
ONE_ROW: dict[str, Any] = {
    "num_envs": 1,
    "samples_per_text": 1,
    "array_type": "numpy",
    "autoreset_mode": "Disabled",
}


def check_one_row(options: Mapping[str, Any]) -> None:
    """Refuse options that an environment of one row settles.

    Args:
        options: Options as given.

    Raises:
        ValueError: There is one.
    """
    if settled := sorted(options.keys() & ONE_ROW.keys()):
        raise ValueError(
            f"{settled[0]} is {options[settled[0]]!r}, and gymnasium.make() makes one row, which settles it: leave it "
            "out, or use gymnasium.make_vec()"
        )


class TokenReductionEnv(gymnasium.Env[Any, Any]):
    """View an environment of one row as a plain one, for tools that know no vector environments.

    Args:
        vector_env: An environment of one row, with numpy arrays and ``autoreset_mode="Disabled"``: a plain
            environment does not reset itself.

    Raises:
        ValueError: The environment has other settings.

    Example:
        >>> import gymnasium, trbert_env
        >>> env = gymnasium.make("TRBERT/Identity-v0")
        >>> observation, info = env.reset(seed=0)
        >>> observation["hidden_states"].shape
        (64, 32)
    """

    metadata: dict[str, Any] = {"render_modes": list(EnvSettings.render_modes), "render_fps": 4}  # noqa: RUF012

    def __init__(self, vector_env: TokenReductionVectorEnv) -> None:
        rows, kind, mode = vector_env.num_envs, vector_env.array_type, vector_env.autoreset_mode.value
        if (rows, kind, mode) != (1, "numpy", "Disabled"):
            raise ValueError(
                f"an environment of num_envs {rows}, array_type {kind!r} and autoreset_mode {mode!r} has no view of "
                f"one row: make it with {ONE_ROW}"
            )
        self._vector_env = vector_env
        self.render_mode = vector_env.render_mode
        self.observation_space = self._vector_env.single_observation_space
        self.action_space = self._vector_env.single_action_space

    def __repr__(self) -> str:
        """What it views."""
        return f"TokenReductionEnv({self._vector_env!r})"

    @property
    def vector_env(self) -> TokenReductionVectorEnv:
        """The environment behind it."""
        return self._vector_env

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw a text; see :meth:`TokenReductionVectorEnv.reset`."""
        super().reset(seed=seed)
        observation, infos = self._vector_env.reset(seed=seed, options=options)
        return _row(observation), _info_row(infos)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply a keep mask, ``(max_tokens,)``; see :meth:`TokenReductionVectorEnv.step`."""
        observation, reward, terminated, truncated, infos = self._vector_env.step(np.asarray(action)[None])
        return _row(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _info_row(infos)

    def token_strings(self) -> list[str]:
        """The tokens of the text in work."""
        return self._vector_env.token_strings(0)

    def render(self) -> Any:
        """Show the text; see :meth:`TokenReductionVectorEnv.render`."""
        rendered = self._vector_env.render()
        return None if rendered is None else rendered[0]

    def close(self) -> None:
        """Let go of the text in work."""
        self._vector_env.close()


def _row(observation: Observation) -> Observation:
    return {key: value[0] for key, value in observation.items()}


def _info_row(infos: dict[str, Any]) -> dict[str, Any]:
    return {key: value[0] for key, value in infos.items() if not key.startswith("_")}
