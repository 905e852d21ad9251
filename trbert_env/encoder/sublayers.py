"""The two halves of a BERT-like layer, computed from its parts without calling the modules between them.

A stock layer calls a dozen modules, and each call costs time of its own: at a batch of one text that is noticed. Linear
layers that someone has exchanged or hooked run as modules, as norms and activations do; hooks on what lies between, the
layer itself too, are not called.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from trbert_env.encoder.attention import attend
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


def run_padded_attention(parts: AttentionParts, states: Tensor, bias: Tensor) -> Tensor:
    """Run attention, residual connection and norm on padded sequences, without dropout.

    Args:
        parts: Parts of the layer.
        states: ``(num_sequences, width, hidden)`` states that enter the layer.
        bias: ``(num_sequences, 1, 1, width)`` to add to the scaled scores: 0 for tokens, far below zero for padding.

    Returns:
        ``(num_sequences, width, hidden)``.
    """
    query, key, value = _projected(parts, states)
    attended = scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)
    return cast(Tensor, parts.norm(_residual(parts.output, attended, states, parts.dropout, training=False)))


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
    shape = (*states.shape[:2], -1, parts.head_size)
    projections = (parts.query, parts.key, parts.value)
    return [projected.view(shape).transpose(1, 2) for projected in apply_linears(projections, states)]


def _residual(module: nn.Module, inputs: Tensor, states: Tensor, probability: float, training: bool) -> Tensor:
    """A linear layer, its dropout and the residual connection."""
    if training and probability:
        return dropout(apply_linear(module, inputs), probability) + states
    return apply_outer(module, inputs, states)
