"""Narrower encoder layers without copies: linear layers that run on their first inputs and outputs alone.

The parameters stay those of the stock layers, under the same names, so that the weights of all widths are one stock
state dict. :meth:`NarrowLayer.rewire` sorts heads and neurons; the first ones of a narrow layer are then the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from trbert_env.encoder.families import family_of


class SlicedLinear(nn.Linear):
    """A linear layer that runs on its first inputs and outputs alone.

    Args:
        stock: The layer whose parameters it takes over, not copies of them.

    Attributes:
        rows: Outputs that are computed.
        columns: Inputs that are read.

    Example:
        >>> sliced = SlicedLinear(nn.Linear(6, 4))
        >>> sliced.rows, sliced.columns = 2, 3
        >>> sliced(torch.zeros(1, 3)).shape, list(sliced.state_dict()), sliced.weight.shape
        (torch.Size([1, 2]), ['weight', 'bias'], torch.Size([4, 6]))
    """

    def __init__(self, stock: nn.Linear) -> None:
        super().__init__(stock.in_features, stock.out_features, bias=stock.bias is not None, device="meta")
        self.weight, self.bias = stock.weight, stock.bias
        self.rows, self.columns = stock.out_features, stock.in_features

    def forward(self, input: Tensor) -> Tensor:
        """Return the first outputs, ``(..., rows)``.

        Args:
            input: ``(..., columns)``.
        """
        if (self.rows, self.columns) == (self.out_features, self.in_features):
            return super().forward(input)
        bias = None if self.bias is None else self.bias[: self.rows]
        return linear(input, self.weight[: self.rows, : self.columns], bias)

    def narrowed(self) -> nn.Linear:
        """Return a stock layer that computes the same, with parameters of its own."""
        found = nn.Linear(self.columns, self.rows, bias=self.bias is not None, device="meta")
        found.weight = nn.Parameter(self.weight.detach()[: self.rows, : self.columns].clone(), requires_grad=False)
        if self.bias is not None:
            found.bias = nn.Parameter(self.bias.detach()[: self.rows].clone(), requires_grad=False)
        return found.train(self.training)


@dataclass(frozen=True)
class NarrowLayer:
    """The linear layers of one encoder layer that get narrower together.

    Attributes:
        projections: Query, key and value.
        attention_output: Output projection, which joins the heads.
        inner: First half of the feed-forward network, one output a neuron.
        outer: Second half of it, one input a neuron.
        num_heads: Heads of the full layer.
        layer: The encoder layer.
        places: Places of these in it, in this order.
    """

    projections: tuple[SlicedLinear, ...]
    attention_output: SlicedLinear
    inner: SlicedLinear
    outer: SlicedLinear
    num_heads: int
    layer: nn.Module
    places: tuple[str, ...]

    def narrow(self, heads: int) -> None:
        """Run the first heads, and the same share of the neurons, from now on.

        Args:
            heads: Number of heads.
        """
        size = heads * self.head_size
        for projection in self.projections:
            projection.rows = size
        self.attention_output.columns = size
        self.inner.rows = self.outer.columns = kept_neurons(self.inner.out_features, heads, self.num_heads)

    def settle(self) -> None:
        """Put stock layers of this width in the places of the sliced ones, which nothing narrows any more."""
        for place, sliced in zip(self.places, self._sliced, strict=True):
            self.layer.set_submodule(place, sliced.narrowed())

    @property
    def _sliced(self) -> tuple[SlicedLinear, ...]:
        return (*self.projections, self.attention_output, self.inner, self.outer)

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.attention_output.in_features // self.num_heads

    @property
    def measured(self) -> tuple[nn.Parameter, ...]:
        """Parameters whose gradients :meth:`importance` takes."""
        weights = (self.attention_output.weight, self.inner.weight, self.inner.bias, self.outer.weight)
        return cast(tuple[nn.Parameter, ...], weights)

    def importance(self, gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the importance of heads, ``(num_heads,)``, and of neurons, ``(intermediate_size,)``.

        A head's is the size of the gradient of a factor on its output, a neuron's that of what the loss would change
        by without it, to first order, from the weights in front of it and from those behind (Hou et al. 2020, section
        2.1). The gradient of a factor is the sum of weights times their gradients behind it.

        Args:
            gradients: Gradients of :attr:`measured` for one batch.
        """
        joined, weights, bias, behind = (
            own.detach() * slope for own, slope in zip(self.measured, gradients, strict=True)
        )
        heads = joined.sum(0).view(self.num_heads, -1).sum(1).abs()
        return heads, (weights.sum(1) + bias).abs() + behind.sum(0).abs()

    @torch.no_grad()
    def rewire(self, heads: Tensor, neurons: Tensor) -> None:
        """Sort heads and neurons by falling importance; what the full layer computes stays the same.

        Args:
            heads: ``(num_heads,)`` importance of heads.
            neurons: ``(intermediate_size,)`` importance of neurons.
        """
        order = torch.argsort(heads, descending=True, stable=True)
        rows = (order[:, None] * self.head_size + torch.arange(self.head_size, device=order.device)).flatten()
        for projection in self.projections:
            projection.weight.copy_(projection.weight[rows])
            projection.bias.copy_(projection.bias[rows])
        self.attention_output.weight.copy_(self.attention_output.weight[:, rows])
        order = torch.argsort(neurons, descending=True, stable=True)
        self.inner.weight.copy_(self.inner.weight[order])
        self.inner.bias.copy_(self.inner.bias[order])
        self.outer.weight.copy_(self.outer.weight[:, order])


def narrow_layers(model: PreTrainedModel) -> list[NarrowLayer]:
    """Make the layers of a task model narrowable, in place, and return them.

    Args:
        model: The task model; one that was made narrowable before is run at its full width again.

    Raises:
        ValueError: The family's layers cannot be run narrower.
    """
    family = family_of(model.config)
    places = family.projections
    if places is None:
        raise ValueError(f"layers of the family '{model.config.model_type}' cannot be run narrower: use another system")
    found = []
    for layer in family.stack(model.base_model):
        query, key, value, attention_output, inner, outer = (_sliced(layer, place) for place in places)
        heads = model.config.num_attention_heads
        found.append(NarrowLayer((query, key, value), attention_output, inner, outer, heads, layer, tuple(places)))
        found[-1].narrow(heads)
    return found


def _sliced(layer: nn.Module, place: str) -> SlicedLinear:
    """Linear layer at a place, which takes over from the stock one there."""
    stock = layer.get_submodule(place)
    assert isinstance(stock, nn.Linear)
    if isinstance(stock, SlicedLinear):
        return stock
    sliced = SlicedLinear(stock).train(stock.training)
    layer.set_submodule(place, sliced)
    return sliced


def kept_heads(num_heads: int, width: float) -> int:
    """Return the heads of a narrower layer, at least one.

    Args:
        num_heads: Heads of the full layer.
        width: Share of them.

    Example:
        >>> [kept_heads(12, width) for width in (0.25, 0.5, 0.75, 1.0)]
        [3, 6, 9, 12]
    """
    return max(1, round(num_heads * width))


def kept_neurons(num_neurons: int, heads: int, num_heads: int) -> int:
    """Return the feed-forward neurons of a narrower layer: the same share as of the heads.

    Args:
        num_neurons: Neurons of the full layer.
        heads: Heads of the narrower layer.
        num_heads: Heads of the full layer.

    Example:
        >>> kept_neurons(3072, 3, 12)
        768
    """
    return max(1, round(num_neurons * heads / num_heads))
