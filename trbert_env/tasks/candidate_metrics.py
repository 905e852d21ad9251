"""Accuracy of choices by their index: candidates, as for WikiHop, and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from trbert_env.data.records import columns


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


def scores_of_choices(predictions: Mapping[str, Any], records: Dataset) -> npt.NDArray[np.float64]:
    """Return 100 for each record whose right choice is predicted, else 0, ``(n,)``.

    Args:
        predictions: Index of the choice of each record, by id.
        records: The records; ``answer`` is the index of the right one.
    """
    pairs = zip(*columns(records, "id", "answer"), strict=True)
    return np.array([100.0 * (predictions[key] == answer) for key, answer in pairs])
