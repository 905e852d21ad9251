"""Slices: a long text as several sequences, each with the query before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trbert_env.tasks.encoding import Ids
from trbert_env.tasks.span_encoding import Frame


class Sliced(NamedTuple):
    """Token ids of all slices of one text, end to end.

    Attributes:
        input_ids: ``(n,)`` int32.
        token_type_ids: ``(n,)`` int32.
        lengths: Tokens of each slice.
        starts: ``(slices,)`` int64, where each slice's query begins.
        body: ``(tokens of the body that are read,)`` int64, where each of them stands.
        slice_of: ``(tokens of the body that are read,)`` int64, the slice that each is in.
    """

    input_ids: Ids
    token_type_ids: Ids
    lengths: tuple[int, ...]
    starts: npt.NDArray[np.int64]
    body: npt.NDArray[np.int64]
    slice_of: npt.NDArray[np.int64]


def slice_room(query: Ids, frame: Frame, max_tokens: int) -> int:
    """Tokens of the body that fit a sequence beside the query and the special tokens."""
    return max_tokens - len(frame) - len(query)


def cut_into_slices(query: Ids, body: Ids, frame: Frame, max_tokens: int, max_slices: int) -> Sliced:
    """Lay a body out over sequences of ``[CLS] query [SEP] piece of the body [SEP]``.

    Args:
        query: Token ids that every slice begins with.
        body: Token ids of the rest; what fits no slice is cut.
        frame: The special tokens.
        max_tokens: The most tokens of a slice.
        max_slices: The most slices.

    Raises:
        ValueError: The query leaves no room.
    """
    room = slice_room(query, frame, max_tokens)
    if room < 1:
        raise ValueError(f"the query has {len(query)} tokens of {max_tokens}: raise max_tokens")
    pieces = [body[first : first + room] for first in range(0, max(min(len(body), room * max_slices), 1), room)]
    encoded = [frame.around(query, piece) for piece in pieces]
    lengths = tuple(len(ids) for ids, _ in encoded)
    bounds = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    before = len(frame.before)
    piece_starts = bounds + before + len(query) + len(frame.between)
    sizes: Sequence[int] = [len(piece) for piece in pieces]
    places = np.concatenate([start + np.arange(size) for start, size in zip(piece_starts, sizes, strict=True)])
    return Sliced(
        np.concatenate([ids for ids, _ in encoded]),
        np.concatenate([types for _, types in encoded]),
        lengths,
        bounds + before,
        places.astype(np.int64),
        np.repeat(np.arange(len(pieces)), sizes),
    )
