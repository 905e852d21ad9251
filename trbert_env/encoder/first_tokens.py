"""Attention of each sequence's first token alone: all that the last layer owes to a head that reads nothing else.

The last layer then needs the keys and values of all tokens, and of everything else only what first tokens need: their
queries, one row of scores a sequence, and their feed-forward network. That is exact, for no other last state is read.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from trbert_env.encoder.attention import fits_varlen, spread_rows, varlen
from trbert_env.encoder.batching import rows_to_run
from trbert_env.encoder.sequences import AttentionBias, PackedSequences


def first_rows(packed: PackedSequences, states: Tensor) -> Tensor:
    """Return the row of each sequence's first token, ``(at least num_sequences,)`` int64.

    Where kernels are built for every number of rows, some of the first sequence's follow, which makes few such numbers.

    Args:
        packed: The sequences.
        states: ``(1, rows, hidden)`` that the rows are of.
    """
    starts = packed.bounds(states.device)[:-1].long()
    missing = rows_to_run(states[0, : len(starts)]) - len(starts)
    return torch.cat([starts, starts[:1].expand(missing)]) if missing else starts


def attend_from_first(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packed: PackedSequences,
    scaling: float | None = None,
    bias: AttentionBias | None = None,
) -> Tensor:
    """Attend from one token of each packed sequence to all of its tokens: ``(1, queries, heads, head_dim)``.

    Args:
        query: ``(1, heads, queries, head_dim)``, one of each sequence; those behind them are padding and get anything.
        key: ``(1, heads, total_tokens, head_dim)``; ``value`` likewise.
        value: See ``key``.
        packed: The sequences.
        scaling: Factor on the scores; ``head_dim ** -0.5`` where None.
        bias: Bias that is added to the scores, of positions alone; None for nothing.
    """
    count = len(packed.lengths)
    own = query[:, :, :count]
    if query.device.type == "cpu":
        attended = _by_sequence(own, key, value, packed.lengths, scaling, bias)
    elif bias is None and fits_varlen(query.device, query.dtype, query.shape[-1]):
        ones = torch.arange(count + 1, dtype=torch.int32, device=query.device)
        attended = varlen(own, key, value, (ones, packed.bounds(query.device)), (1, max(packed.lengths)), scaling)
    else:
        attended = _padded(own, key, value, packed.lengths, scaling, bias)
    missing = query.shape[2] - count
    return torch.cat([attended, attended[:, :1].expand(-1, missing, -1, -1)], dim=1) if missing else attended


def _by_sequence(
    query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scaling: float | None, bias: AttentionBias | None
) -> Tensor:
    """One call a sequence; see :func:`trbert_env.encoder.attention.attend`."""
    total = sum(lengths)
    keys, values = (tensor[:, :, :total].split(lengths, dim=2) for tensor in (key, value))
    outputs = [
        scaled_dot_product_attention(
            q, k, v, attn_mask=None if bias is None else _first_of(bias, index, q, k), scale=scaling
        )
        for index, (q, k, v) in enumerate(zip(query.split(1, dim=2), keys, values, strict=True))
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _first_of(bias: AttentionBias, sequence: int, query: Tensor, key: Tensor) -> Tensor:
    """``(1, heads or 1, 1, length)``: what is added to the scores of a sequence's first token."""
    return bias.of(sequence, query[0], key[0])[None, :, :1]


def _padded(
    query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scaling: float | None, bias: AttentionBias | None
) -> Tensor:
    """Pad the keys and mask them: on a GPU, where the varlen kernel does not serve."""
    counts = torch.tensor(lengths, device=query.device)
    width = max(lengths)
    seen = torch.arange(width, device=query.device) < counts[:, None]
    mask = seen[:, None, None, :]
    if bias is not None:
        keys = key[:, :, : sum(lengths)].split(lengths, dim=2)
        rows = [_first_of(bias, index, query, own) for index, own in enumerate(keys)]
        mask = torch.cat([pad(row, (0, width - row.shape[-1]), value=-torch.inf) for row in rows])
    asked = query[0].transpose(0, 1)[:, :, None]
    output = scaled_dot_product_attention(
        asked, spread_rows(key, lengths, seen), spread_rows(value, lengths, seen), attn_mask=mask, scale=scaling
    )
    return output[:, :, 0][None]
