"""Packed tokens: states of many texts in one ``(total_tokens, hidden)`` tensor, without padding.

=====================  ==================  =======================================================
symbol                 shape               meaning
=====================  ==================  =======================================================
``states``             (total, hidden)     one row a token still in play
``text_index``         (total,)            the text (row) that a token belongs to
``positions``          (total,)            where in its text the token stood at the start
``sequence_lengths``   (num_sequences,)    tokens still in play; kept on the CPU
``sequences_per_text`` (num_texts,)        1, or as many as slices or options; kept on the CPU
``text_lengths``       (num_texts,)        tokens of the whole text, before any was dropped
=====================  ==================  =======================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Which token belongs where: the offsets of texts and of their sequences.

    Tokens keep their order under :meth:`select`, so that dropping tokens never moves them
    between texts; ``positions`` remembers where each came from.
    """

    text_index: Tensor
    positions: Tensor
    sequence_lengths: Tensor
    sequences_per_text: Tensor
    text_lengths: Tensor

    @classmethod
    def from_lengths(
        cls,
        sequence_lengths: Sequence[int],
        sequences_per_text: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> Layout:
        """A layout with every token in play.

        Args:
            sequence_lengths: Tokens of every sequence, text by text.
            sequences_per_text: Number of sequences of each text.
            device: Device of the per-token tensors.

        Example:
            >>> layout = Layout.from_lengths([2, 3, 1], [2, 1])
            >>> layout.text_index.tolist(), layout.positions.tolist()
            ([0, 0, 0, 0, 0, 1], [0, 1, 2, 3, 4, 0])
        """
        # Whatever the default device is just now.
        lengths = torch.tensor(sequence_lengths, dtype=torch.int64, device="cpu")
        per_text = torch.tensor(sequences_per_text, dtype=torch.int64, device="cpu")
        text_lengths = _segment_sums(lengths, per_text)
        text_index = torch.repeat_interleave(text_lengths)
        positions = torch.arange(len(text_index), device="cpu") - segment_starts(text_lengths)[text_index]
        return cls(text_index.to(device), positions.to(device), lengths, per_text, text_lengths.to(device))

    @property
    def num_texts(self) -> int:
        """The number of texts (rows)."""
        return len(self.sequences_per_text)

    @property
    def total_tokens(self) -> int:
        """Tokens in play, over all texts."""
        return len(self.text_index)

    @property
    def device(self) -> torch.device:
        """Where the per-token tensors live."""
        return self.text_index.device

    @cached_property
    def sequence_starts(self) -> Tensor:
        """``(num_sequences,)`` int64 on the CPU: the packed index of every sequence's first token."""
        return segment_starts(self.sequence_lengths)

    @cached_property
    def token_counts(self) -> Tensor:
        """``(num_texts,)`` int64 on the CPU: tokens in play, of each text."""
        return self.text_sums(self.sequence_lengths)

    def text_sums(self, values: Tensor) -> Tensor:
        """Sum values of sequences over the sequences of each text: ``(num_texts,)``, of their type.

        Args:
            values: ``(num_sequences,)`` on the CPU.

        Example:
            >>> Layout.from_lengths([2, 3, 1], [2, 1]).text_sums(torch.tensor([0.5, 1.0, 2.0])).tolist()
            [1.5, 2.0]
        """
        return _segment_sums(values, self.sequences_per_text)

    @classmethod
    def joined(cls, layouts: Sequence[Layout]) -> Layout:
        """Return the layout of the texts of several layouts, one behind the other, every token in play.

        Args:
            layouts: The layouts, of which all tokens are in play.

        Example:
            >>> Layout.joined([Layout.from_lengths([2, 3], [2]), Layout.from_lengths([4], [1])]).token_counts.tolist()
            [5, 4]
        """
        lengths = torch.cat([layout.sequence_lengths for layout in layouts])
        counts = torch.cat([layout.sequences_per_text for layout in layouts])
        return cls.from_lengths(lengths.tolist(), counts.tolist())

    @cached_property
    def first_tokens(self) -> Tensor:
        """``(total,)`` bool: True for each sequence's first token ([CLS]), which is always kept."""
        first = torch.zeros(self.total_tokens, dtype=torch.bool, device=self.device)
        first[self.sequence_starts.to(self.device)] = True
        return first

    def counts_of(self, keep: Tensor) -> Tensor:
        """Count the tokens of each sequence where ``keep`` ((total,) bool) is True: ``(num_sequences,)`` on the CPU.

        The one thing about a mask that a host has to wait for where tokens lie on a GPU. On the CPU numpy counts: for a
        single text, the number of calls and what each takes is the cost.
        """
        if keep.device.type == "cpu":
            sums = np.cumsum(np.concatenate([[0], keep.numpy()]))
            first = self.sequence_starts.numpy()
            return torch.from_numpy(sums[first + self.sequence_lengths.numpy()] - sums[first])
        running = torch.cat([keep.new_zeros(1, dtype=torch.int64), keep.cumsum(0)])
        starts = self.sequence_starts.to(self.device)
        return (running[starts + self.sequence_lengths.to(self.device)] - running[starts]).cpu()

    def select(self, keep: Tensor) -> Layout:
        """Return the layout of the tokens where ``keep`` ((total,) bool) is True."""
        counts = self.counts_of(keep)
        return self.take(rows_where(keep, counts), counts)

    def take(self, index: Tensor, counts: Tensor) -> Layout:
        """Return the layout of some of the tokens, in the order that they have.

        Args:
            index: Rows of these tokens, ``(taken,)`` int64, rising.
            counts: ``(num_sequences,)`` on the CPU: tokens taken of each sequence.
        """
        return Layout(
            self.text_index.index_select(0, index),
            self.positions.index_select(0, index),
            counts,
            self.sequences_per_text,
            self.text_lengths,
        )

    def expand(self, samples: int) -> tuple[Layout, Tensor]:
        """Repeat every text ``samples`` times, copies as neighbours.

        Returns:
            The new layout, and the ``(samples * total,)`` index of each new token into the old ones.
        """
        counts = self.token_counts
        rows = torch.arange(self.num_texts, device="cpu").repeat_interleave(samples)
        new_counts = counts[rows]
        new_text_index = torch.repeat_interleave(new_counts)
        offsets = torch.arange(len(new_text_index), device="cpu") - segment_starts(new_counts)[new_text_index]
        source = (segment_starts(counts)[rows][new_text_index] + offsets).to(self.device)
        layout = Layout(
            new_text_index.to(self.device),
            self.positions[source],
            _repeat_groups(self.sequence_lengths, self.sequences_per_text, samples),
            self.sequences_per_text[rows],
            self.text_lengths[rows.to(self.device)],
        )
        return layout, source

    def pad(self, values: Tensor, width: int) -> Tensor:
        """Spread per-token ``values`` ((total, ...)) to (num_texts, width, ...), each at its text position.

        Positions that hold no token in play are 0.
        """
        padded = values.new_zeros((self.num_texts * width, *values.shape[1:]))
        padded.index_copy_(0, self.text_index * width + self.positions, values)
        return padded.view(self.num_texts, width, *values.shape[1:])

    def gather(self, padded: Tensor) -> Tensor:
        """The reverse of :meth:`pad`: (num_texts, width, ...) to (total, ...)."""
        return padded[self.text_index, self.positions]


@dataclass(frozen=True)
class PackedTokens:
    """States of the tokens in play, ``(total_tokens, hidden)``, with their layout."""

    states: Tensor
    layout: Layout

    def select(self, keep: Tensor) -> PackedTokens:
        """Return the tokens where ``keep`` ((total,) bool) is True, in the same order."""
        counts = self.layout.counts_of(keep)
        return self.take(rows_where(keep, counts), counts)

    def take(self, index: Tensor, counts: Tensor) -> PackedTokens:
        """Return some of the tokens; see :meth:`Layout.take`."""
        return PackedTokens(self.states.index_select(0, index), self.layout.take(index, counts))

    def split(self, keep: Tensor) -> tuple[PackedTokens, PackedTokens, Tensor]:
        """Tell tokens that stay from those that stop.

        Args:
            keep: ``(total,)`` bool.

        Returns:
            Tokens where ``keep`` is True, the others, and the rows of the former, ``(kept,)`` int64.
        """
        counts = self.layout.counts_of(keep)
        stopped = self.layout.sequence_lengths - counts
        index = rows_where(keep, counts)
        return self.take(index, counts), self.take(rows_where(~keep, stopped), stopped), index

    def expand(self, samples: int) -> tuple[PackedTokens, Tensor]:
        """Every text ``samples`` times, copies as neighbours; see :meth:`Layout.expand`."""
        layout, source = self.layout.expand(samples)
        return PackedTokens(self.states.index_select(0, source), layout), source

    def pad(self, width: int) -> Tensor:
        """States as (num_texts, width, hidden), 0 where no token is in play."""
        return self.layout.pad(self.states, width)


def restore_text_order(parts: Sequence[PackedTokens]) -> tuple[Tensor, Tensor]:
    """Put every token's last state back into text order: a skipped token keeps the state it had.

    Args:
        parts: The tokens that stopped at each reduction and those that reached the end; together
            they hold every token of every text exactly once.

    Returns:
        ``(sum of text_lengths, hidden)`` states, texts end to end, with gradients into every part; and
        ``(sum of text_lengths,)`` int64, the index of the part that each came from.

    Raises:
        ValueError: The parts do not hold every token exactly once; on a GPU that is not checked, for the host would
            have to wait.
    """
    lengths = parts[-1].layout.text_lengths
    starts = torch.cumsum(lengths, 0) - lengths
    targets = torch.cat([starts[part.layout.text_index] + part.layout.positions for part in parts])
    states = torch.cat([part.states for part in parts])
    checked = targets.device.type == "cpu"
    total = int(lengths.sum()) if checked else len(targets)
    source = targets.new_full((total,), -1)
    source[targets] = torch.arange(len(targets), device=targets.device)
    if checked and (len(targets) != total or bool((source < 0).any())):
        raise ValueError(f"{len(targets)} states for {total} tokens: each token must stop exactly once")
    sizes = torch.tensor([part.layout.total_tokens for part in parts], device="cpu")
    return states.index_select(0, source), torch.repeat_interleave(sizes).to(source.device)[source]


def rows_where(mask: Tensor, counts: Tensor) -> Tensor:
    """Return the rows where a mask is True, ``(sum of counts,)`` int64, without waiting for the device.

    Args:
        mask: ``(total,)`` bool.
        counts: Numbers on the CPU that add up to its True entries.

    Example:
        >>> rows_where(torch.tensor([True, False, True]), torch.tensor([1, 1])).tolist()
        [0, 2]
    """
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return torch.nonzero_static(mask, size=int(counts.sum())).squeeze(1)


def segment_starts(lengths: Tensor) -> Tensor:
    """Where consecutive pieces of these lengths begin: the exclusive cumulative sum."""
    return torch.cumsum(lengths, 0) - lengths


def _segment_sums(values: Tensor, group_sizes: Tensor) -> Tensor:
    """Sum ``values`` over consecutive groups."""
    sums = torch.zeros(len(group_sizes), dtype=values.dtype, device=values.device)
    return sums.index_add(0, torch.repeat_interleave(group_sizes), values)


def _repeat_groups(values: Tensor, group_sizes: Tensor, samples: int) -> Tensor:
    """Repeat each consecutive group of ``values`` ``samples`` times."""
    groups = torch.split(values, group_sizes.tolist())
    return torch.cat([group.repeat(samples) for group in groups])
