"""The best span of a text, read off its start and end logits."""

from __future__ import annotations

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


@dataclass(frozen=True)
class SpanDecoder:
    """Combines the best starts and ends of each piece of a context; no span crosses from one piece to the next.

    Attributes:
        num_best: Starts and ends of a piece that are combined.
        max_answer_tokens: The most tokens of a span.
        always: Whether a piece gives a span where none of its ``num_best`` starts and ends fit together.
    """

    num_best: int
    max_answer_tokens: int
    always: bool

    def best(self, text: SpanText, scores: Scores) -> BestSpan:
        """Return the best span of a text; its score is minus infinity where there is none.

        Args:
            text: The text.
            scores: Its logits, ``(n, 2)``.

        Raises:
            ValueError: The logits are of another shape, or NaN.
        """
        if scores.shape != (len(text), 2) or np.isnan(scores).any():
            raise ValueError(f"logits of text {text.text_id!r} are {scores.shape}: give ({len(text)}, 2) without NaN")
        return max((self._best_of(piece, scores) for piece in text.pieces), key=lambda span: span.score)

    def _best_of(self, piece: Piece, scores: Scores) -> BestSpan:
        inside = scores[piece.start : piece.start + len(piece.offsets)]
        span = self._best_among(piece, inside)
        if self.always and span.score == -np.inf:
            # The best starts lie behind the best ends: rather any span than none.
            first, last = best_of_all(inside, np.zeros(len(inside), dtype=np.int64), self.max_answer_tokens)
            score = float(inside[first, 0] + inside[last, 1])
            span = BestSpan(score, int(piece.offsets[first, 0]), int(piece.offsets[last, 1]))
        return span

    def _best_among(self, piece: Piece, inside: Scores) -> BestSpan:
        order = np.argsort(-inside, axis=0, kind="stable")[: self.num_best]
        starts, ends = order[:, 0], order[:, 1]
        lengths = ends[None, :] - starts[:, None] + 1
        valid = (lengths >= 1) & (lengths <= self.max_answer_tokens)
        totals = np.where(valid, inside[starts, 0][:, None] + inside[ends, 1][None, :], -np.inf)
        row, column = np.unravel_index(np.argmax(totals), totals.shape)
        if not valid[row, column]:
            return BestSpan(-np.inf, 0, 0)
        first, last = piece.offsets[starts[row], 0], piece.offsets[ends[column], 1]
        return BestSpan(float(totals[row, column]), int(first), int(last))


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
