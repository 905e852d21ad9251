"""Attention of one sequence as two matrix products, whose probabilities are at hand between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

#: Probabilities that backward computes at once where it computes them anew: what a processor's cache holds.
_AT_ONCE = 2**20


def attend_in_products(query: Tensor, key: Tensor, value: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """Return the attention of one sequence, ``(heads, length, head_dim)``; holds its probabilities for the gradient.

    Args:
        query: ``(heads, length, head_dim)``; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
        scale: Factor on the scores.
        bias: ``(heads or 1, length, length)``, added to the scaled scores; None for nothing.
    """
    if query.requires_grad:  # backward reads them again
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    return torch.bmm(probabilities(query, key, scale, bias), value)


def attend_recomputed(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Return the attention of one sequence by the fused kernel; backward computes its probabilities anew.

    It does so some heads at a time, so that a long sequence needs memory in proportion to its length, not to its
    square. Where the processor multiplies tiles (AMX), both passes in bfloat16 took 0.6 times as long as
    :func:`attend_in_products` at 768 and 1,024 tokens, and as long at 512; elsewhere up to a fifth longer.

    Args:
        query: ``(heads, length, head_dim)``; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
        scale: Factor on the scores.
    """
    output: Tensor = _Recomputed.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return output


class _Recomputed(torch.autograd.Function):
    """See :func:`attend_recomputed`."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        return scaled_dot_product_attention(query[None], key[None], value[None], scale=scale)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        upstream = upstream.contiguous()
        of_query, of_key, of_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for heads in _some_heads(query):
            weights = probabilities(query[heads], key[heads], ctx.scale)
            torch.bmm(weights.transpose(1, 2), upstream[heads], out=of_value[heads])
            of_weights = torch.bmm(upstream[heads], value[heads].transpose(1, 2))
            # Autograd's own step: it sums each row in float32, where rounded sums would add what all keys share.
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            torch.bmm(of_scores, key[heads], out=of_query[heads])
            torch.bmm(of_scores.transpose(1, 2), query[heads], out=of_key[heads])
        return of_query.mul_(ctx.scale), of_key.mul_(ctx.scale), of_value, None


def _some_heads(query: Tensor) -> list[slice]:
    """Heads that are computed together."""
    heads, length, _ = query.shape
    count = max(1, _AT_ONCE // length**2)
    return [slice(first, first + count) for first in range(0, heads, count)]


def probabilities(query: Tensor, key: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """Return the attention probabilities of one sequence, ``(heads, length, length)``.

    Args:
        query: ``(heads, length, head_dim)``.
        key: ``(heads, length, head_dim)``.
        scale: Factor on the scores.
        bias: See :func:`attend_in_products`.
    """
    added = query.new_zeros(1, 1, 1) if bias is None else bias
    scores = torch.baddbmm(added, query, key.transpose(1, 2), beta=0 if bias is None else 1, alpha=scale)
    return torch.softmax(scores, dim=-1)
