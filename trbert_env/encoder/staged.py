"""StagedEncoder: a stock transformers encoder, cut at its reduction layers and run on packed tokens."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trbert_env.encoder.attention import PACKED_ATTENTION
from trbert_env.encoder.batching import MOST_BYTES, computes_in_bfloat16, group_sizes, pad_rows, rows_to_run
from trbert_env.encoder.cuts import check_reduction_layers, default_reduction_layers, layers_before
from trbert_env.encoder.families import family_of
from trbert_env.encoder.first_tokens import first_rows
from trbert_env.encoder.packing import Layout, PackedTokens
from trbert_env.encoder.positions import first_position, longest_sequence
from trbert_env.encoder.sequences import PackedSequences, Recorder
from trbert_env.encoder.texts import TextBatch

#: What computes one layer, or half of one: its index, states ``(1, rows, hidden)``, the sequences that they are of, and
#: what the layers of a stage share.
_Compute = Callable[[int, Tensor, PackedSequences, Any], Tensor]
#: That, and the 0-based layer that it is of.
_Step = tuple[_Compute, int]


class StagedEncoder:
    """Runs a stock encoder stage by stage on packed tokens.

    Stage t is what lies between reduction t and the next: stage 0 what lies before the first cut, stage T what lies
    behind the last one; see :mod:`trbert_env.encoder.cuts`. The model's own layers do the work; only their attention
    function is exchanged, for one that still serves stock padded calls.

    Args:
        model: A transformers model of a family in :data:`~trbert_env.encoder.families.FAMILIES`, with or without a
            task head.
        reduction_layers: Cuts that tokens are dropped at: 2 before layer 2, 1.5 within layer 1. None for the default
            of the family.
        first_tokens_only: True where no last states are read but those of first tokens, as by a classifier: the last
            layer then computes no others (:mod:`trbert_env.encoder.first_tokens`), which keep the state that they
            entered it with.

    Raises:
        ValueError: The family is not supported, or the reduction layers do not fit its depth.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        reduction_layers: Sequence[float] | None = None,
        first_tokens_only: bool = False,
    ) -> None:
        #: See the class.
        self.first_tokens_only = first_tokens_only
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
    def stage_bounds(self) -> tuple[tuple[float, float], ...]:
        """Layers that have run before and behind each of the T + 1 stages; halves where a cut lies within a layer."""
        cuts = [0, *map(layers_before, self.reduction_layers), self.num_layers]
        return tuple(itertools.pairwise(cuts))

    def with_layers(self, layers: Sequence[int]) -> StagedEncoder:
        """Return an encoder of some of the layers, which shares their weights and has no cuts.

        Args:
            layers: Layers in the order in which they run, counted from 0.
        """
        some = copy.copy(self)
        some._layers = nn.ModuleList(self._layers[layer] for layer in layers)
        some.num_layers, some.reduction_layers = len(layers), ()
        return some

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

        The last one computes all states, whatever is read.

        Args:
            states: ``(rows, hidden)`` states that enter the stage.
            packed: Sequences that the rows are of; rows behind them are padding, and come out as anything.
            stage: The stage.
        """
        return self._run_rows(states, packed, self._whole_steps(*self.stage_bounds[stage]), None)

    def run_layers(
        self,
        tokens: PackedTokens,
        first: float,
        last: float,
        received: list[Tensor] | None = None,
        all_states: bool = False,
    ) -> PackedTokens:
        """Run what lies between two numbers of layers, ``[first, last)``.

        Args:
            tokens: States that enter.
            first: Layers that have run; 0.5 more where the attention of the next has, too.
            last: Layers that have run behind it.
            received: List to which the last attention appends what each token received; None for none.
            all_states: True for the last states of all tokens, whatever is read.
        """
        steps = self._whole_steps(first, last) if all_states else self._steps(first, last)
        return self._run(tokens, steps, None if received is None else Recorder(received))

    def run_padded(self, states: Tensor, bias: Tensor, first: float, last: float) -> Tensor:
        """Run what lies between two numbers of layers on padded sequences, whole layers by their own stock call.

        Args:
            states: ``(num_sequences, width, hidden)``.
            bias: ``(num_sequences, 1, 1, width)`` to add to the scores of attention: 0 for tokens, far below
                zero for padding.
            first: Layers that have run, halves counted; see :meth:`run_layers`.
            last: Layers that have run behind it.

        Returns:
            ``(num_sequences, width, hidden)``; ``(num_sequences, 1, hidden)`` behind the last layer of an encoder of
            which first tokens alone are read.
        """
        for compute, index in self._steps(first, last):
            layer = self._layers[index]
            if compute == self._last_layer:
                states = self.family.padded_attention_half(layer, states, bias, from_first=True)
                states = self.family.feed_forward_half(layer, states)
            elif compute == self._attention:
                states = self.family.padded_attention_half(layer, states, bias)
            elif compute == self._feed_forward:
                states = self.family.feed_forward_half(layer, states)
            else:
                states = layer(states, attention_mask=bias)
        return states

    def run_attention(self, tokens: PackedTokens, index: int, recorder: Recorder | None = None) -> PackedTokens:
        """Run the first half of a layer: attention, residual connection and norm.

        Args:
            tokens: Tokens that enter it.
            index: 0-based layer.
            recorder: Recorder of the attention that tokens receive; None where it is not wanted.
        """
        return self._run(tokens, [(self._attention, index)], recorder)

    def run_feed_forward(self, tokens: PackedTokens, index: int) -> PackedTokens:
        """Run the second half of a layer: feed-forward network, residual connection and norm.

        Args:
            tokens: Tokens that enter it.
            index: 0-based layer.
        """
        return self._run(tokens, [(self._feed_forward, index)], None)

    def finish(self, states: Tensor) -> Tensor:
        """Return the last hidden states that a task head reads, from states behind any layer: ``(rows, hidden)``.

        Args:
            states: ``(rows, hidden)``; in some families a norm follows the last layer, which stopped tokens take too.
        """
        return self.family.finish(self._base, states)

    def _steps(self, first: float, last: float) -> list[_Step]:
        """What lies between two numbers of layers, and is read."""
        steps = self._whole_steps(first, last)
        last_layer = self.num_layers - 1
        if self.first_tokens_only and steps and steps[-1] == (self._layer, last_layer):
            steps[-1] = (self._last_layer, last_layer)
        return steps

    def _whole_steps(self, first: float, last: float) -> list[_Step]:
        """What lies between two numbers of layers, for all tokens: whole layers, and halves at the ends."""
        if first >= last:
            return []
        begin, end = math.ceil(first), math.floor(last)
        steps: list[_Step] = [(self._layer, index) for index in range(begin, end)]
        if first < begin:
            steps.insert(0, (self._feed_forward, begin - 1))
        if end < last:
            steps.append((self._attention, end))
        return steps

    def _layer(self, index: int, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        return self.family.layer(self._layers[index], states, packed, shared)

    def _attention(self, index: int, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        return self.family.attention_half(self._layers[index], states, packed, shared)

    def _feed_forward(self, index: int, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        return self.family.feed_forward_half(self._layers[index], states)

    def _last_layer(self, index: int, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        if packed.recorder is not None:  # what tokens receive is of all queries
            return self._layer(index, states, packed, shared)
        first, layer = first_rows(packed, states), self._layers[index]
        own = self.family.attention_half_from_first(layer, states, first, packed, shared)
        own, count = self.family.feed_forward_half(layer, own), len(packed.lengths)
        return states.index_copy(1, first[:count], own[:, :count].to(states.dtype))  # without what pads them

    def _run(self, tokens: PackedTokens, steps: Sequence[_Step], recorder: Recorder | None) -> PackedTokens:
        """Run steps in turn, over groups of sequences that fit the cache; the last one records."""
        lengths = tokens.layout.sequence_lengths
        own = None if recorder is None else replace(recorder, found=[])
        total, most = len(tokens.states), self._most_tokens(tokens.states)
        groups = (lengths,) if total <= most else lengths.split(group_sizes(lengths, most))
        sizes = [total] if len(groups) == 1 else [int(group.sum()) for group in groups]
        rows = [rows_to_run(tokens.states[:size]) for size in sizes]
        places: Sequence[Tensor | None] = [None] * len(sizes)
        if self.family.reads_positions:
            places = _padded_groups(_sequence_positions(tokens.layout), sizes, rows)
        outputs = [
            self._run_rows(states, PackedSequences.of(group, place), steps, own)[:size]
            for states, group, place, size in zip(
                _padded_groups(tokens.states, sizes, rows), groups, places, sizes, strict=True
            )
        ]
        if recorder is not None and own is not None:
            recorder.found.append(torch.cat(own.found))
        return PackedTokens(outputs[0] if len(outputs) == 1 else torch.cat(outputs), tokens.layout)

    def _run_rows(
        self, states: Tensor, packed: PackedSequences, steps: Sequence[_Step], recorder: Recorder | None
    ) -> Tensor:
        """Rows through the steps: ``(rows, hidden)``."""
        states = states[None]
        shared = self.family.prepare(self._base, states, packed)
        for number, (compute, index) in enumerate(steps, start=1):
            packed.recorder = recorder if number == len(steps) else None
            states = compute(index, states, packed, shared)
        return states[0]

    def _most_tokens(self, states: Tensor) -> int:
        """Tokens that run together: all of them on a GPU, as many as fit :data:`MOST_BYTES` on a CPU."""
        if states.device.type != "cpu":
            return max(1, len(states))
        size = 2 if computes_in_bfloat16(states) else states.element_size()
        return max(1, MOST_BYTES // (self.intermediate_size * size))

    def run_unreduced(self, batch: TextBatch) -> PackedTokens:
        """Return the last hidden states of a batch of which nothing is skipped, as far as they are read."""
        tokens = self.run_layers(self.embed(batch), 0, self.num_layers)
        return PackedTokens(self.finish(tokens.states), tokens.layout)

    def run_stage(
        self, tokens: PackedTokens, stage: int, received: list[Tensor] | None = None, all_states: bool = False
    ) -> PackedTokens:
        """Run the layers of one stage; see :attr:`stage_bounds` and :meth:`run_layers`."""
        return self.run_layers(tokens, *self.stage_bounds[stage], received, all_states)


def _padded_groups(values: Tensor, sizes: Sequence[int], rows: Sequence[int]) -> list[Tensor]:
    """Consecutive groups of rows, each with what pads it behind.

    That is the next group, which is there, or 0 where it is not. With gradients it is 0 always: a split gives them back
    as one tensor, slices would fill one each.

    Args:
        values: ``(total, ...)``.
        sizes: Rows of each group.
        rows: Rows of each group, padded.
    """
    if values.requires_grad:
        groups = list(values.split(list(sizes)))
    else:
        starts = itertools.accumulate(sizes, initial=0)
        groups = [values[start : start + count] for start, count in zip(starts, rows, strict=False)]
    return [pad_rows(group, count) for group, count in zip(groups, rows, strict=True)]


def _sequence_positions(layout: Layout) -> Tensor:
    """``(total_tokens,)`` int64: where in its sequence each token stood; first tokens always stay."""
    starts = layout.positions.index_select(0, layout.sequence_starts.to(layout.device))
    lengths = layout.sequence_lengths.to(layout.device)
    return layout.positions - starts.repeat_interleave(lengths, output_size=layout.total_tokens)
