"""Nested Python values as JSON text and tensors, and back, exactly.

JSON knows no integer keys, no tensors and no arrays. Those three are written as objects with one key:
``{"dict": [[key, value], ...]}``, ``{"tensor": name}`` and ``{"array": name}``; every other value is
itself. Python reads and writes integers of any size and floats exactly, NaN and infinity too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def encode_tree(tree: Any) -> tuple[str, dict[str, Tensor]]:
    """Turn a tree into JSON text and the tensors that it refers to by name.

    Args:
        tree: Dicts (string and integer keys), lists, tuples (which become lists), tensors of any dtype and
            device, numeric numpy arrays, numbers, strings and None.

    Returns:
        The text, and contiguous CPU copies of the tensors and arrays.

    Raises:
        TypeError: The tree holds something else; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    return json.dumps(_encode(tree, "state", tensors)), tensors


def decode_tree(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Rebuild the tree from what :func:`encode_tree` wrote, its text parsed as JSON.

    Raises:
        ValueError: The text refers to a tensor that is not there, or has an unknown form.
    """
    if isinstance(tree, list):
        return [decode_tree(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1:
        raise ValueError(f"an object with the keys {sorted(tree)}")
    ((kind, value),) = tree.items()
    if kind == "dict":
        return {key: decode_tree(item, tensors) for key, item in value}
    if kind not in ("tensor", "array"):
        raise ValueError(f"an object of the unknown kind {kind!r}")
    if value not in tensors:
        raise ValueError(f"a missing tensor {value!r}")
    return tensors[value] if kind == "tensor" else tensors[value].numpy()


def floating_tensors(tree: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a tree that hold floats, each with its place.

    Args:
        tree: A tree as :func:`encode_tree` takes it.
        name: The tree's own name.
    """
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from floating_tensors(value, f"{name}.{key}")
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from floating_tensors(value, f"{name}.{index}")


def _encode(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """One value as JSON; its tensors are added to ``tensors``."""
    if isinstance(value, Tensor):
        # A copy: safetensors refuses tensors that share memory, and the caller may go on training.
        copy = value.detach().to(device="cpu", copy=True, memory_format=torch.contiguous_format)
        return {"tensor": _add(copy, tensors)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"{where} is an array of {value.dtype}; only numbers and booleans can be stored")
        return {"array": _add(torch.from_numpy(np.array(value, order="C")), tensors)}
    if isinstance(value, Mapping):
        return {"dict": [[_key(k, where), _encode(v, f"{where}[{k!r}]", tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_encode(item, f"{where}[{index}]", tensors) for index, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise TypeError(f"{where} is of type {kind}, which cannot be stored; make it a number or a tensor")


def _add(tensor: Tensor, tensors: dict[str, Tensor]) -> str:
    """Store a tensor under a new name."""
    name = f"t{len(tensors)}"
    tensors[name] = tensor
    return name


def _key(key: Any, where: str) -> int | str:
    """A key that JSON keeps."""
    if isinstance(key, bool) or not isinstance(key, (int, str)):
        raise TypeError(f"{where} has the key {key!r}; keys must be strings or integers")
    return key
