"""Windows: the texts of questions and contexts, put together when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from trbert_env.tasks.encoding import Ids, Tokens
from trbert_env.tasks.span_encoding import Frame, Piece, SpanText

Span = tuple[int, int]


class Question(NamedTuple):
    """A question, the context that it is asked on, and its answers there.

    Attributes:
        id: Id of the record.
        ids: ``(n,)`` int32 token ids, cut.
        context: Index of the context.
        golds: First and last token of each answer in the context.
    """

    id: str
    ids: Ids
    context: int
    golds: tuple[Span, ...]


class Windows(Sequence[SpanText]):
    """Texts of one or several windows of a context, each with its question; only bounds of windows are held.

    A context serves several questions, and windows share tokens, so that windows that are put together take ten
    times as much memory.

    Args:
        questions: The questions.
        contexts: The contexts, tokenised.
        frame: The special tokens.
        bounds: ``(num_windows, 4)`` int32: question, number of the text among those of the question, first and one past
            the last context token. Neighbours of the same question and number are the sequences of one text.
        null_answer: True if (0, 0), no answer, is the target of a text in which none stands; if False, it has no
            target.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        contexts: Sequence[Tokens],
        frame: Frame,
        bounds: npt.NDArray[np.int32],
        *,
        null_answer: bool = True,
    ) -> None:
        self._questions, self._contexts, self._frame, self._bounds = questions, contexts, frame, bounds
        self._null = [(0, 0)] if null_answer else [(-1, -1)]
        begins = np.ones(len(bounds), dtype=np.bool_)
        begins[1:] = np.diff(bounds[:, :2], axis=0).any(1)
        #: The first window of each text, and the number of windows.
        self._starts = np.append(np.flatnonzero(begins), len(bounds))

    def __len__(self) -> int:
        """The number of texts."""
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> SpanText: ...

    @overload
    def __getitem__(self, index: slice) -> list[SpanText]: ...

    def __getitem__(self, index: int | slice) -> SpanText | list[SpanText]:
        """The text of an index, or the list of those of a slice."""
        if isinstance(index, slice):
            return [self._make(place) for place in range(*index.indices(len(self)))]
        place = int(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"text {place}: there are {len(self)}")
        return self._make(place % len(self))

    def with_answer(self) -> Windows:
        """Only the texts that hold an answer."""
        texts = np.logical_or.reduceat(self._have_answer(), self._starts[:-1])
        windows = np.repeat(texts, np.diff(self._starts))
        return Windows(
            self._questions,
            self._contexts,
            self._frame,
            self._bounds[windows],
            null_answer=self._null == [(0, 0)],
        )

    def _have_answer(self) -> npt.NDArray[np.bool_]:
        """``(num_windows,)``."""
        found = np.zeros(len(self._bounds), dtype=np.bool_)
        for place, (question, _, first, last) in enumerate(self._bounds.tolist()):
            found[place] = bool(inside(self._questions[question].golds, first, last))
        return found

    def _make(self, place: int) -> SpanText:
        rows = self._bounds[self._starts[place] : self._starts[place + 1]]
        which, number = rows[0, :2].tolist()
        question, ranges = self._questions[which], rows[:, 2:].tolist()
        context = self._contexts[question.context]
        sequences = [self._frame.around(question.ids, context.ids[first:last]) for first, last in ranges]
        lengths = tuple(len(ids) for ids, _ in sequences)
        before = len(self._frame.before) + len(question.ids) + len(self._frame.between)
        starts = [before + sum(lengths[:index]) for index in range(len(lengths))]
        return SpanText(
            text_id=f"{question.id}#{number}",
            input_ids=np.concatenate([ids for ids, _ in sequences]),
            token_type_ids=np.concatenate([types for _, types in sequences]),
            sequence_lengths=lengths,
            target=span_target(_places(question.golds, ranges, starts) or self._null),
            example_id=question.id,
            pieces=tuple(
                Piece(start, context.offsets[first:last]) for start, (first, last) in zip(starts, ranges, strict=True)
            ),
        )


def _places(golds: Sequence[Span], ranges: Sequence[Span], starts: Sequence[int]) -> list[Span]:
    """First and last token in the text of each answer, in every window that it lies in."""
    return [
        (one - first + start, end - first + start)
        for start, (first, last) in zip(starts, ranges, strict=True)
        for one, end in inside(golds, first, last)
    ]


def inside(spans: Sequence[Span], first: int, last: int) -> list[Span]:
    """Return the spans that lie within a window, from ``first`` to one before ``last``."""
    return [span for span in spans if first <= span[0] and span[1] < last]


def span_target(spans: Sequence[Span]) -> npt.NDArray[np.int64]:
    """Return starts and ends of one or more spans, ``(most, 2)``, each once and the rest -1.

    Summed probabilities must count a start once that two answers share.

    Example:
        >>> span_target([(3, 4), (3, 6)]).tolist()
        [[3, 4], [-1, 6]]
    """
    columns = [list(dict.fromkeys(column)) for column in zip(*spans, strict=True)]
    target = np.full((max(map(len, columns)), 2), -1, dtype=np.int64)
    for side, column in enumerate(columns):
        target[: len(column), side] = column
    return target
