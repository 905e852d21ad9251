"""The CPU's fused attention kernel, by numbers of keys that fill its vector registers.

The kernel computes what is left of a row behind its last whole vector one number at a time, so that 47 keys take twice
as long as 48. A sequence may therefore read some keys too many, whose scores are minus infinity: their probability is
exactly 0.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

#: Keys of a whole vector: 16 numbers of 32 bits with AVX-512, a multiple of what other processors compute at once.
VECTOR = 16


def attend_fused(
    query: Tensor, key: Tensor, value: Tensor, start: int, length: int, scale: float, bias: Tensor | None = None
) -> Tensor:
    """Attend within one of the sequences that lie end to end: ``(1, heads, length, head_dim)``.

    Where gradients are wanted, just the keys of the sequence are read, for backward gains nothing by more of them; and
    where the fused kernel is switched off, as by :func:`torch.nn.attention.sdpa_kernel`.

    Args:
        query: ``(1, heads, rows, head_dim)``, every number of them finite; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
        start: Row that the sequence begins at.
        length: Rows of the sequence.
        scale: Factor on the scores.
        bias: ``(1, heads or 1, length, length)`` to add to the scaled scores; None for nothing.
    """
    queries = query.narrow(2, start, length)
    count = -(-length // VECTOR) * VECTOR
    learns = query.requires_grad or key.requires_grad or value.requires_grad
    if count == length or learns or not torch.backends.cuda.flash_sdp_enabled():  # of the CPU's kernel too
        keys, values, added = key.narrow(2, start, length), value.narrow(2, start, length), bias
    else:
        keys, values = _rows(key, start, count), _rows(value, start, count)
        added = _mask(length, count, query.dtype) if bias is None else pad(bias, (0, count - length), value=-torch.inf)
    return scaled_dot_product_attention(queries, keys, values, attn_mask=added, scale=scale)


def _rows(tensor: Tensor, start: int, count: int) -> Tensor:
    """Rows from a start on, those of the next sequences included, and zeros behind the last one."""
    there = min(count, tensor.shape[2] - start)
    rows = tensor.narrow(2, start, there)
    return rows if there == count else pad(rows, (0, 0, 0, count - there))


@lru_cache(maxsize=4096)
def _mask(length: int, count: int, dtype: torch.dtype) -> Tensor:
    """``(1, 1, length, count)``: 0 for the sequence's keys, minus infinity for those behind them."""
    row = torch.zeros(count, dtype=dtype)
    row[length:] = -torch.inf
    return row.expand(1, 1, length, count)
