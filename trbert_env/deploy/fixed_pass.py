"""A reduced pass of fixed shapes: what a CUDA graph can hold, and nothing on the way waits for the device.

An eager pass asks the device how many tokens were kept, to make tensors of that size. Here each stage has room for a
number of rows that is known before: the tokens that stay are moved to its front, rows behind them are padding, and
attention reads the bounds of the sequences on the device. If more tokens stay than there is room for, the result is of
no use; :attr:`FixedResult.counts` tells, once the pass is over.

==================  ===================  =================================================================
symbol              shape                meaning
==================  ===================  =================================================================
``rows``                                 room of a stage; the first has that of the batch
``sequences``                            room for sequences; those that are not there have no tokens
``cu_seqlens``      (sequences + 1,)     bounds of the sequences, int32; the last entry is the tokens there are
==================  ===================  =================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import pad

from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.sequences import PackedSequences
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.decision import DecisionRule, logit


@dataclass(frozen=True)
class Room:
    """Sizes of all tensors of a pass.

    Attributes:
        rows: Rows of each of the T + 1 stages, never rising.
        sequences: Sequences.
        longest: Tokens of the longest sequence, at most.
        width: Tokens of the longest text, at most.
    """

    rows: tuple[int, ...]
    sequences: int
    longest: int
    width: int


@dataclass(frozen=True)
class FixedInputs:
    """A batch in tensors of fixed shapes; what lies behind its tokens may be anything that can be embedded.

    Attributes:
        input_ids: ``(rows,)`` int64.
        token_type_ids: ``(rows,)`` int64.
        sequence_positions: ``(rows,)`` int64.
        overlap: ``(rows, num_features)`` float32 lexical overlap; no columns where the policy sees none.
        text_index: ``(rows,)`` int64 texts, of which there are at most as many as sequences.
        positions: ``(rows,)`` int64 positions in the text.
        text_lengths: ``(sequences,)`` int64; 1 for texts that are not there.
        cu_seqlens: ``(sequences + 1,)`` int32.
    """

    input_ids: Tensor
    token_type_ids: Tensor
    sequence_positions: Tensor
    overlap: Tensor
    text_index: Tensor
    positions: Tensor
    text_lengths: Tensor
    cu_seqlens: Tensor

    @classmethod
    def of(cls, batch: TextBatch, overlap: Tensor, room: Room) -> FixedInputs:
        """Lay a batch out, on its own device and without looking at a value there.

        Args:
            batch: The texts.
            overlap: ``(total_tokens, num_features)`` float32.
            room: Sizes, which the batch fits in.
        """
        layout, device = batch.layout, batch.layout.device
        missing, absent = room.rows[0] - layout.total_tokens, room.sequences - len(layout.sequence_lengths)
        bounds = pad(layout.sequence_lengths.cumsum(0), (1, 0)).to(torch.int32)
        bounds = torch.cat([bounds, bounds[-1:].expand(absent)])
        return cls(
            pad(batch.input_ids, (0, missing)),
            pad(batch.token_type_ids, (0, missing)),
            pad(batch.sequence_positions, (0, missing)),
            pad(overlap, (0, 0, 0, missing)),
            pad(layout.text_index, (0, missing)),
            pad(layout.positions, (0, missing)),
            pad(layout.text_lengths, (0, room.sequences - layout.num_texts), value=1),
            bounds.to(device),
        )

    def copy_(self, other: FixedInputs) -> None:
        """Overwrite all tensors, which stay where they are.

        Args:
            other: Inputs of the same sizes.
        """
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name), non_blocking=True)


@dataclass(frozen=True)
class FixedResult:
    """Result of a pass, on the device.

    Attributes:
        states: ``(rows, hidden)`` last states in text order.
        stops: ``(rows,)`` int64 reduction that each token stopped at, T where it went to the end.
        counts: ``(T, sequences + 1)`` int64: tokens that each reduction kept of each sequence, and in all. If one of
            the last column is beyond the room of its stage, states and stops are of no use.
        places: T tensors ``(rows of the stage,)`` int64: rows in text order of the tokens behind each reduction; as
            many as there are tokens count.
    """

    states: Tensor
    stops: Tensor
    counts: Tensor
    places: tuple[Tensor, ...]


def run_fixed(model: TokenReducedModel, inputs: FixedInputs, room: Room, rule: DecisionRule) -> FixedResult:
    """Run the embeddings, all stages and the policy between them.

    Args:
        model: Model, of a family whose layers read no positions.
        inputs: Batch.
        room: Sizes.
        rule: Decision rule.
    """
    encoder, last = model.encoder, len(room.rows) - 1
    cu_seqlens, overlap = inputs.cu_seqlens.long(), inputs.overlap
    rows = torch.arange(room.rows[0], device=cu_seqlens.device)
    valid, places = rows < cu_seqlens[-1], rows
    states = encoder.embed_rows(inputs.input_ids, inputs.token_type_ids, inputs.sequence_positions)
    # One row more than there are takes what padding writes.
    final = states.new_zeros(room.rows[0] + 1, states.shape[-1])
    stops = torch.full((room.rows[0] + 1,), last, device=rows.device)
    counts, all_places = [], []
    for stage, room_behind in enumerate((*room.rows[1:], 0)):
        states = encoder.run_rows(states, _sequences(cu_seqlens, room), stage)
        final.index_copy_(0, places, states)
        if stage == last:
            break
        logits = model.policy(states, stage, overlap)
        first = _first_rows(cu_seqlens, len(rows))
        keep = (_chosen(rule, logits, first, valid, places, inputs, room, stage) | first) & valid
        stops.index_copy_(0, places, torch.where(keep, last, stage))
        index = torch.nonzero_static(keep, size=room_behind, fill_value=len(rows)).squeeze(1)
        running = pad(keep.cumsum(0), (1, 0))
        cu_seqlens = running[cu_seqlens]
        counts.append(torch.cat([cu_seqlens.diff(), running[-1:]]))
        cu_seqlens = cu_seqlens.clamp(max=room_behind)
        # The row behind the last is that of padding.
        states, overlap = (pad(values, (0, 0, 0, 1)).index_select(0, index) for values in (states, overlap))
        places = pad(places, (0, 1), value=room.rows[0]).index_select(0, index)
        valid, rows = index < len(rows), rows[:room_behind]
        all_places.append(places)
    return FixedResult(encoder.finish(final[:-1]), stops[:-1], torch.stack(counts), tuple(all_places))


def _sequences(cu_seqlens: Tensor, room: Room) -> PackedSequences:
    """Sequences for attention, which reads their bounds on the device; a CPU is told their lengths."""
    on_cpu = cu_seqlens.device.type == "cpu"
    lengths = [length for length in cu_seqlens.diff().tolist() if length] if on_cpu else []
    return PackedSequences(lengths, cu_seqlens.to(torch.int32), longest=room.longest)


def _first_rows(cu_seqlens: Tensor, count: int) -> Tensor:
    """``(count,)`` bool: True for each sequence's first token, and for the row behind the last token."""
    first = torch.zeros(count + 1, dtype=torch.bool, device=cu_seqlens.device)
    return first.index_fill_(0, cu_seqlens[:-1], True)[:-1]


def _chosen(
    rule: DecisionRule,
    logits: Tensor,
    first: Tensor,
    valid: Tensor,
    places: Tensor,
    inputs: FixedInputs,
    room: Room,
    stage: int,
) -> Tensor:
    """``(rows,)`` bool: what a decision rule keeps; rows of padding may be either."""
    if rule.keep_fractions is None:
        return logits >= logit(rule.threshold)
    beyond = room.sequences * room.width
    text_places = inputs.text_index * room.width + inputs.positions
    cells = torch.where(valid, pad(text_places, (0, 1)).index_select(0, places), beyond)

    def padded(values: Tensor) -> Tensor:
        spread = values.new_zeros(beyond + 1).index_copy_(0, cells, values)
        return spread[:-1].view(room.sequences, room.width)

    chosen = rule(padded(logits), padded(valid), padded(first & valid), inputs.text_lengths, stage)
    return pad(chosen.flatten(), (0, 1)).index_select(0, cells)
