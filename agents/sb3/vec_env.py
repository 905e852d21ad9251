"""The environment as a Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices
from torch import Tensor

from agents.sb3.observations import sb3_observation, sb3_observation_space
from trbert_env.envs.vector_env import TokenReductionVectorEnv

#: Infos of a finished text that every row is told as plain numbers.
FINAL_METRICS = ("log_likelihood", "has_gold", "full_flops", "reduced_flops", "text_id")


class TokenReductionVecEnv(VecEnv):
    """A thin view: observations as :func:`~agents.sb3.observations.sb3_observation_space` says, infos by row.

    The rows are one environment: what is set or called on it is set or called once, a seed fixes the order of
    the texts for all of them, and they end together.

    Args:
        env: In its SAME_STEP mode, and made with ``final_obs=True``: Stable-Baselines3 wants every
            ``terminal_observation``.
        half_precision: True for float16 states, which halves the rollout buffer: at 64 rows, two steps,
            384 tokens and a hidden size of 384, 39 MB instead of 76 MB.

    Raises:
        ValueError: The environment is in another mode, or keeps no last observation.

    Example:
        >>> import gymnasium, trbert_env
        >>> from stable_baselines3 import PPO
        >>> from agents.sb3 import TokenActorCriticPolicy
        >>> envs = gymnasium.make_vec("TRBERT/Identity-v0", num_envs=16, final_obs=True)
        >>> model = PPO(TokenActorCriticPolicy, TokenReductionVecEnv(envs), n_steps=4, batch_size=32, gamma=1.0)
        >>> _ = model.learn(128)
    """

    def __init__(self, env: TokenReductionVectorEnv, half_precision: bool = False) -> None:
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode is {env.autoreset_mode.value}: make the environment with 'SameStep'")
        if not env.final_obs:
            raise ValueError("the environment keeps no last observation: make it with final_obs=True")
        self.env = env
        self._half_precision = half_precision
        space = sb3_observation_space(env.max_tokens, env.hidden_size, env.num_reductions, half_precision)
        super().__init__(env.num_envs, space, env.single_action_space)
        self._full_lengths = torch.zeros(0, dtype=torch.int64)
        self._actions: npt.NDArray[Any] = np.zeros(0)

    # -- stepping --------------------------------------------------------------------------------------

    def reset(self) -> dict[str, npt.NDArray[Any]]:
        """Draw new texts; seeds and options that were set count once, as everywhere in Stable-Baselines3.

        Raises:
            ValueError: Rows were given options that differ.
        """
        options = self._options[0]
        if not all(_alike(options, other) for other in self._options):
            raise ValueError("the rows' options differ: rows are one environment, so set the same for all")
        observation, infos = self.env.reset(seed=self._seeds[0], options=options or None)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = self._rows_of(infos)
        return self._begin(observation, infos)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Remember what to do."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Do it: observation, rewards, dones, infos."""
        observation, rewards, terminated, _, infos = self.env.step(self._actions)
        ended = bool(terminated[0])
        rows: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        if ended:
            self._add_final(rows, infos)
            self.reset_infos = self._rows_of(infos)
            arrays = self._begin(observation, infos)
        else:
            arrays = self._arrays(observation, infos)
        dones = np.full(self.num_envs, ended)
        return arrays, _array(rewards), dones, rows

    def close(self) -> None:
        """Let go of the texts in work."""
        self.env.close()

    def _begin(self, observation: dict[str, Any], infos: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """The first observation of an episode, which says how long the texts are."""
        self._full_lengths = torch.as_tensor(observation["token_mask"]).cpu().sum(1, dtype=torch.int64)
        return self._arrays(observation, infos)

    def _arrays(self, observation: dict[str, Any], infos: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
        tensors = sb3_observation(observation, infos, self._full_lengths, self._half_precision)
        return {name: tensor.numpy() for name, tensor in tensors.items()}

    def _add_final(self, rows: list[dict[str, Any]], infos: dict[str, Any]) -> None:
        """What belongs to the finished texts; the coming texts' infos fill what a last observation lacks."""
        final, last = infos["final_info"], infos["final_obs"]
        kept = _array(final["kept_tokens"])
        arrays = self._arrays(last, infos)
        for name in ("overlap", "forced_tokens"):  # those are the coming texts'
            arrays[name] = np.zeros_like(arrays[name])
        for index, row in enumerate(rows):
            row["terminal_observation"] = {name: array[index].copy() for name, array in arrays.items()}
            row |= {name: _plain(final[name][index]) for name in FINAL_METRICS}
            row["kept_tokens"] = kept[index].copy()

    def _rows_of(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"text_id": _plain(infos["text_id"][index])} for index in range(self.num_envs)]

    # -- the environment behind it ---------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the one environment, once for each row asked for."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set it for all rows.

        Raises:
            ValueError: Only some rows are meant.
        """
        self._check_all(indices, f"set {attr_name!r}")
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call it once; what comes back stands once for each row asked for."""
        value = getattr(self.env, method_name)(*args, **kwargs)
        return [value for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """No row is."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """The picture of each row; None each where the environment shows text, by ``env.render()``, or nothing."""
        images = self.env.render() if self.render_mode == "rgb_array" else None
        return [None for _ in range(self.num_envs)] if images is None else list(images)

    def _check_all(self, indices: VecEnvIndices, what: str) -> None:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"cannot {what} for rows {indices} only: rows are one environment, leave indices out")


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows' options are the same, arrays among them."""
    return one.keys() == other.keys() and all(np.array_equal(value, other[name]) for name, value in one.items())


def _array(value: Any) -> npt.NDArray[Any]:
    """An array of an array or a tensor."""
    found: npt.NDArray[Any] = torch.as_tensor(value).cpu().numpy()
    return found


def _plain(value: Any) -> Any:
    """A number or a string of an array or a tensor."""
    return value.item() if isinstance(value, (Tensor, np.generic)) else value
