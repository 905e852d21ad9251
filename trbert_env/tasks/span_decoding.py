"""The best span of a text, read off its start and end logits."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trbert_env.tasks.span_encoding import Piece, SpanText

Scores = npt.NDArray[np.float32]


class BestSpan(NamedTuple):
    """A span of characters of the context and the sum of its start and end logits."""

    score: float
    start: int
    end: int

    def whole(self, context: str) -> BestSpan:
        """Return the span with the combining marks behind it, which belong to its last character.

        Uncased tokenizers drop accents, so that their tokens end before an accent that is a character of its own.

        Args:
            context: The context.
        """
        return self._replace(end=self.start + len(cut_out(context, self.start, self.end)))

    def of(self, context: str) -> str:
        """Return the words of the span in its context; see :meth:`whole`."""
        return cut_out(context, self.start, self.end)


class FoundSpans(NamedTuple):
    """The best spans of a question.

    Attributes:
        spans: Spans, best first, at least one; its score is minus infinity where there is none.
        null: Score of no answer: the sum of the logits of a text's first token, the least over the texts.
    """

    spans: tuple[BestSpan, ...]
    null: float

    @property
    def best(self) -> BestSpan:
        """The best span."""
        return self.spans[0]


@dataclass(frozen=True)
class SpanDecoder:
    """Combines the best starts and ends of each piece of a context; no span crosses from one piece to the next.

    Attributes:
        num_best: Starts and ends of a piece that are combined.
        max_answer_tokens: The most tokens of a span.
        always: True to give a span of every piece, even where none of its ``num_best`` starts and ends fit together.
    """

    num_best: int
    max_answer_tokens: int
    always: bool

    def best(self, text: SpanText, scores: Scores) -> BestSpan:
        """Return the best span of a text; see :meth:`ranked`."""
        return self.ranked(text, scores, 1)[0]

    def ranked(self, text: SpanText, scores: Scores, count: int) -> list[BestSpan]:
        """Return the best spans of a text, best first; the score is minus infinity where there is none.

        Args:
            text: The text.
            scores: Its logits, ``(n, 2)``.
            count: The most spans of a piece.

        Raises:
            ValueError: The logits are of another shape, or NaN.
        """
        if scores.shape != (len(text), 2) or np.isnan(scores).any():
            raise ValueError(f"logits of text {text.text_id!r} are {scores.shape}: give ({len(text)}, 2) without NaN")
        return ranked_spans([span for piece in text.pieces for span in self._best_of(piece, scores, count)], count)

    def _best_of(self, piece: Piece, scores: Scores, count: int) -> list[BestSpan]:
        inside = scores[piece.start : piece.start + len(piece.offsets)]
        one_stretch = np.zeros(len(inside), dtype=np.int64)
        found = best_among(inside, one_stretch, self.num_best, self.max_answer_tokens, count)
        if not found:
            if not self.always:
                return [BestSpan(-np.inf, 0, 0)]
            found = [best_of_all(inside, one_stretch, self.max_answer_tokens)]
        return [
            BestSpan(
                float(inside[first, 0] + inside[last, 1]), int(piece.offsets[first, 0]), int(piece.offsets[last, 1])
            )
            for first, last in found
        ]


def ranked_spans(spans: Sequence[BestSpan], count: int) -> list[BestSpan]:
    """Return the best spans, best first, each once; of equals, the earlier comes first.

    Args:
        spans: Spans of one context, of which windows that overlap may give the same twice.
        count: The most that are returned.

    Example:
        >>> ranked_spans([BestSpan(1.0, 0, 2), BestSpan(3.0, 4, 5), BestSpan(0.5, 0, 2)], 2)
        [BestSpan(score=3.0, start=4, end=5), BestSpan(score=1.0, start=0, end=2)]
    """
    best: dict[tuple[int, int], BestSpan] = {}
    for span in sorted(spans, key=lambda span: -span.score):
        best.setdefault((span.start, span.end), span)
    return list(best.values())[:count]


def best_among(
    scores: Scores, stretches: npt.NDArray[np.int64], num_best: int, longest: int, count: int = 1
) -> list[tuple[int, int]]:
    """Return first and last tokens of the best spans of the best starts and ends; none where no two go together.

    Args:
        scores: Start and end logits, ``(n, 2)``.
        stretches: ``(n,)``, rising: a span lies within one.
        num_best: Starts and ends that are combined.
        longest: The most tokens of a span.
        count: The most spans.

    Example:
        >>> scores = np.array([[0, 9], [1, 2], [5, 0]], dtype=np.float32)
        >>> best_among(scores, np.zeros(3, dtype=np.int64), 1, 2), best_among(scores, np.zeros(3, dtype=np.int64), 3, 2)
        ([], [(0, 0)])
    """
    order = np.argsort(-scores, axis=0, kind="stable")[:num_best]
    starts, ends = order[:, 0], order[:, 1]
    lengths = ends[None, :] - starts[:, None] + 1
    valid = (lengths >= 1) & (lengths <= longest) & (stretches[ends][None, :] == stretches[starts][:, None])
    totals = np.where(valid, scores[starts, 0][:, None] + scores[ends, 1][None, :], -np.inf)
    places = np.argsort(-totals, axis=None, kind="stable")[: min(count, int(valid.sum()))]
    rows, columns = np.unravel_index(places, totals.shape)
    return [(int(starts[row]), int(ends[column])) for row, column in zip(rows, columns, strict=True)]


def best_of_all(scores: Scores, stretches: npt.NDArray[np.int64], longest: int) -> tuple[int, int]:
    """Return first and last token of the best of all spans; memory grows with the tokens, not with their square.

    Of equal spans it is the one whose start has the largest logit, the first of these, and the shortest.

    Args:
        scores: Start and end logits, ``(n, 2)``, of at least one token.
        stretches: ``(n,)``, rising: a span lies within one.
        longest: The most tokens of a span.

    Example:
        >>> best_of_all(np.array([[0, 9], [1, 2], [5, 0]], dtype=np.float32), np.zeros(3, dtype=np.int64), 2)
        (0, 0)
        >>> best_of_all(np.array([[4, 0], [1, 2], [5, 0]], dtype=np.float32), np.zeros(3, dtype=np.int64), 2)
        (0, 1)
    """
    totals = np.full((min(longest, len(scores)), len(scores)), -np.inf, dtype=np.float32)
    for further, row in enumerate(totals):
        count = len(scores) - further
        together = stretches[:count] == stretches[further:]
        row[:count] = np.where(together, scores[:count, 0] + scores[further:, 1], -np.inf)
    of_starts = totals.max(0)
    equals = np.flatnonzero(of_starts == of_starts.max())
    first = int(equals[scores[equals, 0].argmax()])
    return first, first + int(totals[:, first].argmax())


def cut_out(text: str, start: int, end: int) -> str:
    r"""Return a span of a text with the combining marks behind it, which belong to its last character.

    Uncased tokenizers drop accents, so that their tokens end before an accent that is a character of its own.

    Args:
        text: The text.
        start: The first character.
        end: One past the last character of the last token.

    Example:
        >>> cut_out("the cafe\u0301 there", 4, 8) == "cafe\u0301"
        True
    """
    while start < end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return text[start:end]
