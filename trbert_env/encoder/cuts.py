"""Cuts: where tokens stop, before a layer or between its attention and its feed-forward network.

A cut is a number. ``2`` lies before layer 2, counted from 1. ``1.5`` lies within layer 1, behind its attention: all
tokens in play are attended to once more, and only those that stay go through the feed-forward network, which is two
thirds of a layer's FLOPs. PoWER-BERT, LTP and the Length-Adaptive Transformer eliminate tokens there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

#: The most cuts of an encoder.
MOST_CUTS = 12


def default_reduction_layers(num_layers: int) -> tuple[int, ...]:
    """``(2, L/2 + 1)``, 1-based: what the released code does; one reduction where both coincide.

    Example:
        >>> default_reduction_layers(12), default_reduction_layers(6), default_reduction_layers(3)
        ((2, 7), (2, 4), (2,))
    """
    return tuple(sorted({2, num_layers // 2 + 1}))


def check_reduction_layers(layers: Sequence[float], num_layers: int) -> tuple[float, ...]:
    """Return ``layers`` as a tuple, whole numbers as integers, or say what is wrong with them.

    Args:
        layers: The cuts.
        num_layers: L.

    Raises:
        ValueError: They are not 1 to :data:`MOST_CUTS` rising cuts between 1.5 and the last layer, there is no
            attention between two of them, or the encoder has a single layer.

    Example:
        >>> check_reduction_layers([2.0, 4.5], 6)
        (2, 4.5)
    """
    if num_layers < 2:
        raise ValueError(
            f"the encoder has {num_layers} layer, and the last layer is not cut within: use one of at least 2 layers"
        )
    cuts = tuple(int(layer) if float(layer).is_integer() else float(layer) for layer in layers)
    if not 1 <= len(cuts) <= MOST_CUTS or any(one >= other for one, other in itertools.pairwise(cuts)):
        raise ValueError(
            f"reduction_layers {cuts}: name 1 to {MOST_CUTS} different layers in rising order, such as 2 4"
        )
    if any(not float(2 * cut).is_integer() for cut in cuts):
        raise ValueError(f"reduction_layers {cuts}: 2 is before layer 2, 1.5 within layer 1, and nothing lies between")
    if cuts[0] < 1.5 or cuts[-1] > num_layers:  # behind the last attention nothing is saved to speak of
        raise ValueError(
            f"reduction_layers {cuts}: the encoder has {num_layers} layers, so each must lie in 2..{num_layers}, or "
            f"be 1.5 to {num_layers - 1}.5 for one within a layer"
        )
    for one, other in itertools.pairwise(cuts):
        if attention_halves(layers_before(one), layers_before(other)) == 0:
            raise ValueError(
                f"reduction_layers {cuts}: tokens do not attend between {one} and {other}: leave one of them out"
            )
    return cuts


def layers_before(cut: float) -> float:
    """Return how many layers have run before a cut, halves counted.

    Example:
        >>> layers_before(2), layers_before(1.5), layers_before(6)
        (1, 0.5, 5)
    """
    return cut - 1


def attention_halves(first: float, last: float) -> int:
    """Return how many attentions lie between two numbers of layers that have run.

    Example:
        >>> attention_halves(0, 0.5), attention_halves(0.5, 1), attention_halves(0.5, 3)
        (1, 0, 2)
    """
    return int(last + 0.5) - int(first + 0.5)


def feed_forward_halves(first: float, last: float) -> int:
    """Return how many feed-forward networks lie between two numbers of layers that have run.

    Example:
        >>> feed_forward_halves(0, 0.5), feed_forward_halves(0.5, 1), feed_forward_halves(0.5, 3)
        (0, 1, 3)
    """
    return int(last) - int(first)
