"""Intervals and bounds of paired losses, against independent computations and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import beta, bootstrap, ttest_1samp

from runners.evaluation.intervals import (
    Loss,
    Spread,
    draws_needed,
    loss_bound,
    loss_half_width,
    mean_interval,
    ratio_interval,
)
from trbert_env.data.sampling import passages_of


def spread_of(values: np.ndarray) -> Spread:
    return Spread.of(values, np.arange(len(values)))


def changes(lost: int, gained: int, count: int) -> np.ndarray:
    """Differences of right and wrong answers: 100 where one was lost, -100 where one was gained."""
    return np.array([100.0] * lost + [-100.0] * gained + [0.0] * (count - lost - gained))


def test_the_mean_and_its_interval_are_students() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 40)
    low, high = ttest_1samp(values, 0.0).confidence_interval(0.95)
    mean, half = mean_interval(values, np.arange(40))
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_the_bound_is_students_with_one_more_text_that_loses_all() -> None:
    values = changes(7, 3, 200)
    interval = ttest_1samp(np.append(values, 100.0), 0.0, alternative="less").confidence_interval(0.95)
    assert loss_bound(spread_of(values)) == pytest.approx(interval.high)
    low, high = ttest_1samp(np.append(values, [100.0, -100.0]), 0.0).confidence_interval(0.95)
    assert 2 * loss_half_width(spread_of(values)) == pytest.approx(high - low)


def test_a_bound_worked_out_by_hand() -> None:
    # Of 9 texts 1 is lost; with one more lost, 10 values of mean 20 and deviation sqrt(16000 / 9) = 42.164.
    # 20 + t(0.95, 9) * 42.164 / sqrt(10) = 20 + 1.8331 * 13.333
    assert loss_bound(spread_of(changes(1, 0, 9))) == pytest.approx(44.442, abs=1e-3)


@pytest.mark.parametrize(("lost", "count"), [(0, 500), (2, 1000), (9, 1000), (40, 2000)])
def test_the_bound_is_near_the_exact_one_of_the_binomial(lost: int, count: int) -> None:
    exact = 100 * beta.ppf(0.95, lost + 1, count - lost)  # Clopper and Pearson 1934
    assert loss_bound(spread_of(changes(lost, 0, count))) == pytest.approx(exact, rel=0.13)


@pytest.mark.parametrize(("lost", "gained", "count"), [(0.02, 0.01, 200), (0.005, 0.0, 500), (0.02, 0.018, 2000)])
def test_the_bound_covers_the_true_loss_as_often_as_it_says(lost: float, gained: float, count: int) -> None:
    random = np.random.default_rng(0)
    drawn = random.multinomial(count, [lost, gained, 1 - lost - gained], size=2000)
    bounds = [loss_bound(spread_of(changes(up, down, count))) for up, down, _ in drawn]
    assert np.mean(np.array(bounds) >= 100 * (lost - gained)) >= 0.95


def test_records_of_one_passage_are_one_draw() -> None:
    values = np.random.default_rng(0).normal(size=50)
    one = mean_interval(values, np.arange(50))
    # Each record ten times over tells no more than once.
    assert mean_interval(np.repeat(values, 10), np.repeat(np.arange(50), 10)) == pytest.approx(one)
    assert mean_interval(np.repeat(values, 10), np.arange(500))[1] < one[1] / 3
    assert math.isinf(mean_interval(np.ones(5), np.zeros(5, dtype=np.int64))[1])


def test_the_passage_of_a_record() -> None:
    assert passages_of(Dataset.from_dict({"id": ["a", "b"]})).tolist() == [0, 1]
    assert passages_of(Dataset.from_dict({"context": ["x", "y", "x"]})).tolist() == [0, 1, 0]
    assert passages_of(Dataset.from_dict({"group": ["p", "p"], "context": ["x", "y"]})).tolist() == [0, 0]


def test_the_interval_of_a_speed_up_is_near_the_bootstraps() -> None:
    random = np.random.default_rng(0)
    full = random.uniform(50.0, 150.0, 300)
    spent = full * random.uniform(0.3, 0.7, 300)
    ratio, half = ratio_interval(full, spent)
    assert ratio == pytest.approx(full.sum() / spent.sum())
    found = bootstrap(
        (full, spent), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True, rng=random
    ).confidence_interval
    assert (ratio - half, ratio + half) == pytest.approx((found.low, found.high), abs=0.15 * half)


def test_how_many_texts_would_show_it() -> None:
    loss = Loss.of(*pair(lost=30, gained=26, count=1000))
    assert loss.mean == pytest.approx(0.4)
    assert loss.bound > 1.0
    needed = loss.draws_needed(1.0)
    assert needed is not None
    for count, holds in ((needed, True), (needed - 1, False)):
        assert (loss_bound(Spread(loss.spread.mean, loss.spread.deviation, count)) <= 1.0) == holds
    assert loss.among(2).draws_needed(1.0) > needed  # whose bound has to hold for the best of two
    assert loss.draws_needed(0.4) is None  # no number shows that less is lost than is lost
    assert draws_needed(Spread(0.0, 0.0, 7), 0.5) == 529  # 264 / 0.5, where no answer changes


def pair(lost: int, gained: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of two models whose differences are :func:`changes`."""
    difference = changes(lost, gained, count)
    full = np.where(difference > 0, 100.0, 0.0)
    return full, full - difference, np.arange(count)
