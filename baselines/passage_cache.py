"""A cache of what the lower layers make of passages, for systems that run them apart from the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch


class PassageCache:
    """States of passages behind the lower layers, by their token ids and token types.

    States belong to the weights that computed them: make a new cache, or :meth:`clear` it, when these change.

    Args:
        dtype: Number format in which states are kept: float32, or bfloat16 for half the memory, with its rounding.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype
        self._states: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        """The number of passages."""
        return len(self._states)

    @property
    def num_bytes(self) -> int:
        """Bytes of all states."""
        return sum(states.numel() * states.element_size() for states in self._states.values())

    def clear(self) -> None:
        """Forget all passages."""
        self._states.clear()

    def complete(
        self, segments: TextBatch, is_passage: Sequence[bool], compute: Callable[[TextBatch], Tensor]
    ) -> Tensor:
        """Return the states of all segments, ``(total_tokens, hidden)``; passages that are new are added.

        Args:
            segments: Segments, each a sequence of its own.
            is_passage: True for each segment that is a passage, ``num_sequences`` in all.
            compute: Function that computes the states of segments.
        """
        keys = _keys(segments, is_passage)
        first: dict[bytes, int] = {}  # A passage that comes twice in a batch is computed once.
        new = [
            number
            for number, key in enumerate(keys)
            if key is None or (key not in self._states and first.setdefault(key, number) == number)
        ]
        lengths = segments.layout.sequence_lengths
        states = compute(_picked(segments, new))
        computed = dict(zip(new, states.split(lengths[new].tolist()), strict=True))
        for number, key in enumerate(keys):
            if key is not None and number in computed:
                self._states[key] = computed[number].detach().to(self._dtype, copy=True)
        return torch.cat(
            [
                computed[number] if key is None or number in computed else self._states[key].to(states.dtype)
                for number, key in enumerate(keys)
            ]
        )


def _keys(segments: TextBatch, is_passage: Sequence[bool]) -> list[bytes | None]:
    """Key of each passage; None for segments that are none."""
    ids = torch.stack([segments.input_ids, segments.token_type_ids], 1).cpu().numpy()
    bounds = np.cumsum(segments.layout.sequence_lengths.numpy())[:-1]
    pieces = np.split(ids, bounds)
    return [piece.tobytes() if wanted else None for piece, wanted in zip(pieces, is_passage, strict=True)]


def _picked(segments: TextBatch, numbers: Sequence[int]) -> TextBatch:
    """Some of the segments, as texts of one sequence each."""
    lengths = segments.layout.sequence_lengths
    wanted = torch.zeros(len(lengths), dtype=torch.bool)
    wanted[list(numbers)] = True
    device = segments.input_ids.device
    index = torch.repeat_interleave(wanted, lengths).nonzero().squeeze(1).to(device)
    layout = Layout.from_lengths(lengths[wanted].tolist(), [1] * len(numbers), device)
    return TextBatch(
        segments.input_ids[index], segments.token_type_ids[index], segments.sequence_positions[index], layout
    )
