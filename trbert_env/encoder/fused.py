"""The CPU's fused attention kernel, by numbers of keys that fill its vector registers.

The kernel computes what is left of a row behind its last whole vector one number at a time, so that 47 keys take twice
as long as 48. A sequence may therefore read some keys too many, whose scores are minus infinity: their probability is
exactly 0.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

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


def whole_vectors(
    key: Tensor, value: Tensor, start: int, length: int, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return what one of the sequences that lie end to end reads: keys and values of whole vectors, and their bias.

    Args:
        key: ``(1, heads, rows, head_dim)``, every number of them finite; ``value`` likewise.
        value: See ``key``.
        start: Row that the sequence begins at.
        length: Rows of the sequence.
        bias: ``(1, heads or 1, length, length)`` that is added to its scaled scores; None for nothing.
    """
    count = -(-length // VECTOR) * VECTOR
    keys, values = _rows(key, start, count), _rows(value, start, count)
    if count == length:
        return keys, values, bias
    if bias is None:
        return keys, values, _mask(length, count, key.dtype)
    return keys, values, pad(bias, (0, count - length), value=-torch.inf)


def _rows(tensor: Tensor, start: int, count: int) -> Tensor:
    """Rows from a start on, those of the next sequences included, and zeros behind the last one."""
    there = min(count, tensor.shape[2] - start)
    rows = tensor.narrow(2, start, there)
    return rows if there == count else pad(rows, (0, 0, 0, count - there))


@lru_cache(maxsize=4096)
def _mask(length: int, count: int, dtype: torch.dtype) -> Tensor:
    """``(1, 1, length, count)``: 0 for the sequence's keys, minus infinity for those behind them."""
    row = torch.zeros(count, dtype=dtype, device="cpu")  # kept: whatever the default device is just now
    row[length:] = -torch.inf
    return row.expand(1, 1, length, count)
