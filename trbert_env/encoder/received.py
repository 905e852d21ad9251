"""The attention that tokens receive: apart, or from the same probabilities as a layer's output."""

from __future__ import annotations

import torch
from torch import Tensor

from trbert_env.encoder.products import probabilities
from trbert_env.encoder.sequences import AttentionBias


def attention_received(
    query: Tensor,
    key: Tensor,
    lengths: list[int],
    scaling: float | None,
    diagonal: bool = True,
    bias: AttentionBias | None = None,
) -> Tensor:
    """Return the attention that each token receives: the sum over heads and queries of the probabilities.

    Without the diagonal this is PoWER-BERT's significance score (Goyal et al. 2020, section 3.2), times the heads.

    Args:
        query: ``(1, heads, total_tokens, head_dim)``; ``key`` likewise.
        key: See ``query``.
        lengths: Tokens of each sequence.
        scaling: Factor on the scores; ``head_dim ** -0.5`` where None.
        diagonal: True to count the attention that a token pays to itself.
        bias: Bias that is added to the scaled scores; None for nothing.

    Returns:
        ``(sum of lengths,)`` float32.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = []
    for index, (q, k) in enumerate(zip(*(_of_each(tensor, lengths) for tensor in (query, key)), strict=True)):
        found = q.float() @ k.float().transpose(1, 2) * scale
        if bias is not None:
            found = found + bias.of(index, q, k).float()
        scores.append(_received(torch.softmax(found, dim=-1), diagonal))
    return torch.cat(scores)


def attention_with_received(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: list[int],
    scaling: float | None,
    diagonal: bool,
    bias: AttentionBias | None = None,
) -> tuple[Tensor, Tensor]:
    """Attend within each sequence, and return what each token receives too, from the same probabilities.

    Args:
        query: ``(1, heads, total_tokens, head_dim)``; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
        lengths: Tokens of each sequence; rows after their sum get zeros.
        scaling: Factor on the scores; ``head_dim ** -0.5`` where None.
        diagonal: True to count the attention that a token pays to itself.
        bias: Bias that is added to the scaled scores; None for nothing.

    Returns:
        ``(1, total_tokens, heads, head_dim)``, and ``(sum of lengths,)`` float32; see :func:`attention_received`.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    outputs, scores = [], []
    heads = zip(*(_of_each(tensor, lengths) for tensor in (query, key, value)), strict=True)
    for index, (q, k, v) in enumerate(heads):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        found = probabilities(q, k, scale, None if bias is None else bias.of(index, q, k))
        outputs.append(torch.bmm(found, v).transpose(0, 1))
        scores.append(_received(found, diagonal))
    if tail := query.shape[2] - sum(lengths):
        outputs.append(value.new_zeros(tail, *outputs[0].shape[1:]))
    return torch.cat(outputs)[None], torch.cat(scores)


def _of_each(tensor: Tensor, lengths: list[int]) -> tuple[Tensor, ...]:
    """``(heads, length, head_dim)`` of each sequence.

    By one split, whose gradient is one concatenation: that of a slice is a tensor of all tokens, for every sequence.
    """
    parts: tuple[Tensor, ...] = tensor[0, :, : sum(lengths)].split(lengths, dim=1)
    return parts


def _received(probabilities: Tensor, diagonal: bool) -> Tensor:
    """Column sums of ``(heads, length, length)``, without the diagonal where it does not count."""
    sums = probabilities.sum(dim=(0, 1), dtype=torch.float32)
    if diagonal:
        return sums
    return sums - probabilities.diagonal(dim1=1, dim2=2).sum(0, dtype=torch.float32)
