"""Checks of what users hand to the environment, each an error that names the value and the mend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def check_environment_state(state: Any, own: Mapping[str, Any]) -> None:
    """Refuse a saved state of an environment that is of another one.

    Args:
        state: The saved state.
        own: The state of the environment that is to go on from it.

    Raises:
        ValueError: Entries are missing, differ where they must not, or are out of range.
    """
    missing = sorted(own.keys() - (state.keys() if isinstance(state, Mapping) else set()))
    if missing:
        raise ValueError(f"the saved environment lacks {', '.join(missing)}: save it anew, with state_dict()")
    for name in ("rows", "num_texts", "reduction_layers"):
        if list(np.atleast_1d(state[name])) != list(np.atleast_1d(own[name])):
            raise ValueError(f"the saved environment has {name} {state[name]}, this one {own[name]}: make it alike")
    (rows, samples), texts = own["rows"], own["num_texts"]
    indices, row_valid = np.asarray(state["indices"]), np.asarray(state["row_valid"])
    running = state["masks"] is not None
    if indices.shape not in ([(rows // samples,)] if running else [(rows // samples,), (0,)]):
        raise ValueError(
            f"the saved environment has indices of shape {indices.shape}: there are {rows // samples} texts"
        )
    if len(indices) and not (indices.dtype.kind in "iu" and indices.min() >= 0 and indices.max() < texts):
        raise ValueError(f"the saved environment has indices {indices}: there are {texts} texts, from 0 on")
    queue = np.asarray(state["order"]["queue"]) if isinstance(state["order"], Mapping) else None
    if queue is not None and len(queue) and not (queue.dtype.kind in "iu" and 0 <= queue.min() <= queue.max() < texts):
        raise ValueError(f"the saved environment has an order of other texts: there are {texts}, from 0 on")
    if row_valid.shape != (rows,) or row_valid.dtype != np.bool_:
        raise ValueError(f"the saved environment has row_valid of shape {row_valid.shape}: give {rows} booleans")
    if running and len(state["masks"]) > len(own["reduction_layers"]):
        count = len(own["reduction_layers"])
        raise ValueError(f"the saved environment has {len(state['masks'])} masks: there are {count} reductions")
