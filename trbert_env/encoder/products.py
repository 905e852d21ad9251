"""Attention of one sequence as two matrix products, whose probabilities are at hand between them."""

from __future__ import annotations

import torch
from torch import Tensor


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
