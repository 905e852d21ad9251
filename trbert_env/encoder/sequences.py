"""Bounds of the sequences of a packed call, what is added to their attention scores, and what is recorded of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


@dataclass
class Recorder:
    """The attention that the tokens of a layer receive.

    Attributes:
        found: List that a layer appends its ``(total_tokens,)`` float32 to.
        diagonal: True to count the attention that a token pays to itself.
        once: True to compute the layer's output from the same probabilities, so that they are computed once; the
            output then differs by rounding from that of a layer that records nothing.
    """

    found: list[Tensor] = field(default_factory=list)
    diagonal: bool = True
    once: bool = False


@dataclass
class PackedSequences:
    """Bounds of the sequences in a packed call, made once a stage and handed to each of its layers.

    Attributes:
        lengths: Tokens of each sequence. Rows after their sum are padding and get zeros.
        cu_seqlens: ``(num_sequences + 1,)`` int32 on the tokens' device; None until it is asked for, see
            :meth:`bounds`.
        recorder: Recorder of the attention that tokens receive; None where it is not wanted.
        positions: ``(rows,)`` int64: where in its sequence each token stood before any was dropped, 0 for padding;
            None for families whose layers do not read it.
        longest: Tokens of the longest sequence at most, where the lengths are not known on the host: ``lengths`` is
            then empty, and only the varlen kernel serves. None for the greatest of ``lengths``.
    """

    lengths: list[int]
    cu_seqlens: Tensor | None = field(default=None)
    recorder: Recorder | None = field(default=None)
    positions: Tensor | None = field(default=None)
    longest: int | None = field(default=None)

    @classmethod
    def of(cls, lengths: Tensor, positions: Tensor | None = None) -> PackedSequences:
        """Sequences of these lengths, ``(num_sequences,)`` on the CPU, end to end.

        Args:
            lengths: Tokens of each sequence.
            positions: See :attr:`positions`.
        """
        return cls(lengths.tolist(), positions=positions)

    def bounds(self, device: torch.device) -> Tensor:
        """Return :attr:`cu_seqlens`, made at the first call: on a CPU nothing reads it.

        Args:
            device: Device of the tokens.
        """
        if self.cu_seqlens is None:
            ends = list(itertools.accumulate(self.lengths, initial=0))
            self.cu_seqlens = torch.tensor(ends, dtype=torch.int32).to(device)
        return self.cu_seqlens

    @property
    def places(self) -> Tensor:
        """Positions, for families whose layers read them."""
        assert self.positions is not None
        return self.positions

    @cached_property
    def reach(self) -> int:
        """One more than the greatest distance that two tokens of a sequence can have."""
        return int(self.places.max()) + 1

    def distances(self) -> Tensor:
        """Return all distances from a query to a key, ``(2 reach - 1,)`` int64, from the lowest on."""
        return torch.arange(1 - self.reach, self.reach, device=self.places.device)

    def pairs(self) -> list[Tensor]:
        """Return the row of each pair's distance in :meth:`distances`, ``(n, n)`` (query, key) for each sequence."""
        places = self.places[: sum(self.lengths)].split(self.lengths)
        return [own[None, :] - own[:, None] + (self.reach - 1) for own in places]


class AttentionBias(Protocol):
    """Bias that a family adds to the attention scores of packed sequences."""

    def of(self, sequence: int, query: Tensor, key: Tensor) -> Tensor:
        """Return what is added to the scaled scores of a sequence, ``(heads or 1, n, n)``.

        Args:
            sequence: Index of the sequence in the packed call.
            query: ``(heads, n, head_dim)``.
            key: ``(heads, n, head_dim)``.
        """


@dataclass(frozen=True)
class PositionBias:
    """A bias that follows from positions alone, and is the same in all layers; an :class:`AttentionBias`.

    Attributes:
        found: Bias of each sequence, ``(heads or 1, n, n)``.
    """

    found: list[Tensor]

    @classmethod
    def from_table(cls, table: Tensor, packed: PackedSequences) -> PositionBias:
        """Return the bias that each distance from a query to a key has.

        Args:
            table: ``(heads or 1, 2 reach - 1)``, in the order of :meth:`PackedSequences.distances`.
            packed: The sequences.
        """
        return cls([table[:, pairs] for pairs in packed.pairs()])

    def of(self, sequence: int, query: Tensor, key: Tensor) -> Tensor:
        """Return the bias of a sequence; see :class:`AttentionBias`."""
        return self.found[sequence].to(query.dtype)
