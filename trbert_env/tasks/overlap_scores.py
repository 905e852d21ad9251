"""Precision, recall and F1 of what is found against what is right: words of an answer, supporting sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
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


def best_answer_metrics(
    predictions: Mapping[str, str], golds: Mapping[str, Sequence[str]], normal: Callable[[str], str]
) -> dict[str, float]:
    """Mean F1 of words and exact match, each question with the best of its right answers.

    Args:
        predictions: The predicted answer of each question, by id; one that is missing counts as 0.
        golds: All right answers of each question, by id.
        normal: Normalisation of an answer, whose words are then split at white space.

    Returns:
        ``f1, exact_match``, from 0 to 100.

    Raises:
        ValueError: There is no question.
    """
    if not golds:
        raise ValueError("there are no questions to score: give at least one record")
    f1, exact = 0.0, 0
    for key, answers in golds.items():
        if key in predictions:
            found, right = normal(predictions[key]), [normal(answer) for answer in answers]
            f1 += max((overlap_scores(found.split(), answer.split()).f1 for answer in right), default=0.0)
            exact += found in right
    return {"f1": 100.0 * f1 / len(golds), "exact_match": 100.0 * exact / len(golds)}
