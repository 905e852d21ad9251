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
        span = self._best_among(piece, inside, self.num_best)
        if self.always and span.score == -np.inf:
            # The best starts lie behind the best ends: rather any span than none.
            span = self._best_among(piece, inside, len(inside))
        return span

    def _best_among(self, piece: Piece, inside: Scores, num_best: int) -> BestSpan:
        order = np.argsort(-inside, axis=0, kind="stable")[:num_best]
        starts, ends = order[:, 0], order[:, 1]
        lengths = ends[None, :] - starts[:, None] + 1
        valid = (lengths >= 1) & (lengths <= self.max_answer_tokens)
        totals = np.where(valid, inside[starts, 0][:, None] + inside[ends, 1][None, :], -np.inf)
        row, column = np.unravel_index(np.argmax(totals), totals.shape)
        if not valid[row, column]:
            return BestSpan(-np.inf, 0, 0)
        first, last = piece.offsets[starts[row], 0], piece.offsets[ends[column], 1]
        return BestSpan(float(totals[row, column]), int(first), int(last))
