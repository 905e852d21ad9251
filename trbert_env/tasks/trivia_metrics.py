"""Exact match and token F1 as TriviaQA defines them, over all ways to write an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trbert_env.data.normalisation import trivia_normal
from trbert_env.tasks.overlap_scores import best_answer_metrics


def trivia_metrics(predictions: Mapping[str, str], aliases: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Mean F1 and exact match, each question with the best of its aliases.

    Unlike SQuAD's, the normalisation puts blanks for punctuation, for underscores and for curly quotes.

    Args:
        predictions: The predicted answer of each question, by id; one that is missing counts as 0.
        aliases: All right answers of each question, by id.

    Returns:
        ``f1, exact_match``, from 0 to 100.

    Raises:
        ValueError: There is no question.

    Example:
        >>> trivia_metrics({"a": "Rock-n-Roll", "b": "Oslo, Norway"}, {"a": ["rock n roll"], "b": ["oslo"]})
        {'f1': 83.33333333333333, 'exact_match': 50.0}
    """
    return best_answer_metrics(predictions, aliases, trivia_normal)
