"""FLOPs in closed form: two for every multiply-add of a layer's matrix products.

Embeddings, biases, norms, softmax and task heads are not counted; the policy is charged for every
token that it sees. For hidden size 768 this is twice the multiply-adds that the original counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trbert_env.encoder.cuts import attention_halves, feed_forward_halves
from trbert_env.encoder.families import LayerSize
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder


def layer_flops(num_tokens: Tensor | int, size: LayerSize) -> Tensor | int:
    """Return the FLOPs of one encoder layer on a sequence: ``2 (4 d a n + 2 a n^2 + r a n + m d f n)``.

    ``a`` is the width of all heads, which is d but in layers that run narrower; ``m`` is 2, or 3 where the
    feed-forward network is gated; ``r`` is 0, or the embeddings of relative positions that each token is multiplied
    with. Projections of these embeddings themselves are not counted: no text changes them, and a frozen encoder
    computes them once for all texts.

    Example:
        >>> layer_flops(128, LayerSize(768, 3072)) == 2 * 931_135_488
        True
    """
    return attention_flops(num_tokens, size) + feed_forward_flops(num_tokens, size)


def attention_flops(num_tokens: Tensor | int, size: LayerSize) -> Tensor | int:
    """Return the FLOPs of the first half of a layer on a sequence: ``2 (4 d a n + 2 a n^2 + r a n)``.

    See :func:`layer_flops`.
    """
    d, a, n = size.hidden_size, size.width, num_tokens
    return 2 * (4 * d * a * n + 2 * a * n * n + size.position_rows * a * n)


def attention_flops_from_first(num_tokens: Tensor | int, size: LayerSize) -> Tensor | int:
    """Return the FLOPs of the first half of a layer for the first token of a sequence alone.

    That is ``2 (2 d a (n + 1) + 2 a n)``, without the queries of the others; all of :func:`attention_flops` where the
    family computes these with it.
    """
    if not size.queries_apart:
        return attention_flops(num_tokens, size)
    d, a, n = size.hidden_size, size.width, num_tokens
    return 2 * (2 * d * a * (n + 1) + 2 * a * n)


def feed_forward_flops(num_tokens: Tensor | int, size: LayerSize) -> Tensor | int:
    """Return the FLOPs of the second half of a layer on a sequence: ``2 m d f n``; see :func:`layer_flops`."""
    return 2 * size.matrices * size.hidden_size * size.intermediate_size * num_tokens


def policy_flops_per_token(hidden_size: int, policy_size: int) -> int:
    """FLOPs of one policy head, Linear(d, h) - GELU - Linear(h, 1), on one token."""
    return 2 * (hidden_size * policy_size + policy_size)


@dataclass(frozen=True)
class CostModel:
    """Cost of a text, unreduced and reduced, in FLOPs.

    Attributes:
        size: Sizes of a layer.
        stage_depths: Layers of each of the T + 1 stages, halves counted; see :mod:`trbert_env.encoder.cuts`.
        policy_flops: FLOPs of the policy on one token; 0 for agents that compute none.
        first_tokens_only: True where the last layer computes first tokens alone; see
            :class:`~trbert_env.encoder.staged.StagedEncoder`. The unreduced encoder that speed-ups are against computes
            all.
    """

    size: LayerSize
    stage_depths: tuple[float, ...]
    policy_flops: int = 0
    first_tokens_only: bool = False

    @classmethod
    def of(cls, encoder: StagedEncoder, policy_flops: int = 0) -> CostModel:
        """The costs of ``encoder``."""
        depths = tuple(last - first for first, last in encoder.stage_bounds)
        return cls(encoder.layer_size, depths, policy_flops, encoder.first_tokens_only)

    def layer(self, layout: Layout) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of one layer on the tokens in play, summed over a text's sequences."""
        flops = layer_flops(layout.sequence_lengths.double(), self.size)
        return layout.text_sums(torch.as_tensor(flops))

    @property
    def num_layers(self) -> int:
        """L."""
        return round(sum(self.stage_depths))

    def full(self, layout: Layout) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of all layers on the whole texts, as stock transformers run them."""
        return self.num_layers * self.layer(layout)

    def keep_all(self, layout: Layout) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of a pass with nothing skipped and no policy.

        They are less than :meth:`full` where the last layer computes first tokens alone.
        """
        return self.between(layout, 0, self.num_layers)

    def layers_of(self, layout: Layout, stage: int) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of the layers of a stage, on the tokens that go through it.

        Args:
            layout: Their layout.
            stage: The stage.
        """
        first = sum(self.stage_depths[:stage])
        return self.between(layout, first, first + self.stage_depths[stage])

    def between(self, layout: Layout, first: float, last: float) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of what lies between two numbers of layers.

        Args:
            layout: Tokens that go through it.
            first: Layers in front of it, halves counted.
            last: Layers in front of it and in it; :attr:`num_layers` for the last one, of which first tokens alone are
                counted where :attr:`first_tokens_only`.
        """
        if first >= last:
            return torch.zeros(layout.num_texts, dtype=torch.float64)
        lengths = layout.sequence_lengths.double()
        attentions, feed_forwards = attention_halves(first, last), feed_forward_halves(first, last)
        flops = torch.zeros_like(lengths)
        if self.first_tokens_only and last == self.num_layers:  # no cut lies within the last layer
            of_first = attention_flops_from_first(lengths, self.size) + feed_forward_flops(1, self.size)
            flops = of_first * (lengths > 0)
            attentions, feed_forwards = attentions - 1, feed_forwards - 1
        flops = flops + attentions * attention_flops(lengths, self.size)
        return layout.text_sums(flops + feed_forwards * feed_forward_flops(lengths, self.size))

    def stage(self, layouts: Sequence[Layout], stage: int) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of stage ``stage``, with the policy that looks at what comes out of it."""
        flops = self.layers_of(layouts[stage], stage)
        if stage < len(self.stage_depths) - 1:
            flops = flops + self.policy_flops * layouts[stage].token_counts
        return flops

    def reduced(self, layouts: Sequence[Layout]) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of a reduced pass; ``layouts`` are the tokens of each of its stages."""
        return torch.stack([self.stage(layouts, stage) for stage in range(len(layouts))]).sum(0)


def flops_speedup(full: Tensor, reduced: Tensor) -> float:
    """Mean full cost over mean reduced cost, over texts."""
    return float(full.sum() / reduced.sum())
