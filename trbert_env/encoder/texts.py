"""Texts as token ids: one text, and a packed batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_env.encoder.packing import Layout, segment_starts


@dataclass(frozen=True)
class EncodedText:
    """One text: what earns one reward. One or more sequences, laid end to end.

    Attributes:
        text_id: Unique within a split.
        input_ids: ``(n,)`` int32 token ids, special tokens included, no padding.
        token_type_ids: ``(n,)`` int32 segment ids (all 0 where the encoder family has none).
        sequence_lengths: Tokens of each sequence; they sum to ``n``.
        target: ``(target_size,)`` int64, the gold answer in the task's own terms.
    """

    text_id: str
    input_ids: npt.NDArray[np.int32]
    token_type_ids: npt.NDArray[np.int32]
    sequence_lengths: tuple[int, ...]
    target: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self.input_ids)

    @property
    def record_id(self) -> str:
        """The id of the record that it was made of."""
        return self.text_id


@dataclass(frozen=True)
class TextBatch:
    """Token ids of several texts, packed: no padding.

    Attributes:
        input_ids: ``(total_tokens,)`` int64.
        token_type_ids: ``(total_tokens,)`` int64.
        sequence_positions: ``(total_tokens,)`` int64, 0 at every sequence's first token.
        layout: Bounds of texts and sequences.
    """

    input_ids: Tensor
    token_type_ids: Tensor
    sequence_positions: Tensor
    layout: Layout

    @classmethod
    def from_texts(cls, texts: Sequence[EncodedText], device: torch.device | str = "cpu") -> TextBatch:
        """Lay ``texts`` end to end on ``device``.

        Raises:
            ValueError: There is none.
        """
        if not texts:
            raise ValueError("the batch holds no text: give at least one")
        layout = full_layout(texts, device)
        input_ids = np.concatenate([text.input_ids for text in texts]).astype(np.int64)
        token_type_ids = np.concatenate([text.token_type_ids for text in texts]).astype(np.int64)
        positions = np.concatenate([np.arange(length) for length in layout.sequence_lengths.tolist()])
        return cls(
            torch.from_numpy(input_ids).to(device),
            torch.from_numpy(token_type_ids).to(device),
            torch.from_numpy(positions).to(device),
            layout,
        )

    @classmethod
    def from_padded(
        cls, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> TextBatch:
        """Take the padding out of a tokenizer's tensors.

        Args:
            input_ids: ``(num_texts, width)``, or ``(num_texts, sequences, width)`` where a text has several.
            attention_mask: 1 for tokens, 0 for padding, of the same shape; all are tokens where it is None. A text may
                have fewer sequences than others: the last ones are then all padding.
            token_type_ids: Token type ids of the same shape; all 0 where it is None.

        Raises:
            ValueError: There is no row, or one is padded anywhere but on the right; or a text is empty, or has an empty
                sequence before another.
        """
        if input_ids.dim() not in (2, 3) or not input_ids.numel():
            raise ValueError(
                f"input_ids have the shape {tuple(input_ids.shape)}: give (num_texts, width) or (num_texts, sequences, "
                "width), all above 0"
            )
        num_texts, width = input_ids.shape[0], input_ids.shape[-1]
        input_ids = input_ids.reshape(-1, width)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.reshape(-1, width)
        mask = mask.bool()
        lengths = mask.sum(1).cpu()
        per_text = _sequence_counts(lengths.view(num_texts, -1))
        late = (mask[:, 1:] & ~mask[:, :-1]).any(1).tolist()
        if any(late):
            raise ValueError(f"attention_mask has a 0 before a 1 in row {late.index(True)}: pad on the right")
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids.reshape(-1, width)
        positions = torch.arange(width, device=input_ids.device).expand_as(input_ids)
        layout = Layout.from_lengths(lengths[lengths > 0].tolist(), per_text, input_ids.device)
        return cls(input_ids[mask], types[mask], positions[mask], layout)


def full_layout(texts: Sequence[EncodedText], device: torch.device | str = "cpu") -> Layout:
    """Return the layout of texts laid end to end, all of their tokens in play.

    Args:
        texts: The texts.
        device: Device of the per-token tensors.
    """
    lengths = [length for text in texts for length in text.sequence_lengths]
    return Layout.from_lengths(lengths, [len(text.sequence_lengths) for text in texts], device)


def without_padding(padded: Tensor, layout: Layout) -> Tensor:
    """Return values of the tokens of padded sequences, end to end: ``(total_tokens, ...)``.

    Args:
        padded: ``(num_sequences, width, ...)``, padded on the right.
        layout: The layout of the full texts.
    """
    lengths = layout.sequence_lengths.to(padded.device)
    return padded[torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]]


def padded_places(layout: Layout, shape: torch.Size) -> Tensor:
    """Return where each token of full texts stands in padded token ids, once these are flat.

    Args:
        layout: The layout of the full texts.
        shape: The shape of the token ids, ``(num_texts, width)`` or ``(num_texts, sequences, width)``.

    Returns:
        ``(total_tokens,)`` int64 on the CPU.

    Example:
        >>> padded_places(Layout.from_lengths([2, 1, 2], [1, 2]), torch.Size([2, 2, 3])).tolist()
        [0, 1, 6, 9, 10]
    """
    sequence = torch.repeat_interleave(layout.sequence_lengths)
    inside = torch.arange(len(sequence)) - layout.sequence_starts[sequence]
    return padded_rows(layout, shape)[sequence] * shape[-1] + inside


def padded_rows(layout: Layout, shape: torch.Size) -> Tensor:
    """Return the row of each sequence in padded token ids, once their rows lie end to end.

    Args:
        layout: The layout of the full texts.
        shape: The shape of the token ids, as :func:`padded_places` takes it.

    Returns:
        ``(num_sequences,)`` int64 on the CPU.
    """
    text = torch.repeat_interleave(layout.sequences_per_text)
    number = torch.arange(len(text)) - segment_starts(layout.sequences_per_text)[text]
    return text * (shape[:-1].numel() // shape[0]) + number


def _sequence_counts(lengths: Tensor) -> list[int]:
    """Sequences of each text, from the tokens of its rows, ``(num_texts, rows)``."""
    there = lengths > 0
    empty = (~there[:, 0]).tolist()
    if any(empty):
        raise ValueError(f"row {empty.index(True)} of input_ids has no tokens: leave empty texts out")
    late = (there[:, 1:] & ~there[:, :-1]).any(1).tolist()
    if any(late):
        raise ValueError(f"text {late.index(True)} of input_ids has an empty sequence before another: put it last")
    counts: list[int] = there.sum(1).tolist()
    return counts
