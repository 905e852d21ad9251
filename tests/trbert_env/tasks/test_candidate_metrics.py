"""Accuracy of chosen candidates against examples that are counted by hand."""

from __future__ import annotations

import pytest

from trbert_env.tasks.candidate_metrics import candidate_metrics

#: Chosen candidates (- for none), right ones, and how many of the questions are right.
EXAMPLES: list[tuple[str, str, int]] = [
    ("0", "0", 1),
    ("1", "0", 0),
    ("0", "1", 0),
    ("-", "0", 0),
    ("-", "1", 0),
    ("9", "9", 1),
    ("00", "00", 2),
    ("01", "10", 0),
    ("01", "00", 1),
    ("0-", "00", 1),
    ("--", "00", 0),
    ("012", "012", 3),
    ("012", "210", 1),
    ("012", "120", 0),
    ("000", "012", 1),
    ("111", "012", 1),
    ("-12", "012", 2),
    ("0123", "0321", 2),
    ("0000", "0000", 4),
    ("0101", "1010", 0),
    ("01234", "01243", 3),
    ("5-5-5", "55555", 3),
    ("0123456789", "0123456789", 10),
    ("0123456789", "9876543210", 0),
    ("-123456780", "0123456789", 8),
]


@pytest.mark.parametrize(("chosen", "right", "hits"), EXAMPLES)
def test_accuracy(chosen: str, right: str, hits: int) -> None:
    predictions = {str(key): int(sign) for key, sign in enumerate(chosen) if sign != "-"}
    answers = {str(key): int(sign) for key, sign in enumerate(right)}
    assert candidate_metrics(predictions, answers) == {"accuracy": pytest.approx(100 * hits / len(right))}


def test_predictions_of_no_question_do_not_count() -> None:
    assert candidate_metrics({"a": 0, "b": 0}, {"a": 0}) == {"accuracy": 100.0}


def test_no_question_is_refused() -> None:
    with pytest.raises(ValueError, match="no questions to score"):
        candidate_metrics({"a": 0}, {})
