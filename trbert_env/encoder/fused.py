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


def takes_whole_vectors(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Tell whether sequences are to read whole vectors of keys.

    They are not where gradients are wanted, for backward gains nothing by it, nor where the fused kernel is switched
    off, as by :func:`torch.nn.attention.sdpa_kernel`.

    Args:
        query: ``(1, heads, rows, head_dim)`` on the CPU; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
    """
    learns = query.requires_grad or key.requires_grad or value.requires_grad
    return not learns and torch.backends.cuda.flash_sdp_enabled()  # which switches the CPU's kernel too


def attend_whole_vectors(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scale: float) -> Tensor:
    """Attend within each of the sequences that lie end to end: ``(1, rows, heads, head_dim)``.

    Rows that pad them get 0. They ask the last sequence before, for putting zeros behind it would copy what all get.

    Args:
        query: ``(1, heads, rows, head_dim)``, every number of them finite; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
        lengths: Tokens of each sequence.
        scale: Factor on the scores.
    """
    outputs, start, rows = [], 0, query.shape[2]
    for number, length in enumerate(lengths, start=1):
        asking = rows - start if number == len(lengths) and length else length
        keys, values, mask = whole_vectors(key, value, start, length, None, asking)
        asked = query if asking == rows else query.narrow(2, start, asking)
        outputs.append(scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scale).transpose(1, 2))
        if asking > length:
            outputs[-1].narrow(1, length, asking - length).zero_()
        start += asking
    if start < rows:  # the last sequence is empty
        outputs.append(torch.zeros_like(query.narrow(2, start, rows - start).transpose(1, 2)))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def whole_vectors(
    key: Tensor, value: Tensor, start: int, length: int, bias: Tensor | None, asking: int | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what one of the sequences that lie end to end reads: keys and values of whole vectors, and their bias.

    Args:
        key: ``(1, heads, rows, head_dim)``, every number of them finite; ``value`` likewise.
        value: See ``key``.
        start: Row that the sequence begins at.
        length: Rows of the sequence.
        bias: ``(1, heads or 1, length, length)`` that is added to its scaled scores; None for nothing.
        asking: Number of queries; those of the sequence where None.
    """
    count = -(-length // VECTOR) * VECTOR
    keys, values = _rows(key, start, count), _rows(value, start, count)
    if count == length:
        return keys, values, bias
    if bias is None:
        return keys, values, _mask(length, length if asking is None else asking, count, key.dtype)
    return keys, values, pad(bias, (0, count - length), value=-torch.inf)


def _rows(tensor: Tensor, start: int, count: int) -> Tensor:
    """Rows from a start on, those of the next sequences included, and zeros behind the last one."""
    there = min(count, tensor.shape[2] - start)
    rows = tensor if there == tensor.shape[2] else tensor.narrow(2, start, there)
    return rows if there == count else pad(rows, (0, 0, 0, count - there))


@lru_cache(maxsize=4096)
def _mask(length: int, asking: int, count: int, dtype: torch.dtype) -> Tensor:
    """``(1, 1, asking, count)``: 0 for the sequence's keys, minus infinity for those behind them."""
    row = torch.zeros(count, dtype=dtype, device="cpu")  # kept: whatever the default device is just now
    row[length:] = -torch.inf
    return row.expand(1, 1, asking, count)
