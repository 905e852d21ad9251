"""Which library multiplies matrices on this CPU, and how it attends; each measured once on a machine.

Torch sends float32 products to the library that it was built with, which takes a slow path on processors of other
makes; oneDNN, which comes with torch too, may then be twice as fast. In bfloat16, attention is faster by the fused
kernel where the processor multiplies tiles (AMX), and by two matrix products where it does not. A measurement takes a
few milliseconds; see :mod:`trbert_env.encoder.machine_choice` for where its result is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from trbert_env.encoder.machine_choice import kept_choice, times_faster
from trbert_env.encoder.products import attend_in_products

AttentionWay = Literal["fused", "products"]
Library = Literal["torch", "onednn"]

#: Environment variable that chooses for every number format: ``torch`` or ``onednn``; empty for the faster one.
VARIABLE = "TRBERT_LINEAR"
#: Environment variable that chooses how the CPU attends in bfloat16: ``fused`` or ``products``; empty for the faster.
ATTENTION_VARIABLE = "TRBERT_ATTENTION"
_LIBRARIES: tuple[Library, Library] = ("torch", "onednn")
_ATTENTION_WAYS: tuple[AttentionWay, AttentionWay] = ("fused", "products")
#: Rows, inputs and outputs of the measured product; heads, tokens and width of a head of the measured attention.
_PRODUCT, _SEQUENCE = (192, 384, 768), (12, 192, 32)


@cache
def linear_library(dtype: torch.dtype) -> Library:
    """Return which library computes linear layers of a number format on the CPU.

    It is the one that :data:`VARIABLE` names, else what was chosen on this machine before, else oneDNN where it is
    clearly faster than torch's own.

    Args:
        dtype: Number format of inputs and weights.

    Raises:
        ValueError: The environment variable names no library.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", *_LIBRARIES):
        raise ValueError(f"{VARIABLE} is {wanted!r}: give torch or onednn, or leave it empty for the faster one")
    if dtype not in (torch.float32, torch.bfloat16) or not _has_onednn():
        return "torch"
    name = f"linear-{str(dtype).removeprefix('torch.')}"
    return cast(Library, wanted or kept_choice(name, _LIBRARIES, lambda: measured_speedup(dtype)))


@contextmanager
def by_library(library: Library) -> Iterator[None]:
    """Have a library compute all linear layers while the block runs, as :data:`VARIABLE` would.

    Args:
        library: The library; torch serves where oneDNN is not there.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = library
    linear_library.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
        linear_library.cache_clear()


def chosen_libraries() -> dict[str, Library]:
    """Return the library of each number format, as a run records it."""
    return {str(dtype).removeprefix("torch."): linear_library(dtype) for dtype in (torch.float32, torch.bfloat16)}


def is_recorded() -> bool:
    """Tell whether an exporter or a compiler records what runs, for numbers of rows that may be others later."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_compiling()


def onednn_linear(
    states: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none", added: Tensor | None = None
) -> Tensor:
    """Multiply by oneDNN, ``(..., outputs)``; without gradients.

    Args:
        states: ``(..., inputs)`` on the CPU.
        weight: ``(outputs, inputs)``, of any strides; or what :func:`onednn_order` gave.
        bias: ``(outputs,)``; None for none.
        activation: ``"none"``, or ``"gelu"`` for the exact GELU of the result.
        added: ``(..., outputs)`` to add to the result where there is no activation, before it is rounded; None for
            nothing.
    """
    if added is not None:
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise.binary(states, added, weight, bias, "add"))
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(states, weight, bias, activation, [], "none"))


def onednn_order(weight: Tensor) -> Tensor:
    """Return a copy of a weight in the order that oneDNN multiplies in; only :func:`onednn_linear` can read it.

    Args:
        weight: ``(outputs, inputs)``.
    """
    return cast(Tensor, torch.ops.mkldnn._reorder_linear_weight(weight.detach()))


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def measured_speedup(dtype: torch.dtype) -> float:
    """Return how many times faster oneDNN computes a linear layer with its GELU than torch's own path.

    Args:
        dtype: Number format.
    """
    rows, inputs, outputs = _PRODUCT
    states = torch.linspace(-1, 1, rows * inputs, device="cpu").view(rows, inputs).to(dtype)
    weight = torch.linspace(-0.1, 0.1, outputs * inputs, device="cpu").view(outputs, inputs).to(dtype)
    bias = torch.zeros(outputs, dtype=dtype, device="cpu")
    return times_faster(
        (
            lambda: torch.nn.functional.gelu(linear(states, weight, bias)),
            lambda: onednn_linear(states, weight, bias, "gelu"),
        )
    )


# -- attention ---------------------------------------------------------------------------------------------------


@cache
def attention_way() -> AttentionWay:
    """Return how the CPU attends in bfloat16 without gradients, where a sequence is not short.

    It is the way that :data:`ATTENTION_VARIABLE` names, else what was chosen on this machine before, else products
    where they are clearly faster than the fused kernel.

    Raises:
        ValueError: The environment variable names no way.
    """
    wanted = os.environ.get(ATTENTION_VARIABLE, "")
    if wanted not in ("", *_ATTENTION_WAYS):
        raise ValueError(
            f"{ATTENTION_VARIABLE} is {wanted!r}: give fused or products, or leave it empty for the faster one"
        )
    found = wanted or kept_choice("attention-bfloat16", _ATTENTION_WAYS, measured_attention_speedup)
    return cast(AttentionWay, found)


def measured_attention_speedup() -> float:
    """Return how many times faster two matrix products attend than the fused kernel."""
    heads, length, size = _SEQUENCE
    values = torch.linspace(-1, 1, 3 * heads * length * size, device="cpu")
    states = values.view(1, length, 3 * heads, size).to(torch.bfloat16)
    query, key, value = states.transpose(1, 2).split(heads, dim=1)  # of such strides as they come in

    def in_products() -> Tensor:
        q, k, v = (tensor.contiguous()[0] for tensor in (query, key, value))
        return attend_in_products(q, k, v, size**-0.5)

    return times_faster((lambda: scaled_dot_product_attention(query, key, value), in_products))
