"""The jointly trained model or the policy on the unchanged encoder, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runners.evaluation.intervals import Loss, Spread, loss_bound
from runners.evaluation.record import Measured, Quality, Savings
from runners.faster.candidates import Candidate, best_candidate, better, loses_when_slow
from runners.faster.choice import Choice, SpeedPoint
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.speed_table import SpeedTable

#: Standard deviation of a draw by which 1,000 draws bound a mean one point higher, nearly.
DEVIATION = 1000**0.5 / 1.65


def points(*losses: tuple[float, float, float]) -> list[SpeedPoint]:
    """Points of (speed-up, mean loss, bound)."""
    return [
        SpeedPoint(
            speed,
            DecisionRule(),
            Measured(Quality({"f1": 60.0 - mean}, -1.0), Savings(speed)),
            Loss(mean, bound, bound - mean, Spread(mean, DEVIATION * (bound - mean), 1000)),
        )
        for speed, mean, bound in losses
    ]


def candidate(
    found: list[SpeedPoint], max_loss: float | None, target: float | None = 2.0, *, frozen: bool = False
) -> Candidate:
    """What was measured, without a model."""
    model: Any = None
    return Candidate(model, SpeedTable((), ()), found, target, max_loss, frozen)


#: What a newcomer's 1,000 texts of joint training gave, and a policy on the unchanged encoder that is better when slow.
SHORT = points((1.25, 4.3, 6.4), (1.5, 4.5, 6.6), (2.0, 5.7, 8.0))
POLICY = points((1.25, 0.3, 0.6), (1.5, 0.9, 1.5), (2.0, 6.0, 8.2))
LONG = points((1.25, 0.1, 1.3), (1.5, 0.1, 1.3), (2.0, 1.1, 2.4))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (SHORT, True),
        (LONG, False),
        (points((1.25, 2.2, 9.3), (2.0, 2.2, 9.3)), False),  # 40 queries do not tell
        (points((1.25, -0.4, 0.2), (2.0, -0.6, 0.3)), False),
    ],
)
def test_whether_training_loses_what_is_lost(found: list[SpeedPoint], expected: bool) -> None:
    assert loses_when_slow(found, Choice(found[-1], "speed")) is expected


@pytest.mark.parametrize(
    ("max_loss", "target", "frozen", "wanted", "outcome"),
    [
        (0.5, None, True, 1.25, "measured"),
        (None, 2.0, False, 2.0, "speed"),  # at 2x the encoder is better for having been trained
        (None, 1.5, True, 1.5, "speed"),
        (0.1, None, True, 1.25, "missed"),  # the smaller loss
        (5.0, None, True, 1.5, "shown"),  # which the trained one is not
        (7.5, None, True, 1.5, "shown"),  # as the trained one is, and loses less
    ],
)
def test_the_better_one_is_taken(
    max_loss: float | None, target: float | None, frozen: bool, wanted: float, outcome: str
) -> None:
    trained = candidate(SHORT, max_loss, target)
    best = best_candidate(trained, lambda: candidate(POLICY, max_loss, target, frozen=True))
    assert best.frozen is frozen
    assert (best.choice.point.wanted, best.choice.outcome) == (wanted, outcome)


def test_the_policy_alone_is_not_measured_where_training_did_well() -> None:
    trained = candidate(LONG, 0.5)

    def not_called() -> Candidate:
        raise AssertionError("it takes time")

    assert best_candidate(trained, not_called) is trained


def test_of_two_that_are_measured_the_faster_is_better() -> None:
    slow, fast = candidate(points((1.5, 0.1, 0.7)), 0.5), candidate(points((2.0, 0.4, 0.9)), 0.5)
    assert (slow.choice.outcome, fast.choice.outcome) == ("measured", "measured")
    assert better(fast, slow)
    assert not better(slow, fast)


def test_of_two_for_a_speed_one_that_does_not_reach_it_is_not_better_for_losing_less() -> None:
    reached = candidate(points((2.0, 1.5, 2.5)), None)
    (point,) = points((1.3, 0.2, 0.9))
    missed = candidate([replace(point, wanted=2.0)], None)  # measured by its own rule, for no threshold gives 2x
    assert better(reached, missed)
    assert not better(missed, reached)
    assert better(candidate(points((2.04, 1.2, 2.2)), None), reached), "as fast, and it loses less"


def test_bounds_of_the_better_of_two_are_wider() -> None:
    (point,) = points((2.0, 1.0, 2.0))
    wider = point.loss.among(2)
    # By hand: Student's quantiles of 1,000 draws are 1.646 at 95 % and 1.962 at 97.5 %.
    assert wider.bound - wider.mean == pytest.approx(1.962 / 1.646 * (loss_bound(point.loss.spread) - wider.mean), 0.02)
    assert wider.mean == point.loss.mean
