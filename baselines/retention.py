"""Dropping tokens in every layer, between attention and feed-forward: what PoWER-BERT and its successors share.

Attention runs over the tokens that the layer before left; tokens are then ranked by the attention that they receive,
and the feed-forward network runs over those that stay. Where the task reads every token, those that were dropped keep
their last state, as in Length-Adaptive Transformer (Kim and Cho 2021, section 3.3).
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.base import ComparedSystem, Pass
from baselines.options import SystemOptions
from trbert_env.encoder.packing import Layout, PackedTokens, restore_text_order
from trbert_env.encoder.sequences import Recorder
from trbert_env.encoder.texts import EncodedText, TextBatch, full_layout
from trbert_env.reduction.cost import (
    CostModel,
    attention_flops,
    attention_flops_from_first,
    feed_forward_flops,
)
from trbert_env.staged_model import staged_encoder
from trbert_env.tasks.base import Task

RetentionT = TypeVar("RetentionT", bound=SystemOptions)


class RetentionSystem(ComparedSystem[RetentionT]):
    """A system that drops tokens in every layer; see the module's page and :class:`ComparedSystem`.

    Attributes:
        diagonal: True where the attention that a token pays to itself counts in its score.
    """

    diagonal: ClassVar[bool] = True

    @abstractmethod
    def keep(self, layer: int, layout: Layout, scores: Tensor, full: Layout) -> Tensor:
        """Return which tokens stay, ``(total_tokens,)`` bool.

        Args:
            layer: 0-based layer.
            layout: Tokens in play.
            scores: ``(total_tokens,)`` float32, the attention received in this layer, summed over heads and queries.
            full: The layout of the full texts.
        """

    def running_layers(self) -> Sequence[int]:
        """Return the layers of the next pass, 0-based: all of them, unless a system skips some in training."""
        return range(self.encoder.num_layers)

    def forward(self, batch: TextBatch, states: bool = False) -> Pass:
        """Run all layers on what each leaves; states of dropped tokens are their last; see :class:`ComparedSystem`."""
        tokens = self.encoder.embed(batch)
        stopped, layouts = list[PackedTokens](), [batch.layout]
        for layer in self.running_layers():
            if self._ends_in(layer):
                tokens = self.encoder.run_layers(tokens, layer, layer + 1)
                layouts.append(_first_tokens(batch.layout))
                continue
            recorder = Recorder(diagonal=self.diagonal, once=True)
            tokens = self.encoder.run_attention(tokens, layer, recorder)
            keep = self.keep(layer, tokens.layout, recorder.found[0].detach(), batch.layout)
            kept, left, _ = tokens.split(keep)
            stopped.append(left)
            tokens = self.encoder.run_feed_forward(kept, layer)
            layouts.append(tokens.layout)
        found, _ = restore_text_order([*stopped, tokens])
        return Pass(self.read(found, batch.layout), layouts)

    def _ends_in(self, layer: int) -> bool:
        """Whether a layer computes first tokens alone, behind which there is nothing to drop."""
        return self.encoder.first_tokens_only and layer == self.encoder.num_layers - 1

    def flops(self, layouts: Sequence[Layout]) -> Tensor:
        """Return the FLOPs of the layers: attention over what comes in, feed-forward over what stays.

        Args:
            layouts: Tokens in front of the first layer and behind each.
        """
        return retention_flops(self.cost, layouts)


def retention_flops(cost: CostModel, layouts: Sequence[Layout]) -> Tensor:
    """Return ``2 (4 d^2 l_(j-1) + 2 d l_(j-1)^2 + 2 d f l_j)`` summed over layers j, ``(num_texts,)`` float64.

    Families with other layers have their own two terms; see :func:`~trbert_env.reduction.cost.layer_flops`. A last
    layer of first tokens alone has :func:`~trbert_env.reduction.cost.attention_flops_from_first` as its first.

    Args:
        cost: Sizes of the encoder.
        layouts: Tokens in front of the first layer and behind each.
    """
    total = torch.zeros(len(layouts[0].sequence_lengths), dtype=torch.float64)
    for layer, (before, after) in enumerate(itertools.pairwise(layouts), start=1):
        ends = cost.first_tokens_only and layer == cost.num_layers
        attention = attention_flops_from_first if ends else attention_flops
        entering, staying = before.sequence_lengths.double(), after.sequence_lengths.double()
        total += attention(entering, cost.size) + feed_forward_flops(staying, cost.size)
    return layouts[0].text_sums(total)


class PlannedRetention(RetentionSystem[RetentionT]):
    """A system whose numbers of tokens follow from the length of a sequence."""

    @abstractmethod
    def counts(self, layer: int, lengths: Tensor) -> Tensor:
        """Return the tokens that stay behind a layer, ``(num_sequences,)`` int64 on the CPU, at least 1 each.

        Args:
            layer: 0-based layer.
            lengths: ``(num_sequences,)`` int64 on the CPU, tokens of the whole sequences.
        """

    def keep(self, layer: int, layout: Layout, scores: Tensor, full: Layout) -> Tensor:
        """Return the first token and those of the highest scores; see :class:`RetentionSystem`."""
        counts = self.counts(layer, full.sequence_lengths)
        limits = torch.repeat_interleave(counts, layout.sequence_lengths).to(scores.device)
        return token_ranks(layout, scores) < limits

    def flops(self, layouts: Sequence[Layout]) -> Tensor:
        """Return the FLOPs, which follow from the full texts alone; see :meth:`RetentionSystem.flops`."""
        full = layouts[0]
        return retention_flops(self.cost, [full, *(self._behind(n, full) for n in self._layers)])

    @property
    def _layers(self) -> range:
        return range(self.encoder.num_layers)

    def _behind(self, layer: int, full: Layout) -> Layout:
        if self._ends_in(layer):
            return _first_tokens(full)
        counts = torch.minimum(self.counts(layer, full.sequence_lengths), full.sequence_lengths)
        return Layout.from_lengths(counts.tolist(), full.sequences_per_text.tolist())


def token_ranks(layout: Layout, scores: Tensor, first_tokens: bool = True) -> Tensor:
    """Return the rank of each token in its sequence by falling scores, ``(total_tokens,)`` int64, from 0.

    Args:
        layout: Tokens in play.
        scores: ``(total_tokens,)`` scores; of equal ones the earlier token ranks higher.
        first_tokens: True to rank each sequence's first token highest, whatever its score.

    Example:
        >>> layout = Layout.from_lengths([3, 2], [1, 1])
        >>> token_ranks(layout, torch.tensor([0.0, 1.0, 2.0, 5.0, 7.0])).tolist()
        [0, 2, 1, 0, 1]
    """
    values = scores.masked_fill(layout.first_tokens, torch.inf) if first_tokens else scores
    by_score = torch.argsort(values, descending=True, stable=True)
    lengths = layout.sequence_lengths.to(scores.device)
    sequence = torch.repeat_interleave(torch.arange(len(lengths), device=scores.device), lengths)
    order = by_score[torch.argsort(sequence[by_score], stable=True)]
    starts = torch.cumsum(lengths, 0) - lengths
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=scores.device) - starts[sequence]
    return ranks


def _first_tokens(full: Layout) -> Layout:
    """The layout of each sequence's first token."""
    return Layout.from_lengths([1] * len(full.sequence_lengths), full.sequences_per_text.tolist(), full.device)


def check_within_reach(
    title: str, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
) -> None:
    """Refuse a speed-up beyond that of a first layer which drops all but first tokens.

    Args:
        title: Name of the system.
        speedup: FLOPs speed-up that is aimed at.
        model: The task model.
        task: Its task.
        texts: Training texts.

    Raises:
        ValueError: It is beyond.
    """
    cost, full = CostModel.of(staged_encoder(model, task)), full_layout(texts)
    reduced = retention_flops(cost, [full, *[_first_tokens(full)] * cost.num_layers])
    fastest = float(cost.full(full).sum() / reduced.sum())
    if speedup > fastest:
        raise ValueError(
            f"{title} is at most {fastest:.2f} times as fast on these texts: give a lower --target-speedup"
        )
