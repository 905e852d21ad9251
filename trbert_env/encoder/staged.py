"""StagedEncoder: a stock transformers encoder, cut at its reduction layers and run on packed tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from trbert_env.encoder.attention import PACKED_ATTENTION
from trbert_env.encoder.batching import MOST_BYTES, computes_in_bfloat16, group_sizes, rows_to_run
from trbert_env.encoder.families import family_of
from trbert_env.encoder.packing import Layout, PackedTokens
from trbert_env.encoder.positions import first_position, longest_sequence
from trbert_env.encoder.sequences import PackedSequences, Recorder
from trbert_env.encoder.texts import TextBatch

#: One layer, or half of one: its index, states ``(1, rows, hidden)``, the sequences that they are of, and what the
#: layers of a stage share.
_Step = Callable[[int, Tensor, PackedSequences, Any], Tensor]


def default_reduction_layers(num_layers: int) -> tuple[int, ...]:
    """``(2, L/2 + 1)``, 1-based: what the released code does; one reduction where both coincide.

    Example:
        >>> default_reduction_layers(12), default_reduction_layers(6), default_reduction_layers(3)
        ((2, 7), (2, 4), (2,))
    """
    return tuple(sorted({2, num_layers // 2 + 1}))


def check_reduction_layers(layers: Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Return ``layers`` as a tuple, or say what is wrong with them.

    Raises:
        ValueError: Not 1 to 3 rising layers between 2 and the depth, or the encoder has a single layer.
    """
    if num_layers < 2:
        raise ValueError(
            f"the encoder has {num_layers} layer, and tokens stop before layer 2 at the earliest: use one of at least 2"
        )
    layers = tuple(int(layer) for layer in layers)
    if not 1 <= len(layers) <= 3 or list(layers) != sorted(set(layers)):
        raise ValueError(f"reduction_layers {layers}: name 1 to 3 different layers in rising order, such as 2 4")
    if layers[0] < 2 or layers[-1] > num_layers:
        raise ValueError(
            f"reduction_layers {layers}: the encoder has {num_layers} layers, so each must lie in 2..{num_layers}"
        )
    return layers


class StagedEncoder:
    """Runs a stock encoder stage by stage on packed tokens.

    Stage t is what lies between reduction t and the next: stage 0 the layers before the first
    reduction layer, stage T those from the last one on. The model's own layers do the work; only
    their attention function is exchanged, for one that still serves stock padded calls.

    Args:
        model: A transformers model of a family in :data:`~trbert_env.encoder.families.FAMILIES`, with or without a
            task head.
        reduction_layers: 1-based; tokens are dropped before these layers. None for the default of the family.

    Raises:
        ValueError: The family is not supported, or the reduction layers do not fit its depth.
    """

    def __init__(self, model: PreTrainedModel, reduction_layers: Sequence[int] | None = None) -> None:
        #: What is particular to the model's family.
        self.family = family_of(model.config)
        base = cast(PreTrainedModel, model.base_model)
        if self.family.attention_interface:
            base.set_attn_implementation(PACKED_ATTENTION)
        # Any: the attributes of a stock encoder are known by its family, not by its type.
        self._base: Any = base
        self._layers = self.family.stack(base)
        self.num_layers = len(self._layers)
        if reduction_layers is None:
            reduction_layers = self.family.cuts(model.config, default_reduction_layers(self.num_layers))
        self.reduction_layers = check_reduction_layers(reduction_layers, self.num_layers)
        #: Sizes of a layer, which its cost follows from.
        self.layer_size = self.family.layer_size(model.config)

    def __repr__(self) -> str:
        """The family, depth and cuts."""
        family = self._base.config.model_type
        return f"StagedEncoder({family}, layers={self.num_layers}, reduction_layers={self.reduction_layers})"

    @property
    def hidden_size(self) -> int:
        """D."""
        return self.layer_size.hidden_size

    @property
    def intermediate_size(self) -> int:
        """F."""
        return self.layer_size.intermediate_size

    @property
    def num_reductions(self) -> int:
        """T."""
        return len(self.reduction_layers)

    @property
    def stage_bounds(self) -> tuple[tuple[int, int], ...]:
        """0-based half-open layer range of each of the T + 1 stages."""
        cuts = [0, *(layer - 1 for layer in self.reduction_layers), self.num_layers]
        return tuple(itertools.pairwise(cuts))

    def embed(self, batch: TextBatch) -> PackedTokens:
        """Embeddings of a packed batch: ``(total_tokens, hidden)``.

        Raises:
            ValueError: A sequence has more tokens than the encoder has positions.
        """
        longest, known = int(batch.layout.sequence_lengths.max()), longest_sequence(self._base)
        if longest > known:
            raise ValueError(
                f"a sequence has {longest} tokens, and the encoder has {known} positions: truncate it, as by "
                f"tokenizer(..., truncation=True, max_length={known})"
            )
        states = self.embed_rows(batch.input_ids, batch.token_type_ids, batch.sequence_positions)
        return PackedTokens(states, batch.layout)

    def embed_rows(self, input_ids: Tensor, token_type_ids: Tensor, sequence_positions: Tensor) -> Tensor:
        """Embed tokens, ``(rows, hidden)``; see :class:`~trbert_env.encoder.texts.TextBatch`.

        Args:
            input_ids: ``(rows,)`` int64.
            token_type_ids: ``(rows,)`` int64.
            sequence_positions: ``(rows,)`` int64, fewer than the encoder has positions.
        """
        places = sequence_positions + first_position(self._base)
        return self.family.embed(self._base, input_ids[None], token_type_ids[None], places[None])[0]

    def run_rows(self, states: Tensor, packed: PackedSequences, stage: int) -> Tensor:
        """Run the layers of one stage on all rows together, ``(rows, hidden)``; see :attr:`stage_bounds`.

        Args:
            states: ``(rows, hidden)`` states that enter the stage.
            packed: Sequences that the rows are of; rows behind them are padding, and come out as anything.
            stage: The stage.
        """
        return self._run_rows(states, packed, range(*self.stage_bounds[stage]), self._layer, None)

    def run_layers(
        self, tokens: PackedTokens, first: int, last: int, received: list[Tensor] | None = None
    ) -> PackedTokens:
        """Run layers ``first`` to ``last - 1`` (0-based).

        Args:
            tokens: States that enter the first of them.
            first: The first layer.
            last: One past the last layer.
            received: List to which the last layer appends the attention that each token received; None for none.
        """
        return self._run(tokens, range(first, last), self._layer, None if received is None else Recorder(received))

    def run_padded(self, states: Tensor, bias: Tensor, first: int, last: int) -> Tensor:
        """Run layers ``first`` to ``last - 1`` (0-based) on padded sequences, by the stock layers' own attention.

        Args:
            states: ``(num_sequences, width, hidden)``.
            bias: ``(num_sequences, 1, 1, width)`` to add to the scores of attention: 0 for tokens, far below
                zero for padding.
            first: The first layer.
            last: One past the last layer.
        """
        for layer in self._layers[first:last]:
            states = layer(states, attention_mask=bias)
        return states

    def run_attention(self, tokens: PackedTokens, index: int, recorder: Recorder | None = None) -> PackedTokens:
        """Run the first half of a layer: attention, residual connection and norm.

        Args:
            tokens: Tokens that enter it.
            index: 0-based layer.
            recorder: Recorder of the attention that tokens receive; None where it is not wanted.
        """
        return self._run(tokens, range(index, index + 1), self._attention, recorder)

    def run_feed_forward(self, tokens: PackedTokens, index: int) -> PackedTokens:
        """Run the second half of a layer: feed-forward network, residual connection and norm.

        Args:
            tokens: Tokens that enter it.
            index: 0-based layer.
        """
        return self._run(tokens, range(index, index + 1), self._feed_forward, None)

    def finish(self, states: Tensor) -> Tensor:
        """Return the last hidden states that a task head reads, from states behind any layer: ``(rows, hidden)``.

        Args:
            states: ``(rows, hidden)``; in some families a norm follows the last layer, which stopped tokens take too.
        """
        return self.family.finish(self._base, states)

    def _layer(self, index: int, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        return self.family.layer(self._layers[index], states, packed, shared)

    def _attention(self, index: int, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        return self.family.attention_half(self._layers[index], states, packed, shared)

    def _feed_forward(self, index: int, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        return self.family.feed_forward_half(self._layers[index], states)

    def _run(self, tokens: PackedTokens, indices: range, step: _Step, recorder: Recorder | None) -> PackedTokens:
        """Run a step of each layer in turn, over groups of sequences that fit the cache; the last one records."""
        lengths = tokens.layout.sequence_lengths
        own = None if recorder is None else replace(recorder, found=[])
        groups = lengths.split(group_sizes(lengths, self._most_tokens(tokens.states)))
        sizes = [int(group.sum()) for group in groups]
        states = tokens.states.split(sizes)
        places: Sequence[Tensor | None] = [None] * len(sizes)
        if self.family.reads_positions:
            places = _sequence_positions(tokens.layout).split(sizes)
        outputs = [
            self._run_group(piece, group, place, indices, step, own)
            for piece, group, place in zip(states, groups, places, strict=True)
        ]
        if recorder is not None and own is not None:
            recorder.found.append(torch.cat(own.found))
        return PackedTokens(outputs[0] if len(outputs) == 1 else torch.cat(outputs), tokens.layout)

    def _run_group(
        self,
        states: Tensor,
        lengths: Tensor,
        places: Tensor | None,
        indices: range,
        step: _Step,
        recorder: Recorder | None,
    ) -> Tensor:
        """Sequences of these lengths through the layers: ``(total_tokens, hidden)``."""
        total = len(states)
        if missing := rows_to_run(states) - total:
            states = pad(states, (0, 0, 0, missing))
            places = None if places is None else pad(places, (0, missing))
        packed = PackedSequences.of(lengths, states.device, places)
        return self._run_rows(states, packed, indices, step, recorder)[:total]

    def _run_rows(
        self, states: Tensor, packed: PackedSequences, indices: range, step: _Step, recorder: Recorder | None
    ) -> Tensor:
        """Rows through the layers: ``(rows, hidden)``."""
        states = states[None]
        shared = self.family.prepare(self._base, states, packed)
        for index in indices:
            packed.recorder = recorder if index == indices[-1] else None
            states = step(index, states, packed, shared)
        return states[0]

    def _most_tokens(self, states: Tensor) -> int:
        """Tokens that run together: all of them on a GPU, as many as fit :data:`MOST_BYTES` on a CPU."""
        if states.device.type != "cpu":
            return max(1, len(states))
        size = 2 if computes_in_bfloat16(states) else states.element_size()
        return max(1, MOST_BYTES // (self.intermediate_size * size))

    def run_unreduced(self, batch: TextBatch) -> PackedTokens:
        """Return the last hidden states of a batch of which nothing is skipped."""
        tokens = self.run_layers(self.embed(batch), 0, self.num_layers)
        return PackedTokens(self.finish(tokens.states), tokens.layout)

    def run_stage(self, tokens: PackedTokens, stage: int, received: list[Tensor] | None = None) -> PackedTokens:
        """Run the layers of one stage; see :attr:`stage_bounds`."""
        return self.run_layers(tokens, *self.stage_bounds[stage], received)


def _sequence_positions(layout: Layout) -> Tensor:
    """``(total_tokens,)`` int64: where in its sequence each token stood; first tokens always stay."""
    starts = layout.positions.index_select(0, layout.sequence_starts.to(layout.device))
    lengths = layout.sequence_lengths.to(layout.device)
    return layout.positions - starts.repeat_interleave(lengths, output_size=layout.total_tokens)
