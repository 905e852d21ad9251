"""Exact match and token F1 as the MRQA shared task defines them: every question has an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trbert_env.tasks.overlap_scores import overlap_scores
from trbert_env.tasks.squad_metrics import normalize_answer


def mrqa_metrics(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Mean F1 and exact match, each question with the best of its answers.

    The normalisation is SQuAD's, but an empty prediction never counts as right, and a question without a
    prediction counts as 0.

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
    if not answers:
        raise ValueError("there are no questions to score: give at least one record")
    f1, exact = 0.0, 0
    for key, golds in answers.items():
        found = normalize_answer(predictions[key]) if key in predictions else None
        if found is not None:
            normalized = [normalize_answer(gold) for gold in golds]
            f1 += max((overlap_scores(found.split(), gold.split()).f1 for gold in normalized), default=0.0)
            exact += found in normalized
    return {"f1": 100.0 * f1 / len(answers), "exact_match": 100.0 * exact / len(answers)}
