"""Numbers of texts that fit a time, from the pace of a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runners.faster.plan import LEAST_TRAINED, PLANNED_SHARE, TooLittleTimeError, Work

WORK = Work(
    holdout=2000,
    evaluation=25_000,
    per_record=1.0,
    policy=(20_000, 0.02),
    joint=(20_000, 0.05),
    most_joint=280_000,
    forward=0.01,
    first=0.0,
    overhead=(3000.0, 3000.0),
    reading=5.0,
    passes=5.0,
    report_passes=1.6,
    timed=3000.0,
)


@pytest.mark.parametrize("minutes", [5, 10, 30, 120, 600])
def test_a_plan_fits_its_time(minutes: int) -> None:
    plan = WORK.within(60 * minutes)
    assert sum(plan.seconds.values()) <= 60 * minutes
    assert plan.policy_texts >= LEAST_TRAINED
    assert plan.joint_texts >= LEAST_TRAINED
    assert plan.policy_texts <= 20_000
    if minutes < 600:  # the time is used, but for the reserve
        fixed = sum(WORK.within(60 * minutes).seconds.values()) - plan.policy_texts * 0.02 - plan.joint_texts * 0.05
        assert sum(plan.seconds.values()) - fixed >= 0.98 * PLANNED_SHARE * (60 * minutes - fixed)
    assert (plan.evaluation_texts or 0) * 1.6 * 0.01 <= 0.1 * 60 * minutes + 1


def test_more_time_is_more_training() -> None:
    short, long = WORK.within(600), WORK.within(3600)
    assert short.policy_texts < long.policy_texts
    assert short.joint_texts < long.joint_texts
    assert long.joint_texts * 0.05 > long.policy_texts * 0.02


def test_too_little_time_says_how_much_would_do() -> None:
    with pytest.raises(TooLittleTimeError) as caught:
        WORK.within(60)
    enough = caught.value.seconds
    assert enough > 60
    least = WORK.within(1.3 * enough)  # with more time, more is measured
    assert sum(least.seconds.values()) < 1.3 * enough
    with pytest.raises(TooLittleTimeError):  # fine-tuning counts too
        replace(WORK, first=enough).within(1.3 * enough)


def test_time_that_is_left() -> None:
    plan = replace(WORK, first=120.0).usual()
    assert list(plan.seconds) == ["fine-tuning", "stage 2", "stage 3", "measuring"]
    assert plan.left("fine-tuning") == pytest.approx(sum(plan.seconds.values()))
    assert plan.left("measuring") == plan.seconds["measuring"]
    assert (plan.policy_texts, plan.joint_texts, plan.chosen_on, plan.evaluation_texts) == (20_000, 20_000, 2000, None)
