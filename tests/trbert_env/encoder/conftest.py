"""Weights that are no plain tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

#: What makes states of weights; those are plain tensors.
PRODUCTS = {"linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "__matmul__"}


class Quantised(Tensor):
    """Weights that know how to multiply and little else, as those of torchao."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "mkldnn" in str(function) or function is torch.cat or getattr(function, "__name__", "") == "untyped_storage":
            raise NotImplementedError(f"{function} of quantised weights")
        found = super().__torch_function__(function, types, args, kwargs or {})
        return found.as_subclass(Tensor) if getattr(function, "__name__", "") in PRODUCTS else found


@pytest.fixture(scope="session")
def quantise() -> Callable[[nn.Linear, bool], None]:
    """Exchange the weight of a layer, as ``quantise(layer, frozen)``."""

    def exchange(layer: nn.Linear, frozen: bool) -> None:
        layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Quantised), requires_grad=not frozen)

    return exchange
