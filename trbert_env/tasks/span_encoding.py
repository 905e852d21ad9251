"""Questions and contexts as windows of token ids: their special tokens, bounds and gold spans."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from tokenizers import Encoding

from trbert_env.data.records import SPAN_QA
from trbert_env.data.schema import checked_dataset
from trbert_env.tasks.base import EncodedText
from trbert_env.tasks.encoding import Ids, Tokens

#: Records that are turned into Python objects at once.
_BATCH = 4096


class Piece(NamedTuple):
    """The piece of a context that stands in one sequence of a text.

    Attributes:
        start: Index of its first token in the text, whose sequences are laid end to end.
        offsets: ``(num_context_tokens, 2)`` int32, where each of its tokens begins and ends in the example's context,
            in characters.
    """

    start: int
    offsets: Ids


@dataclass(frozen=True)
class SpanText(EncodedText):
    """A question with pieces of its context, one a sequence: a single window, or the slices of a long context.

    Attributes:
        example_id: The id of the question.
        pieces: The piece of each sequence.
    """

    example_id: str
    pieces: tuple[Piece, ...]

    @property
    def record_id(self) -> str:
        """The id of the question."""
        return self.example_id


class Row(NamedTuple):
    """One checked record, without white space before its question.

    ``golds`` are the begin and end of its answers in the context, in characters.
    """

    id: str
    question: str
    context: str
    golds: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Frame:
    """The special tokens before a question, between it and the context, and after that.

    ``segments`` are the token type ids of the five pieces: before, question, between, context, after.
    """

    before: Ids
    between: Ids
    after: Ids
    segments: tuple[int, int, int, int, int]

    def __len__(self) -> int:
        """The number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def around(self, question: Ids, context: Ids) -> tuple[Ids, Ids]:
        """The token ids and token type ids of a window."""
        pieces = (self.before, question, self.between, context, self.after)
        lengths = [len(piece) for piece in pieces]
        return np.concatenate(pieces), np.repeat(np.array(self.segments, dtype=np.int32), lengths)


def checked_rows(examples: Dataset) -> Iterator[Row]:
    """Read the records one by one, refusing what cannot be trained on or scored.

    Args:
        examples: Columns ``id, question, context, answers{text, answer_start}``, loaded by us or not.

    Raises:
        ValueError: If a column is missing or of another type, a value is missing, an id comes twice, a
            question or context is empty, or an answer does not stand in the context where it says.
    """
    table = checked_dataset(examples, SPAN_QA, "the data set")
    for batch in table.to_batches(max_chunksize=_BATCH):
        columns = [batch.column(name).to_pylist() for name in ("id", "question", "context", "answers")]
        for key, question, context, answers in zip(*columns, strict=True):
            for name, value in (("question", question), ("context", context)):
                if not value.strip():
                    raise ValueError(f"example {key!r} has an empty {name}: fill it in or leave the example out")
            # Byte-level tokenizers make tokens of white space: before a question it would take the place of its words.
            yield Row(key, question.lstrip(), context, _gold_characters(key, context, answers))


def _gold_characters(key: str, context: str, answers: Mapping[str, Sequence[Any]]) -> tuple[tuple[int, int], ...]:
    texts, starts = answers["text"], answers["answer_start"]
    spans = [(start, start + len(text)) for text, start in zip(texts, starts, strict=True)]
    for text, (start, end) in zip(texts, spans, strict=True):
        if not text.strip() or context[start:end] != text:
            found = reprlib.repr(context[start:end])
            raise ValueError(
                f"example {key!r}: its answer {reprlib.repr(text)} does not fit its context at answer_start "
                f"{start}, where {found} stands: check the data (offsets count characters)"
            )
    return tuple(spans)


def frame_of(pair: Encoding, has_segments: bool) -> Frame:
    """Read the special tokens off any encoded pair of question and context.

    Args:
        pair: A question and a context, encoded together with special tokens.
        has_segments: True if the encoder family knows token types; if not, all are 0.

    Raises:
        ValueError: If no special token comes first, or the context comes before the question.
    """
    owner = np.array([-1 if index is None else index for index in pair.sequence_ids])
    question, context = np.flatnonzero(owner == 0), np.flatnonzero(owner == 1)
    if question[0] < 1 or question[-1] > context[0] or context[-1] == len(owner) - 1:
        raise ValueError(
            f"the tokenizer encodes a pair as {pair.tokens[:8]}...: it must be [CLS] question [SEP] context [SEP]"
        )
    ids = np.array(pair.ids, dtype=np.int32)
    types = pair.type_ids
    places = (0, question[0], question[-1] + 1, context[0], len(owner) - 1)
    before, on_question, between, on_context, after = (types[place] if has_segments else 0 for place in places)
    return Frame(
        before=ids[: question[0]],
        between=ids[question[-1] + 1 : context[0]],
        after=ids[context[-1] + 1 :],
        segments=(before, on_question, between, on_context, after),
    )


def window_ranges(count: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """First and one-past-last context token of each window: ``room`` tokens, ``stride`` of them shared."""
    step = max(room - stride, 1)
    for first in range(0, max(count - room, 0) + step, step):
        yield first, min(first + room, count)


def gold_tokens(context: Tokens, gold: tuple[int, int]) -> tuple[int, int] | None:
    """First and last token that the gold characters touch; None if there are none."""
    first = int(np.searchsorted(context.offsets[:, 1], gold[0], side="right"))
    last = int(np.searchsorted(context.offsets[:, 0], gold[1], side="left")) - 1
    return (first, last) if first <= last else None
