"""Numbers of texts that fit a time, from the pace of a machine."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from runners.faster.plan import (
    LEAST_MEASURED,
    LEAST_TRAINED,
    PLANNED_SHARE,
    STAGES,
    TooLittleTimeError,
    Work,
    print_plan,
)

WORK = Work(
    holdout=2000,
    evaluation=25_000,
    per_record=1.0,
    policy=(20_000, 0.02),
    joint=(20_000, 0.05),
    most_joint=280_000,
    forward=0.01,
    first=(0, 0.0),
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
        replace(WORK, first=(100, enough / 100)).within(1.3 * enough)


def test_time_that_is_left() -> None:
    plan = replace(WORK, first=(1000, 0.115)).usual()
    assert plan.seconds["fine-tuning"] == pytest.approx(120.0)
    assert [plan.texts_of(name) for name in plan.seconds] == [1000, 20_000, 20_000, None]
    assert WORK.usual().texts_of("fine-tuning") is None
    assert plan.after("stage 3") == plan.seconds["measuring"]
    assert list(plan.seconds) == ["fine-tuning", "stage 2", "stage 3", "measuring"]
    assert plan.left("fine-tuning") == pytest.approx(sum(plan.seconds.values()))
    assert plan.left("measuring") == plan.seconds["measuring"]
    assert (plan.policy_texts, plan.joint_texts, plan.chosen_on, plan.evaluation_texts) == (20_000, 20_000, 2000, None)


def test_what_follows_fine_tuning_is_planned_again_from_the_time_that_is_left() -> None:
    work = replace(WORK, first=(1000, 0.5))
    first = work.within(3600)
    again = work.again(3600 - 1500, 1500.0)  # three times as long as planned
    assert again.seconds["fine-tuning"] == 1500.0
    assert again.stage1_texts == 1000
    assert sum(again.seconds.values()) <= 3600
    assert again.joint_texts < first.joint_texts
    assert again == Work.of_json(json.loads(json.dumps(asdict(work)))).again(2100, 1500.0)
    assert f"{again.joint_texts:,} texts in stage 3, not {first.joint_texts:,}" in first.told_changes(again)
    assert first.told_changes(first) == ""
    none_left = work.again(-5.0, 4000.0)
    assert (none_left.policy_texts, none_left.joint_texts, none_left.chosen_on) == (320, 320, LEAST_MEASURED)


def test_the_table_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    plan = replace(WORK, first=(1000, 0.115)).usual()
    print_plan(plan, 900, {"fine-tuning": 1.0, "stage 2": 0.25}, slower=2.0)
    said = capsys.readouterr().out
    left = 2.0 * (0.75 * plan.seconds["stage 2"] + plan.after("stage 2"))
    assert f"plan, about {left / 60:.1f} minutes left; 900 training texts" in said
    told = " ".join(said.replace("│", " ").split())
    assert "stage 1, fine-tuning fine-tune the checkpoint on the task 1,000 texts ended" in told
    assert f"20,000 texts {1.5 * plan.seconds['stage 2'] / 60:.1f}, 25 % done" in told
    assert all(STAGES[name].title in told for name in plan.seconds)
