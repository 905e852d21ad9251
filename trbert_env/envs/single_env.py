"""The one-row view: the same environment as a plain ``gymnasium.Env``."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np

from trbert_env.envs.vector_env import Observation, TokenReductionVectorEnv


class TokenReductionEnv(gymnasium.Env[Any, Any]):
    """One row of :class:`TokenReductionVectorEnv`, for tools that know no vector environments.

    It has the same keywords, but for ``num_envs``, ``samples_per_text``, ``array_type`` (numpy) and
    ``autoreset_mode`` (a plain environment does not reset itself).

    Args:
        render_mode: None or ``"ansi"``.
        kwargs: See :class:`TokenReductionVectorEnv`.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012
    #: What it is one row of.
    vector_env_class: ClassVar[type[TokenReductionVectorEnv]] = TokenReductionVectorEnv

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        self._vector_env = self.vector_env_class(
            num_envs=1,
            samples_per_text=1,
            array_type="numpy",
            autoreset_mode="Disabled",
            render_mode=render_mode,
            **kwargs,
        )
        self.render_mode = render_mode
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

    def render(self) -> str | None:
        """With ``render_mode="ansi"``: the text, skipped tokens struck out."""
        rendered = self._vector_env.render()
        return None if rendered is None else rendered[0]

    def close(self) -> None:
        """Let go of the text in work."""
        self._vector_env.close()


def _row(observation: Observation) -> Observation:
    return {key: value[0] for key, value in observation.items()}


def _info_row(infos: dict[str, Any]) -> dict[str, Any]:
    return {key: value[0] for key, value in infos.items() if not key.startswith("_")}
