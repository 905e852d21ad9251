"""Metrics of classes, single logits and regression against numbers worked out by hand or by their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from trbert_env.tasks.class_metrics import class_metrics, regression_metrics, relevance_metrics

STARS = ("1", "2", "3", "4", "5")

#: Predicted classes, right classes (a letter each), accuracy and mean F1 of the classes that occur, as fractions.
CLASSES: list[tuple[str, str, float, float]] = [
    ("a", "a", 1, 1),
    ("a", "b", 0, 0),
    ("ab", "ab", 1, 1),
    ("ba", "ab", 0, 0),
    ("aa", "ab", 1 / 2, 1 / 3),  # a: 2/3, b: 0
    ("ab", "aa", 1 / 2, 1 / 3),
    ("abb", "aba", 2 / 3, 2 / 3),  # a: 2/3, b: 2/3
    ("abc", "abc", 1, 1),
    ("abc", "bca", 0, 0),
    ("aac", "abc", 2 / 3, 5 / 9),  # a: 2/3, b: 0, c: 1
    ("aaa", "abc", 1 / 3, 1 / 6),  # a: 1/2
    ("abc", "aaa", 1 / 3, 1 / 6),  # a: 1/2, and two classes that are predicted only
    ("aabb", "abab", 1 / 2, 1 / 2),
    ("aaab", "aabb", 3 / 4, 11 / 15),  # a: 4/5, b: 2/3
    ("aaaa", "aaab", 3 / 4, 3 / 7),  # a: 6/7, b: 0
    ("bbbb", "aaab", 1 / 4, 1 / 5),  # b: 2/5
    ("abcd", "abcd", 1, 1),
    ("abcc", "abcd", 3 / 4, 2 / 3),  # a: 1, b: 1, c: 2/3, d: 0
    ("aabbc", "aabcc", 4 / 5, 7 / 9),  # a: 1, b: 2/3, c: 2/3
    ("aaaabbbb", "aaabbbba", 6 / 8, 3 / 4),  # both: 3 hits of 4 and 4
    ("abababab", "aaaaaaaa", 1 / 2, 1 / 3),  # a: 2/3, b: 0
]


@pytest.mark.parametrize(("predicted", "gold", "accuracy", "macro_f1"), CLASSES)
def test_accuracy_and_macro_f1(predicted: str, gold: str, accuracy: float, macro_f1: float) -> None:
    found = class_metrics(list(predicted), list(gold))
    assert found == pytest.approx({"accuracy": 100 * accuracy, "macro_f1": 100 * macro_f1})


#: Predicted and right stars, and the mean distance.
DISTANCES: list[tuple[str, str, float]] = [
    ("1", "1", 0),
    ("1", "5", 4),
    ("5", "1", 4),
    ("2", "3", 1),
    ("4", "2", 2),
    ("12", "12", 0),
    ("12", "21", 1),
    ("15", "51", 4),
    ("11", "12", 1 / 2),
    ("33", "15", 2),
    ("123", "321", 4 / 3),
    ("555", "123", 3),
    ("111", "123", 1),
    ("345", "345", 0),
    ("34", "35", 1 / 2),
    ("1234", "2345", 1),
    ("1111", "5555", 4),
    ("1234", "1234", 0),
    ("12345", "54321", 12 / 5),
    ("33333", "12345", 6 / 5),
    ("24", "42", 2),
]


@pytest.mark.parametrize(("predicted", "gold", "distance"), DISTANCES)
def test_mean_distance_of_ordered_classes(predicted: str, gold: str, distance: float) -> None:
    found = class_metrics(list(predicted), list(gold), STARS)
    assert found["mean_absolute_error"] == pytest.approx(distance)
    assert "mean_absolute_error" not in class_metrics(list(predicted), list(gold))


#: Predicted classes, right ones (t is looked for), and precision, recall and F1 of it.
LOOKED_FOR: list[tuple[str, str, float, float, float]] = [
    ("t", "t", 1, 1, 1),
    ("f", "f", 0, 0, 0),
    ("t", "f", 0, 0, 0),
    ("f", "t", 0, 0, 0),
    ("tf", "tf", 1, 1, 1),
    ("ft", "tf", 0, 0, 0),
    ("tt", "tf", 1 / 2, 1, 2 / 3),
    ("ff", "tf", 0, 0, 0),
    ("tf", "tt", 1, 1 / 2, 2 / 3),
    ("tft", "ttf", 1 / 2, 1 / 2, 1 / 2),
    ("ttt", "tff", 1 / 3, 1, 1 / 2),
    ("tff", "ttt", 1, 1 / 3, 1 / 2),
    ("ttf", "tff", 1 / 2, 1, 2 / 3),
    ("tttt", "ttff", 1 / 2, 1, 2 / 3),
    ("tttf", "ttft", 2 / 3, 2 / 3, 2 / 3),
    ("tfff", "ttff", 1, 1 / 2, 2 / 3),
    ("ttff", "tttt", 1, 1 / 2, 2 / 3),
    ("ffff", "tttt", 0, 0, 0),
    ("tttff", "ttftt", 2 / 3, 1 / 2, 4 / 7),
    ("ttttf", "tffff", 1 / 4, 1, 2 / 5),
    ("tffff", "ttttf", 1, 1 / 4, 2 / 5),
    ("tttttt", "tttfff", 1 / 2, 1, 2 / 3),
    ("ttttffff", "ttffttff", 1 / 2, 1 / 2, 1 / 2),
]


@pytest.mark.parametrize(("predicted", "gold", "precision", "recall", "f1"), LOOKED_FOR)
def test_precision_recall_and_f1_of_one_class(
    predicted: str, gold: str, precision: float, recall: float, f1: float
) -> None:
    found = class_metrics(list(predicted), list(gold), positive="t")
    expected = {"precision": 100 * precision, "recall": 100 * recall, "f1": 100 * f1}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    hits = sum(one == other for one, other in zip(predicted, gold, strict=True))
    assert found["accuracy"] == pytest.approx(100 * hits / len(gold))
    assert class_metrics(list(predicted), list(gold)).keys() == {"accuracy", "macro_f1"}


def test_the_order_of_classes_is_the_one_given_not_that_of_their_names() -> None:
    order = ("poor", "fair", "good")
    assert class_metrics(["poor"], ["good"], order)["mean_absolute_error"] == 2
    assert class_metrics(["fair"], ["good"], order)["mean_absolute_error"] == 1


#: Scores, which are relevant, and accuracy, F1, average precision and area under the ROC curve, as fractions.
RELEVANCE: list[tuple[list[float], list[int], float, float, float | None, float | None]] = [
    ([1], [1], 1, 1, None, None),
    ([-1], [0], 1, 0, None, None),
    ([1], [0], 0, 0, None, None),
    ([0], [1], 0, 0, None, None),  # only above 0 is said to be relevant
    ([0], [0], 1, 0, None, None),
    ([1, 2], [1, 1], 1, 1, None, None),
    ([2, -1], [1, 0], 1, 1, 1, 1),
    ([-1, 2], [1, 0], 0, 0, 1 / 2, 0),
    ([2, 1], [1, 0], 1 / 2, 2 / 3, 1, 1),
    ([-2, -1], [0, 1], 1 / 2, 0, 1, 1),
    ([1, 1], [1, 0], 1 / 2, 2 / 3, 1 / 2, 1 / 2),  # a tie
    ([3, 2, 1], [1, 0, 1], 2 / 3, 4 / 5, 5 / 6, 1 / 2),  # precision 1 at the first, 2/3 at the third
    ([3, 2, 1], [0, 1, 1], 2 / 3, 4 / 5, 7 / 12, 0),  # 1/2 and 2/3
    ([3, 2, 1], [0, 0, 1], 1 / 3, 1 / 2, 1 / 3, 0),
    ([3, 2, 1], [1, 1, 0], 2 / 3, 4 / 5, 1, 1),
    ([1, -1, -2], [1, 1, 0], 2 / 3, 2 / 3, 1, 1),
    ([1, -1, -2], [0, 1, 0], 1 / 3, 0, 1 / 2, 1 / 2),
    ([4, 3, 2, 1], [1, 0, 1, 0], 1 / 2, 2 / 3, 5 / 6, 3 / 4),
    ([4, 3, 2, 1], [0, 1, 0, 1], 1 / 2, 2 / 3, 1 / 2, 1 / 4),
    ([2, 1, -1, -2], [1, 0, 1, 0], 1 / 2, 1 / 2, 5 / 6, 3 / 4),
    ([2, 1, -1, -2], [0, 0, 1, 1], 0, 0, 5 / 12, 0),  # 1/3 and 1/2
    ([5, 4, 3, 2, 1], [1, 0, 0, 0, 1], 2 / 5, 4 / 7, 7 / 10, 1 / 2),
]


@pytest.mark.parametrize(("scores", "gold", "accuracy", "f1", "precision", "area"), RELEVANCE)
def test_relevance(
    scores: list[float], gold: list[int], accuracy: float, f1: float, precision: float | None, area: float | None
) -> None:
    found = relevance_metrics(np.array(scores, dtype=np.float64), np.array(gold, dtype=np.float64))
    expected = {"accuracy": accuracy, "f1": f1, "average_precision": precision, "roc_auc": area}
    assert found == pytest.approx({name: 100 * value for name, value in expected.items() if value is not None})


#: Predicted and right numbers, Pearson's and Spearman's correlation, and the mean squared error.
REGRESSION: list[tuple[list[float], list[float], float, float, float]] = [
    ([1], [1], 0, 0, 0),  # a correlation with something constant is 0
    ([3], [1], 0, 0, 4),
    ([1, 1], [0, 2], 0, 0, 1),
    ([0, 2], [1, 1], 0, 0, 1),
    ([1, 2], [1, 2], 1, 1, 0),
    ([2, 1], [1, 2], -1, -1, 1),
    ([1, 3], [10, 20], 1, 1, (81 + 289) / 2),
    ([1, 2, 3], [1, 2, 3], 1, 1, 0),
    ([3, 2, 1], [1, 2, 3], -1, -1, 8 / 3),
    ([2, 4, 6], [1, 2, 3], 1, 1, 14 / 3),
    ([1, 3, 2], [1, 2, 3], 1 / 2, 1 / 2, 2 / 3),
    ([2, 1, 3], [1, 2, 3], 1 / 2, 1 / 2, 2 / 3),
    ([2, 3, 1], [1, 2, 3], -1 / 2, -1 / 2, 2),
    ([0, 0, 3], [0, 3, 3], 1 / 2, 1 / 2, 3),  # with ties
    ([0, 1, 4], [0, 1, 2], 4 / math.sqrt(2 * 26 / 3), 1, 4 / 3),
    ([0, 1, 8], [0, 1, 2], 8 / math.sqrt(2 * 38), 1, 12),
    ([1, 2, 3, 4], [1, 2, 3, 4], 1, 1, 0),
    ([1, 2, 4, 3], [1, 2, 3, 4], 4 / 5, 4 / 5, 1 / 2),
    ([4, 3, 1, 2], [1, 2, 3, 4], -4 / 5, -4 / 5, (9 + 1 + 4 + 4) / 4),
    ([2, 1, 4, 3], [1, 2, 3, 4], 3 / 5, 3 / 5, 1),
    ([-1, 0, 1, 0], [0, 1, 0, -1], 0, 0, 1),
    ([5, 5, 5], [1, 2, 3], 0, 0, (16 + 9 + 4) / 3),
]


@pytest.mark.parametrize(("predicted", "gold", "pearson", "spearman", "error"), REGRESSION)
def test_regression(predicted: list[float], gold: list[float], pearson: float, spearman: float, error: float) -> None:
    found = regression_metrics(np.array(predicted, dtype=np.float64), np.array(gold, dtype=np.float64))
    expected = {"pearson": 100 * pearson, "spearman": 100 * spearman, "mean_squared_error": error}
    assert found == pytest.approx(expected, abs=1e-9)


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share their mean."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    means = sum(one) / len(one), sum(other) / len(other)
    pairs = [(a - means[0], b - means[1]) for a, b in zip(one, other, strict=True)]
    return sum(a * b for a, b in pairs) / math.sqrt(sum(a * a for a, _ in pairs) * sum(b * b for _, b in pairs))


@pytest.mark.parametrize("seed", range(20))
def test_random_numbers_by_the_definitions(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, gold = random.integers(-3, 4, 12).astype(np.float64), random.integers(0, 2, 12).astype(np.float64)
    gold[:2] = 0, 1
    relevant = [(score, other) for score, one in zip(scores, gold, strict=True) if one == 1
                for other, none in zip(scores, gold, strict=True) if none == 0]  # fmt: skip
    area = sum(1.0 if score > other else 0.5 if score == other else 0.0 for score, other in relevant) / len(relevant)
    # Average precision: precision at each distinct score, weighed by the recall that it adds.
    precision, recalled = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        recall = gold[taken].sum() / gold.sum()
        precision += (recall - recalled) * gold[taken].mean()
        recalled = recall
    found = relevance_metrics(scores, gold)
    assert found["roc_auc"] == pytest.approx(100 * area)
    assert found["average_precision"] == pytest.approx(100 * precision)
    numbers = random.integers(0, 5, 12).astype(np.float64)
    found = regression_metrics(scores, numbers)
    assert found["pearson"] == pytest.approx(100 * _correlation(scores.tolist(), numbers.tolist()))
    assert found["spearman"] == pytest.approx(100 * _correlation(_ranks(scores.tolist()), _ranks(numbers.tolist())))


def test_no_record_is_refused() -> None:
    nothing = np.zeros(0)
    with pytest.raises(ValueError, match="no records to score"):
        class_metrics([], [])
    for score in (relevance_metrics, regression_metrics):
        with pytest.raises(ValueError, match="no records to score"):
            score(nothing, nothing)
