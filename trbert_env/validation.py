"""Checks of what users hand to the environment, each an error that names the value and the fix."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_env.encoder.texts import EncodedText

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


def are_indices(values: npt.NDArray[Any], count: int) -> bool:
    """Return whether all values are integers from 0 to ``count - 1``; there may be none."""
    if not values.size:
        return True
    return values.dtype.kind in "iu" and bool(values.min() >= 0) and bool(values.max() < count)


def check_entries(what: str, state: Any, names: Collection[str]) -> None:
    """Refuse a saved state that lacks entries.

    Args:
        what: Kind of the state, for the message.
        state: The saved state.
        names: The entries that it must have.

    Raises:
        ValueError: It is no mapping, or entries are missing; the message names them.
    """
    missing = sorted(set(names) - (state.keys() if isinstance(state, Mapping) else set()))
    if missing:
        raise ValueError(f"the saved {what} lacks {', '.join(missing)}: save it anew, with state_dict()")


def check_mask(mask: Any, tokens: int, device: torch.device) -> Tensor:
    """Return a saved keep mask as a tensor on ``device``.

    Raises:
        ValueError: It is not one boolean for each of ``tokens`` tokens in play.
    """
    found = torch.as_tensor(mask, device=device)
    if found.dtype != torch.bool or tuple(found.shape) != (tokens,):
        raise ValueError(f"a mask has {found.dtype} of shape {tuple(found.shape)}: give {tokens} booleans")
    return found


def check_environment_state(state: Any, own: Mapping[str, Any]) -> None:
    """Refuse a saved state of an environment that is of another one.

    Its order of texts, the texts drawn from it and masks are checked where they are loaded.

    Args:
        state: The saved state.
        own: The state of the environment that is to go on from it.

    Raises:
        ValueError: Entries are missing, differ where they must not, or are out of range.
    """
    check_entries("environment", state, own.keys())
    for name in ("rows", "num_texts", "reduction_layers"):
        if np.atleast_1d(_array(state, name)).tolist() != np.atleast_1d(own[name]).tolist():
            raise ValueError(f"the saved environment has {name} {state[name]}, this one {own[name]}: make it alike")
    rows, samples = own["rows"]
    indices, row_valid, masks = _array(state, "indices"), _array(state, "row_valid"), state["masks"]
    if masks is not None and not isinstance(masks, (list, tuple)):
        raise ValueError(f"the saved environment has masks {masks!r}: give a list of them, or None")
    if indices.shape not in ([(rows // samples,)] if masks is not None else [(rows // samples,), (0,)]):
        raise ValueError(
            f"the saved environment has indices of shape {indices.shape}: there are {rows // samples} texts"
        )
    if row_valid.shape != (rows,) or row_valid.dtype != np.bool_:
        raise ValueError(f"the saved environment has row_valid of shape {row_valid.shape}: give {rows} booleans")
    count = len(own["reduction_layers"])
    if masks is not None and len(masks) > count:
        raise ValueError(f"the saved environment has {len(masks)} masks: there are {count} reductions")


def _array(state: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    """An entry of a saved environment as an array.

    Raises:
        ValueError: It is a list of lists of different lengths.
    """
    try:
        return np.asarray(state[name])
    except ValueError as error:
        raise ValueError(f"the saved environment has {name} {state[name]}, which is no array: save it anew") from error
