"""The two halves of a stock layer, for what acts between them: attention with its norm, feed-forward with its norm."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from trbert_env.encoder.attention import PackedSequences


def attention_half(layer: nn.Module, states: Tensor, packed: PackedSequences) -> Tensor:
    """Run attention, residual connection and norm of a stock layer: ``(1, rows, hidden)``.

    Args:
        layer: A layer of a supported family; see :data:`~trbert_env.encoder.staged.FAMILIES`.
        states: ``(1, rows, hidden)`` states that enter the layer.
        packed: Sequences that the rows are of.
    """
    # Any: the attributes of a stock layer are known by its family, not by its type.
    stock: Any = layer
    attended = stock.attention(states, attention_mask=None, packed=packed)[0]
    if hasattr(stock, "sa_layer_norm"):  # DistilBERT, whose attention module has neither
        attended = stock.sa_layer_norm(attended + states)
    return cast(Tensor, attended)


def feed_forward_half(layer: nn.Module, states: Tensor) -> Tensor:
    """Run feed-forward network, residual connection and norm of a stock layer: ``(1, rows, hidden)``.

    Args:
        layer: A layer of a supported family.
        states: ``(1, rows, hidden)`` states that :func:`attention_half` gave.
    """
    stock: Any = layer
    if hasattr(stock, "output_layer_norm"):  # DistilBERT
        return cast(Tensor, stock.output_layer_norm(stock.ffn(states) + states))
    return cast(Tensor, stock.feed_forward_chunk(states))
