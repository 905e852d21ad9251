"""Checks of what users hand to the environment, each an error that names the value and the mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from trbert_env.texts import EncodedText

T = TypeVar("T")


def choose(name: str, value: T, known: Sequence[object]) -> T:
    """Return ``value`` if it is one of ``known``.

    Raises:
        ValueError: It is not.
    """
    if value not in known:
        raise ValueError(f"{name} {value!r} is unknown: use one of {', '.join(map(repr, known))}")
    return value


def check_device(name: str) -> torch.device:
    """Return the device, if it is there; "cuda" is the current one, by its number, as tensors on it say.

    Raises:
        ValueError: It is unknown, or this machine has none.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is unknown: use cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: torch finds no CUDA device here; use cpu")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def check_lengths(texts: Sequence[EncodedText], max_tokens: int) -> None:
    """Refuse texts that do not fit the observation.

    Raises:
        ValueError: One is longer than ``max_tokens``.
    """
    longest = max(texts, key=len, default=None)
    if longest is not None and len(longest) > max_tokens:
        raise ValueError(f"text {longest.text_id} has {len(longest)} tokens, more than max_tokens {max_tokens}: cut it")


def check_action(actions: Any, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return keep masks as a bool tensor on ``device``.

    Raises:
        ValueError: Another shape or type than asked for, or a value other than 0 and 1.
    """
    if not isinstance(actions, Tensor):
        array = np.asarray(actions)
        if array.dtype.kind not in "buif":
            raise ValueError(f"actions of dtype {array.dtype} are not numbers: give bool, integer or float 0 and 1")
        # A copy, for torch warns of arrays that cannot be written to.
        actions = torch.from_numpy(np.array(array, order="C"))
    if tuple(actions.shape) != shape:
        raise ValueError(f"actions have shape {tuple(actions.shape)}: give {shape}, (num_envs, max_tokens)")
    if actions.dtype == torch.bool:
        return cast(Tensor, actions).to(device)
    wrong = (actions != 0) & (actions != 1)
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        value = actions[row, column].item()
        raise ValueError(f"action {value} in row {row}, token {column}: give 1 to keep and 0 to skip, nothing else")
    return cast(Tensor, actions.bool()).to(device)
