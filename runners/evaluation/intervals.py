"""Confidence intervals over texts: of a metric, of a loss between two models on the same texts, of a speed-up.

Records that share a passage are no independent draws, so that intervals count passages: the variance of a mean is that
of the sums over passages (a cluster-robust estimate), and Student's t has as many degrees of freedom, less one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit  # scipy.stats takes half a second to import

Numbers = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]

#: Confidence of intervals and bounds.
CONFIDENCE = 0.95
#: The most that a record can lose, in points of the main metric.
WHOLE = 100.0


def mean_interval(values: Numbers, groups: Groups) -> tuple[float, float]:
    """Return the mean, and half the width of its two-sided interval; infinite where there is one passage.

    Args:
        values: ``(n,)``.
        groups: Passage of each, from :func:`~trbert_env.data.sampling.passages_of`.

    Example:
        >>> mean, half = mean_interval(np.array([1.0, 2.0, 3.0]), np.arange(3))
        >>> mean, round(half, 3)
        (2.0, 2.484)
    """
    spread = Spread.of(values, groups)
    return spread.mean, spread.error * student_quantile((1 + CONFIDENCE) / 2, spread.count - 1)


def metric_interval(values: Numbers, groups: Groups) -> tuple[float, float]:
    """Return the mean of a metric, and half the width of its two-sided interval.

    It is Student's, of the values and two draws more: one that has all points and one that has none. Without these,
    texts that are all right would prove that no text is ever wrong.

    Args:
        values: ``(n,)`` from 0 to 100; NaN is left out.
        groups: Passage of each, from :func:`~trbert_env.data.sampling.passages_of`.

    Example:
        >>> mean, half = metric_interval(np.full(20, 100.0), np.arange(20))
        >>> mean, round(half, 1)
        (100.0, 9.5)
    """
    spread = Spread.of(values, groups)
    wider = _with_draws(spread, (WHOLE, 0.0))
    return spread.mean, wider.error * student_quantile((1 + CONFIDENCE) / 2, wider.count - 1)


def ratio_interval(above: Numbers, below: Numbers) -> tuple[float, float]:
    """Return the ratio of two means over the same texts, and half the width of its interval (the delta method).

    Each text counts as a draw of its own: the cost of windows and questions that share a passage depends on each.

    Args:
        above: ``(n,)`` positive numbers.
        below: ``(n,)`` positive numbers.
    """
    ratio = float(above.sum() / below.sum())
    _, half = mean_interval((above - ratio * below) / below.mean(), np.arange(len(above)))
    return ratio, half


@dataclass(frozen=True)
class Spread:
    """What an interval of a mean needs.

    Attributes:
        mean: The mean.
        deviation: Standard deviation of a draw, by which the error falls with the number of draws.
        count: Number of independent draws: passages.
    """

    mean: float
    deviation: float
    count: int

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(self.count)

    @classmethod
    def of(cls, values: Numbers, groups: Groups) -> Spread:
        """Work it out from values.

        Args:
            values: ``(n,)``; NaN is left out.
            groups: Passage of each, numbered from 0.
        """
        counted = ~np.isnan(values)
        values, groups = values[counted], np.unique(groups[counted], return_inverse=True)[1]
        mean, sizes = float(values.mean()), np.bincount(groups)
        count = len(sizes)
        if count < 2:
            return cls(mean, math.inf, count)
        sums = np.bincount(groups, weights=values) - sizes * mean
        return cls(mean, float(np.sqrt((sums**2).sum() / (count - 1)) / sizes.mean()), count)


def clearly_greater(one: Spread, other: Spread) -> bool:
    """Tell whether one mean is greater than another of other texts, by more than three standard errors.

    Args:
        one: Spread of the one.
        other: Spread of the other.

    Example:
        >>> clearly_greater(Spread(95.0, 20.0, 1000), Spread(92.0, 25.0, 1000))
        False
        >>> clearly_greater(Spread(95.0, 20.0, 2000), Spread(92.0, 25.0, 2000))
        True
    """
    return one.mean - other.mean > 3.0 * math.hypot(one.error, other.error)


@dataclass(frozen=True)
class Loss:
    """Loss of one model against another on the same texts, in points of the main metric.

    Attributes:
        mean: Mean loss; negative where it gained.
        bound: One-sided upper bound; see :func:`loss_bound`.
        half_width: Half the width of the two-sided interval; see :func:`loss_half_width`.
        spread: Spread that the bound follows from.
        confidence: Confidence of the bound, of this model taken alone.
    """

    mean: float
    bound: float
    half_width: float
    spread: Spread
    confidence: float = CONFIDENCE

    @classmethod
    def of(cls, full: Numbers, reduced: Numbers, groups: Groups) -> Loss:
        """Compare two models record by record.

        Args:
            full: ``(n,)`` what each record adds to the main metric of the one.
            reduced: The same of the other.
            groups: Passage of each record.
        """
        spread = Spread.of(full - reduced, groups)
        return cls(spread.mean, loss_bound(spread), loss_half_width(spread), spread)

    def among(self, count: int) -> Loss:
        """Return the loss with a bound that holds for the best of several models too (Bonferroni).

        Args:
            count: Number of models that are compared on the same texts.
        """
        confidence = 1.0 - (1.0 - CONFIDENCE) / count
        return replace(self, bound=loss_bound(self.spread, confidence), confidence=confidence)

    def draws_needed(self, most: float) -> int | None:
        """Return how many independent draws like these would show that no more than ``most`` is lost.

        Args:
            most: Points of the main metric.

        Returns:
            The number of passages or queries where texts share them, else of texts; None where no number would do, for
            more is lost.
        """
        return draws_needed(self.spread, most, self.confidence)


def loss_bound(spread: Spread, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of a mean loss.

    It is Student's, of the paired differences and one more draw that loses everything. Without that draw, texts of
    which none has changed would prove that nothing is ever lost; with it the bound is then 264/n points, near the exact
    300/n of the binomial distribution.

    Args:
        spread: Spread of the paired differences.
        confidence: Confidence of the bound.

    Example:
        >>> round(loss_bound(Spread(0.0, 0.0, 1000)), 3)
        0.264
    """
    wider = _with_draws(spread, (WHOLE,))
    return wider.mean + wider.error * student_quantile(confidence, wider.count - 1)


def loss_half_width(spread: Spread) -> float:
    """Return half the width of the two-sided interval of a mean loss, of :data:`CONFIDENCE`.

    As :func:`loss_bound`, with two more draws: one that loses everything, and one that gains as much.

    Args:
        spread: Spread of the paired differences.
    """
    wider = _with_draws(spread, (WHOLE, -WHOLE))
    return wider.error * student_quantile((1 + CONFIDENCE) / 2, wider.count - 1)


def _with_draws(spread: Spread, draws: tuple[float, ...]) -> Spread:
    """The spread of what was drawn and some draws more."""
    old, count = spread.count, spread.count + len(draws)
    if old < 2:
        return Spread(spread.mean, math.inf, count)
    mean = (old * spread.mean + sum(draws)) / count
    squares = (old - 1) * spread.deviation**2 + old * (spread.mean - mean) ** 2
    squares += sum((draw - mean) ** 2 for draw in draws)
    return Spread(mean, math.sqrt(squares / (count - 1)), count)


#: More texts than anyone has.
_ENDLESS = 10**9


def draws_needed(spread: Spread, most: float, confidence: float = CONFIDENCE) -> int | None:
    """Return the least number of draws whose bound is at most ``most``, at the same mean and deviation.

    Args:
        spread: Spread of the paired differences.
        most: Points of the main metric.
        confidence: Confidence of the bound.

    Returns:
        The number; None where there is none.
    """

    def holds(count: int) -> bool:
        return loss_bound(Spread(spread.mean, spread.deviation, count), confidence) <= most

    if spread.mean >= most or not math.isfinite(spread.deviation) or not holds(_ENDLESS):
        return None
    low, high = 1, _ENDLESS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def student_quantile(share: float, freedom: int) -> float:
    """Return a quantile of Student's distribution; infinite without a degree of freedom.

    Args:
        share: Probability of what lies below it.
        freedom: Degrees of freedom.

    Example:
        >>> round(student_quantile(0.975, 2), 3), student_quantile(0.975, 0)
        (4.303, inf)
    """
    if freedom < 1:
        return math.inf
    return float(stdtrit(freedom, share))
