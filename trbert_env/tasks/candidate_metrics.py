"""Accuracy of chosen candidates, as for WikiHop."""

from __future__ import annotations

from collections.abc import Mapping


def candidate_metrics(predictions: Mapping[str, int], answers: Mapping[str, int]) -> dict[str, float]:
    """Share of the questions whose right candidate is chosen.

    Args:
        predictions: The index of the chosen candidate of each question, by id; one that is missing counts as wrong.
        answers: The index of the right candidate of each question, by id.

    Returns:
        ``accuracy``, from 0 to 100.

    Raises:
        ValueError: There is no question.

    Example:
        >>> candidate_metrics({"a": 3, "b": 0}, {"a": 3, "b": 1, "c": 2, "d": 0})
        {'accuracy': 25.0}
    """
    if not answers:
        raise ValueError("there are no questions to score: give at least one record")
    hits = sum(key in predictions and predictions[key] == answer for key, answer in answers.items())
    return {"accuracy": 100.0 * hits / len(answers)}
