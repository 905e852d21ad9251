"""Exact match and token F1 as the MRQA shared task defines them: every question has an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trbert_env.tasks.overlap_scores import best_answer_metrics
from trbert_env.tasks.squad_metrics import normalize_answer


def mrqa_metrics(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Mean F1 and exact match, each question with the best of its answers.

    The normalisation is SQuAD's, but nothing overlaps with nothing by an F1 of 0, and a question without a prediction
    counts as 0.

    Args:
        predictions: The predicted answer of each question, by id.
        answers: All right answers of each question, by id.

    Returns:
        ``f1, exact_match``, from 0 to 100.

    Raises:
        ValueError: There is no question.

    Example:
        >>> mrqa_metrics({"a": "the mill", "b": ""}, {"a": ["Mill"], "b": ["the"]})
        {'f1': 50.0, 'exact_match': 100.0}
    """
    return best_answer_metrics(predictions, answers, normalize_answer)
