"""FLOPs in closed form: two for every multiply-add of a layer's matrix products.

Embeddings, biases, norms, softmax and task heads are not counted; the policy is charged for every
token that it sees. For hidden size 768 this is twice the multiply-adds that the original counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder


def layer_flops(num_tokens: Tensor | int, hidden_size: int, intermediate_size: int) -> Tensor | int:
    """FLOPs of one encoder layer on a sequence: ``2 (4 d^2 n + 2 d f n + 2 d n^2)``.

    Example:
        >>> layer_flops(128, 768, 3072) == 2 * 931_135_488
        True
    """
    d, f, n = hidden_size, intermediate_size, num_tokens
    return 2 * (4 * d * d * n + 2 * d * f * n + 2 * d * n * n)


def policy_flops_per_token(hidden_size: int, policy_size: int) -> int:
    """FLOPs of one policy head, Linear(d, h) - GELU - Linear(h, 1), on one token."""
    return 2 * (hidden_size * policy_size + policy_size)


@dataclass(frozen=True)
class CostModel:
    """What a text costs, unreduced and reduced, in FLOPs.

    Attributes:
        hidden_size: d.
        intermediate_size: f.
        stage_depths: Layers of each of the T + 1 stages.
        policy_flops: FLOPs of the policy on one token; 0 for agents that compute none.
    """

    hidden_size: int
    intermediate_size: int
    stage_depths: tuple[int, ...]
    policy_flops: int = 0

    @classmethod
    def of(cls, encoder: StagedEncoder, policy_flops: int = 0) -> CostModel:
        """The costs of ``encoder``."""
        depths = tuple(last - first for first, last in encoder.stage_bounds)
        return cls(encoder.hidden_size, encoder.intermediate_size, depths, policy_flops)

    def layer(self, layout: Layout) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of one layer on the tokens in play, summed over a text's sequences."""
        flops = layer_flops(layout.sequence_lengths.double(), self.hidden_size, self.intermediate_size)
        return layout.text_sums(torch.as_tensor(flops))

    def full(self, layout: Layout) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of all layers on the whole texts."""
        return sum(self.stage_depths) * self.layer(layout)

    def stage(self, layouts: Sequence[Layout], stage: int) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of stage ``stage``, with the policy that looks at what comes out of it."""
        flops = self.stage_depths[stage] * self.layer(layouts[stage])
        if stage < len(self.stage_depths) - 1:
            flops = flops + self.policy_flops * layouts[stage].token_counts
        return flops

    def reduced(self, layouts: Sequence[Layout]) -> Tensor:
        """``(num_texts,)`` float64: FLOPs of a reduced pass; ``layouts`` are the tokens of each of its stages."""
        return torch.stack([self.stage(layouts, stage) for stage in range(len(layouts))]).sum(0)


def flops_speedup(full: Tensor, reduced: Tensor) -> float:
    """Mean full cost over mean reduced cost, over texts."""
    return float(full.sum() / reduced.sum())
