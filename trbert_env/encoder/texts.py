"""Texts as token ids: one text, and a packed batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_env.encoder.packing import Layout


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
            attention_mask: 1 for tokens, 0 for padding on either side, of the same shape; all are tokens where it is
                None. A text may have fewer sequences than others: the last ones are then all padding.
            token_type_ids: Token type ids of the same shape; all 0 where it is None.

        Raises:
            ValueError: There is no row, or one has padding between its tokens; a text is empty, or has an empty
                sequence before another; or the shapes differ.
        """
        if input_ids.dim() not in (2, 3) or not input_ids.numel():
            raise ValueError(
                f"input_ids have the shape {tuple(input_ids.shape)}: give (num_texts, width) or (num_texts, sequences, "
                "width), all above 0"
            )
        mask = token_mask(input_ids, attention_mask).flatten(end_dim=-2)
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        check_shape("token_type_ids", types, input_ids.shape)
        lengths = mask.sum(1).cpu()
        per_text = _sequence_counts(lengths.view(len(input_ids), -1))
        _check_holes(mask)
        layout = Layout.from_lengths(lengths[lengths > 0].tolist(), per_text, input_ids.device)
        positions = mask.cumsum(1) - 1
        ids, types = (part.reshape(mask.shape)[mask].long() for part in (input_ids, types))
        return cls(ids, types, positions[mask], layout)


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


def token_mask(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return which entries of padded token ids are tokens: a bool mask of their shape.

    Args:
        input_ids: Token ids.
        attention_mask: 1 for tokens, 0 for padding, of any type; None where all are tokens.

    Raises:
        ValueError: The mask is of another shape, or has other values.
    """
    if attention_mask is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    check_shape("attention_mask", attention_mask, input_ids.shape)
    if attention_mask.dtype == torch.bool:
        return attention_mask
    mask = attention_mask.bool()
    if bool((attention_mask != mask).any()):
        value = attention_mask[attention_mask != mask][0].item()
        raise ValueError(f"attention_mask holds {value}: give 1 for tokens and 0 for padding")
    return mask


def check_shape(name: str, values: Tensor, shape: torch.Size) -> None:
    """Refuse values that do not lie beside token ids.

    Args:
        name: Name of the values.
        values: The values.
        shape: Shape of the token ids.

    Raises:
        ValueError: They are of another shape.
    """
    if values.shape != shape:
        raise ValueError(f"{name} has the shape {tuple(values.shape)}, and input_ids {tuple(shape)}: they must agree")


def spread(values: Tensor, mask: Tensor, fill: float = 0.0) -> Tensor:
    """Put values that lie end to end where a mask is True: ``(*mask.shape, ...)``, with gradients.

    Args:
        values: ``(number of True entries, ...)``.
        mask: A bool mask of any shape.
        fill: Value of all other entries.

    Example:
        >>> mask = torch.tensor([[True, True, False], [False, True, False]])
        >>> spread(torch.tensor([1.0, 2.0, 3.0]), mask, -1.0).tolist()
        [[1.0, 2.0, -1.0], [-1.0, 3.0, -1.0]]
    """
    places = mask.flatten().nonzero().squeeze(1).to(values.device)
    spread_out = values.new_full((mask.numel(), *values.shape[1:]), fill).index_copy(0, places, values)
    return spread_out.view(*mask.shape, *values.shape[1:])


def _check_holes(mask: Tensor) -> None:
    """Refuse rows with padding between their tokens, ``(rows, width)`` bool.

    Raises:
        ValueError: A row has some.
    """
    begins = mask[:, 0] + (mask[:, 1:] & ~mask[:, :-1]).sum(1)
    broken = (begins > 1).tolist()
    if any(broken):
        raise ValueError(
            f"attention_mask has a 0 between two 1s in row {broken.index(True)}: pad on the left or on the right"
        )


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
