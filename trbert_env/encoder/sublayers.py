"""The two halves of a stock layer, computed from its parts without calling the modules between them.

A stock layer calls a dozen modules, and each call costs time of its own: at a batch of one text that is noticed. So the
halves read the parts of a layer by their names and compute what it computes. Linear layers that someone has exchanged
or hooked run as modules, as norms and activations do; hooks on what lies between are not called.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from torch import Tensor, nn
from torch.nn.functional import dropout

from trbert_env.encoder.attention import PackedSequences, attend
from trbert_env.encoder.linear import apply_inner, apply_linear


class _Attention(NamedTuple):
    """Parts of the first half of a layer."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module
    norm: nn.Module
    head_size: int
    scaling: float
    dropout: float


class _FeedForward(NamedTuple):
    """Parts of the second half of a layer."""

    inner: nn.Module
    activation: nn.Module
    outer: nn.Module
    norm: nn.Module
    dropout: float


def attention_half(layer: nn.Module, states: Tensor, packed: PackedSequences) -> Tensor:
    """Run attention, residual connection and norm of a stock layer: ``(1, rows, hidden)``.

    Args:
        layer: A layer of a supported family; see :data:`~trbert_env.encoder.staged.FAMILIES`.
        states: ``(1, rows, hidden)`` states that enter the layer.
        packed: Sequences that the rows are of.
    """
    parts = _attention_parts(layer)
    shape = (1, states.shape[1], -1, parts.head_size)
    query, key, value = (
        apply_linear(projection, states).view(shape).transpose(1, 2)
        for projection in (parts.query, parts.key, parts.value)
    )
    attended = attend(query, key, value, packed, parts.scaling).flatten(2)
    output = _dropped(apply_linear(parts.output, attended), parts.dropout, layer.training)
    return cast(Tensor, parts.norm(output + states))


def feed_forward_half(layer: nn.Module, states: Tensor) -> Tensor:
    """Run feed-forward network, residual connection and norm of a stock layer: ``(1, rows, hidden)``.

    Args:
        layer: A layer of a supported family.
        states: ``(1, rows, hidden)`` states that :func:`attention_half` gave.
    """
    parts = _feed_forward_parts(layer)
    output = apply_linear(parts.outer, apply_inner(parts.inner, parts.activation, states))
    return cast(Tensor, parts.norm(_dropped(output, parts.dropout, layer.training) + states))


def _dropped(values: Tensor, probability: float, training: bool) -> Tensor:
    return dropout(values, probability) if training and probability else values


def _attention_parts(layer: nn.Module) -> _Attention:
    # Any: the attributes of a stock layer are known by its family, not by its type.
    stock: Any = layer
    if hasattr(stock, "sa_layer_norm"):  # DistilBERT
        own = stock.attention
        projections = (own.q_lin, own.k_lin, own.v_lin, own.out_lin)
        return _Attention(*projections, stock.sa_layer_norm, own.attention_head_size, own.scaling, 0.0)
    own, output = stock.attention.self, stock.attention.output
    projections = (own.query, own.key, own.value, output.dense)
    return _Attention(*projections, output.LayerNorm, own.attention_head_size, own.scaling, output.dropout.p)


def _feed_forward_parts(layer: nn.Module) -> _FeedForward:
    stock: Any = layer
    if hasattr(stock, "output_layer_norm"):  # DistilBERT
        own = stock.ffn
        return _FeedForward(own.lin1, own.activation, own.lin2, stock.output_layer_norm, own.dropout.p)
    inner, outer = stock.intermediate, stock.output
    return _FeedForward(inner.dense, inner.intermediate_act_fn, outer.dense, outer.LayerNorm, outer.dropout.p)
