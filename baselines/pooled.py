"""Layer-wise token compression: behind one layer, neighbouring tokens are averaged (Zhuang, Xu and Lauriola 2026).

Nothing is selected and nothing is learned of where to compress: adaptive average pooling turns the tokens of a sequence
into fewer, behind layers that have seen all of them. Each sequence's first token, which heads of classifiers read, is
left alone. Where the task reads every token, each of them is read by the state of the average that it went into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.aiming import factor_for
from baselines.base import ComparedSystem, Pass, Reference, speedup_of
from baselines.options import SystemOptions
from trbert_env.encoder.packing import Layout, PackedTokens, segment_starts
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch, full_layout
from trbert_env.ranges import Range
from trbert_env.tasks.base import Task


@dataclass(frozen=True)
class PooledOptions(SystemOptions):
    """Options of layer-wise token compression.

    Attributes:
        layer: Layer behind which tokens are averaged, counted from 1; None for a third of the depth.
        ratio: Tokens left, as a share of the sequence.
    """

    layer: Annotated[int, Range(1)] | None = None
    ratio: Annotated[float, Range(above=0, most=1)] = 0.25


class Pooled(ComparedSystem[PooledOptions]):
    """Layer-wise token compression; see the module's page and :class:`ComparedSystem`.

    Raises:
        ValueError: The layer is the last one or beyond it.
    """

    title = "pooled"
    options_class = PooledOptions

    def __init__(
        self, model: PreTrainedModel, task: Task, options: PooledOptions, reference: Reference | None = None
    ) -> None:
        number = StagedEncoder(model).num_layers
        layer = max(1, number // 3) if options.layer is None else options.layer
        if layer >= number:
            raise ValueError(f"layer {layer}: the encoder has {number} layers, give one of 1 to {number - 1}")
        super().__init__(model, task, replace(options, layer=layer), reference)
        self.layer = layer

    def forward(self, batch: TextBatch, states: bool = False) -> Pass:
        """Run the first layers on all tokens and the rest on averages; see :meth:`ComparedSystem.forward`."""
        full = self.encoder.run_layers(self.encoder.embed(batch), 0, self.layer)
        lengths = batch.layout.sequence_lengths
        source, target, weights, counts = pooling(lengths, pooled_counts(lengths, self.options.ratio))
        device = full.states.device
        values = full.states[source.to(device)] * weights.to(full.states)[:, None]
        pooled = values.new_zeros(int(counts.sum()), values.shape[1]).index_add(0, target.to(device), values)
        short = Layout.from_lengths(counts.tolist(), batch.layout.sequences_per_text.tolist(), device)
        tokens = self.encoder.run_layers(PackedTokens(pooled, short), self.layer, self.encoder.num_layers)
        read = tokens.states[read_from(lengths, counts).to(device)]
        return Pass(self.read(read, batch.layout), [batch.layout, short])

    def flops(self, layouts: Sequence[Layout]) -> Tensor:
        """Return ``l m(n) + (L - l) m(r n)``; see :meth:`ComparedSystem.flops`."""
        full = layouts[0]
        cost = self.cost
        counts = pooled_counts(full.sequence_lengths, self.options.ratio)
        short = Layout.from_lengths(counts.tolist(), full.sequences_per_text.tolist())
        return cost.between(full, 0, self.layer) + cost.between(short, self.layer, cost.num_layers)

    @classmethod
    def aimed(
        cls, options: PooledOptions, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
    ) -> PooledOptions:
        """Return the ratio that gives the speed-up; see :meth:`ComparedSystem.aimed`."""
        if options.ratio != PooledOptions.ratio:
            raise ValueError("ratio settles the speed-up: leave --target-speedup out")
        system, full = cls(model, task, options), full_layout(texts)

        def speed(ratio: float) -> float:
            system.options = replace(options, ratio=ratio)
            return speedup_of(system, full)

        return replace(options, ratio=factor_for(speedup, speed, (0.001, 1.0), cls.title))


def pooled_counts(lengths: Tensor, ratio: float) -> Tensor:
    """Return the tokens that sequences are compressed to, the first one included, ``(num_sequences,)`` int64.

    Args:
        lengths: ``(num_sequences,)`` int64.
        ratio: Tokens left, as a share of the sequence.

    Example:
        >>> pooled_counts(torch.tensor([100, 9, 1]), 0.25).tolist()
        [25, 2, 1]
    """
    wanted = torch.floor(lengths.double() * ratio + 1e-9).long()
    return torch.minimum(wanted.clamp(min=2), lengths)


def _spans(lengths: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each average: its sequence, and the first token behind [CLS] and one past the last that it is of."""
    sequence = torch.repeat_interleave(counts)
    number = torch.arange(len(sequence)) - segment_starts(counts)[sequence] - 1
    body, parts = lengths[sequence] - 1, (counts[sequence] - 1).clamp(min=1)
    first = torch.div(number * body, parts, rounding_mode="floor")
    last = -torch.div(-(number + 1) * body, parts, rounding_mode="floor")
    return sequence, first, last


def pooling(lengths: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return adaptive average pooling as sums: which tokens go into which averages, by what weight.

    The first token of a sequence is its own average. Average i of k of the n others is over tokens floor(i n / k) to
    ceil((i + 1) n / k) - 1, as in :func:`torch.nn.functional.adaptive_avg_pool1d`.

    Args:
        lengths: ``(num_sequences,)`` int64, tokens of each sequence.
        counts: ``(num_sequences,)`` int64, averages of each.

    Returns:
        Indices of tokens, indices of averages, weights, and ``counts``.
    """
    sequence, first, last = _spans(lengths, counts)
    is_first = torch.zeros(len(sequence), dtype=torch.bool)
    is_first[segment_starts(counts)] = True
    first, last = first.masked_fill(is_first, -1), last.masked_fill(is_first, 0)
    sizes = last - first
    target = torch.repeat_interleave(sizes)
    inside = torch.arange(len(target)) - segment_starts(sizes)[target]
    source = segment_starts(lengths)[sequence][target] + 1 + first[target] + inside
    return source, target, 1.0 / sizes[target].double(), counts


def read_from(lengths: Tensor, counts: Tensor) -> Tensor:
    """Return which average each token is read from, ``(total_tokens,)`` int64: the last one that it went into.

    Args:
        lengths: ``(num_sequences,)`` int64, tokens of each sequence.
        counts: ``(num_sequences,)`` int64, averages of each.
    """
    source, target, _, _ = pooling(lengths, counts)
    read = torch.zeros(int(lengths.sum()), dtype=torch.int64)
    return read.scatter_reduce(0, source, target, "amax")
