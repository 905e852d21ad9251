"""Precision, recall and F1 of what is found against what is right: words of an answer, supporting sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple


class Scores(NamedTuple):
    """Precision and recall, from 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean, 0 if both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    def joined(self, other: Scores) -> Scores:
        """Return the scores of two tasks at once, as HotpotQA joins them: products of precisions and of recalls.

        Args:
            other: The scores of the other task.
        """
        return Scores(self.precision * other.precision, self.recall * other.recall)


NOTHING = Scores(0.0, 0.0)


def overlap_scores(found: Iterable[Hashable], right: Iterable[Hashable]) -> Scores:
    """Return the scores of things that may come several times each, such as words.

    Args:
        found: The things that were predicted.
        right: The things that should have been; where there are none on either side, all scores are 0.

    Example:
        >>> overlap_scores(["old", "red", "mill"], ["old", "mill"])
        Scores(precision=0.6666666666666666, recall=1.0)
    """
    ours, theirs = Counter(found), Counter(right)
    common = (ours & theirs).total()
    return Scores(common / ours.total(), common / theirs.total()) if common else NOTHING
