"""Windows: the texts of questions and contexts, put together when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from trbert_env.tasks.encoding import Ids, Tokens
from trbert_env.tasks.span_encoding import Frame, SpanText

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
    """Windows of contexts, each with its question; only questions, contexts and bounds are held.

    A context serves several questions, and windows share tokens, so that windows that are put together take ten
    times as much memory.

    Args:
        questions: The questions.
        contexts: The contexts, tokenised.
        frame: The special tokens.
        bounds: ``(num_windows, 4)`` int32: question, number of the window, first and one past the last context token.
    """

    def __init__(
        self, questions: Sequence[Question], contexts: Sequence[Tokens], frame: Frame, bounds: npt.NDArray[np.int32]
    ) -> None:
        self._questions, self._contexts, self._frame, self._bounds = questions, contexts, frame, bounds

    def __len__(self) -> int:
        """The number of windows."""
        return len(self._bounds)

    @overload
    def __getitem__(self, index: int) -> SpanText: ...

    @overload
    def __getitem__(self, index: slice) -> list[SpanText]: ...

    def __getitem__(self, index: int | slice) -> SpanText | list[SpanText]:
        """The window of an index, or the list of those of a slice."""
        if isinstance(index, slice):
            return [self._make(place) for place in range(*index.indices(len(self)))]
        place = int(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"window {place}: there are {len(self)}")
        return self._make(place % len(self))

    def with_answer(self) -> Windows:
        """Only the windows that hold an answer."""
        return Windows(self._questions, self._contexts, self._frame, self._bounds[self._have_answer()])

    def _have_answer(self) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(self), dtype=np.bool_)
        for place, (question, _, first, last) in enumerate(self._bounds.tolist()):
            found[place] = bool(inside(self._questions[question].golds, first, last))
        return found

    def _make(self, place: int) -> SpanText:
        which, number, first, last = self._bounds[place].tolist()
        question = self._questions[which]
        context = self._contexts[question.context]
        start = len(self._frame.before) + len(question.ids) + len(self._frame.between)
        input_ids, token_type_ids = self._frame.around(question.ids, context.ids[first:last])
        spans = [(one - first + start, end - first + start) for one, end in inside(question.golds, first, last)]
        return SpanText(
            text_id=f"{question.id}#{number}",
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            sequence_lengths=(len(input_ids),),
            target=span_target(spans),
            example_id=question.id,
            context_start=start,
            offsets=context.offsets[first:last],
        )


def inside(spans: Sequence[Span], first: int, last: int) -> list[Span]:
    """Return the spans that lie within a window, from ``first`` to one before ``last``."""
    return [span for span in spans if first <= span[0] and span[1] < last]


def span_target(spans: Sequence[Span]) -> npt.NDArray[np.int64]:
    """Return starts and ends, ``(most, 2)``, each once and the rest -1; (0, 0), the [CLS] token, where there is none.

    Summed probabilities must count a start once that two answers share.

    Example:
        >>> span_target([(3, 4), (3, 6)]).tolist(), span_target([]).tolist()
        ([[3, 4], [-1, 6]], [[0, 0]])
    """
    columns = [list(dict.fromkeys(column)) for column in zip(*(spans or [(0, 0)]), strict=True)]
    target = np.full((max(map(len, columns)), 2), -1, dtype=np.int64)
    for side, column in enumerate(columns):
        target[: len(column), side] = column
    return target
