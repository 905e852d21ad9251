"""The two halves of a BERT-like layer, computed from its parts without calling the modules between them.

A stock layer calls a dozen modules, and each call costs time of its own: at a batch of one text that is noticed. Linear
layers that someone has exchanged or hooked run as modules, as norms and activations do; hooks on what lies between, the
layer itself too, are not called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from trbert_env.encoder.attention import attend
from trbert_env.encoder.first_tokens import attend_from_first
from trbert_env.encoder.linear import apply_inner, apply_linear, apply_linears, apply_outer
from trbert_env.encoder.sequences import AttentionBias, PackedSequences


class AttentionParts(NamedTuple):
    """Parts of the first half of a layer; the sizes are of its attention, the probability that of its dropout."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module
    norm: nn.Module
    head_size: int
    dropout: float


class FeedForwardParts(NamedTuple):
    """Parts of the second half of a layer; the probability is that of its dropout."""

    inner: nn.Module
    activation: nn.Module
    outer: nn.Module
    norm: nn.Module
    dropout: float


def run_attention(
    parts: AttentionParts, states: Tensor, packed: PackedSequences, training: bool, bias: AttentionBias | None = None
) -> Tensor:
    """Run attention, residual connection and norm: ``(1, rows, hidden)``.

    Args:
        parts: Parts of the layer.
        states: ``(1, rows, hidden)`` states that enter the layer.
        packed: Sequences that the rows are of.
        training: True for dropout.
        bias: Bias that is added to the scaled scores; None for nothing.
    """
    query, key, value = _projected(parts, states)
    attended = attend(query, key, value, packed, bias=bias).flatten(2)
    return cast(Tensor, parts.norm(_residual(parts.output, attended, states, parts.dropout, training)))


def run_attention_from_first(
    parts: AttentionParts,
    states: Tensor,
    first: Tensor,
    packed: PackedSequences,
    training: bool,
    bias: AttentionBias | None = None,
) -> Tensor:
    """Run attention, residual connection and norm for first tokens alone: ``(1, queries, hidden)``.

    Args:
        parts: Parts of the layer.
        states: ``(1, rows, hidden)`` states that enter the layer.
        first: ``(queries,)`` int64 rows of first tokens; see :func:`~trbert_env.encoder.first_tokens.first_rows`.
        packed: Sequences that the rows are of.
        training: True for dropout.
        bias: Bias that is added to the scaled scores, of positions alone; None for nothing.
    """
    own = states.index_select(1, first)
    query = _heads_of(parts, apply_linear(parts.query, own))
    key, value = _heads(parts, (parts.key, parts.value), states)
    attended = attend_from_first(query, key, value, packed, bias=bias).flatten(2)
    return cast(Tensor, parts.norm(_residual(parts.output, attended, own, parts.dropout, training)))


def run_padded_attention(parts: AttentionParts, states: Tensor, bias: Tensor, from_first: bool = False) -> Tensor:
    """Run attention, residual connection and norm on padded sequences, without dropout.

    Args:
        parts: Parts of the layer.
        states: ``(num_sequences, width, hidden)`` states that enter the layer.
        bias: ``(num_sequences, 1, 1, width)`` to add to the scaled scores: 0 for tokens, far below zero for padding.
        from_first: True for the first token of each sequence alone.

    Returns:
        ``(num_sequences, width, hidden)``, or ``(num_sequences, 1, hidden)``.
    """
    if from_first:
        asking = states[:, :1]
        query = _heads_of(parts, apply_linear(parts.query, asking))
        key, value = _heads(parts, (parts.key, parts.value), states)
    else:
        asking = states
        query, key, value = _projected(parts, states)
    attended = scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)
    return cast(Tensor, parts.norm(_residual(parts.output, attended, asking, parts.dropout, training=False)))


def run_feed_forward(parts: FeedForwardParts, states: Tensor, training: bool) -> Tensor:
    """Run feed-forward network, residual connection and norm: ``(1, rows, hidden)``.

    Args:
        parts: Parts of the layer.
        states: ``(1, rows, hidden)`` states that :func:`run_attention` gave, or padded ones of any leading shape.
        training: True for dropout.
    """
    inner = apply_inner(parts.inner, parts.activation, states)
    return cast(Tensor, parts.norm(_residual(parts.outer, inner, states, parts.dropout, training)))


def _projected(parts: AttentionParts, states: Tensor) -> list[Tensor]:
    """Query, key and value of ``(batch, rows, hidden)`` states: ``(batch, heads, rows, head_size)`` each."""
    return _heads(parts, (parts.query, parts.key, parts.value), states)


def _heads(parts: AttentionParts, projections: Sequence[nn.Module], states: Tensor) -> list[Tensor]:
    """Some projections of ``(batch, rows, hidden)`` states, ``(batch, heads, rows, head_size)`` each."""
    return [_heads_of(parts, projected) for projected in apply_linears(projections, states)]


def _heads_of(parts: AttentionParts, projected: Tensor) -> Tensor:
    """``(batch, rows, width)`` as ``(batch, heads, rows, head_size)``."""
    return projected.view(*projected.shape[:2], -1, parts.head_size).transpose(1, 2)


def _residual(module: nn.Module, inputs: Tensor, states: Tensor, probability: float, training: bool) -> Tensor:
    """A linear layer, its dropout and the residual connection."""
    if training and probability:
        return dropout(apply_linear(module, inputs), probability) + states
    return apply_outer(module, inputs, states)
