"""Time that was spent, over interruptions, by a clock that the tests move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runners.faster import ledger as ledger_module
from runners.faster.ledger import Ledger
from runners.faster.plan import Plan

PLAN = Plan(100, 100, 2000, 6000, stage1_texts=1000, seconds={"fine-tuning": 120.0, "stage 2": 60.0, "stage 3": 300.0})


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ledger_module, "time", clock)
    return clock


def interrupt(ledger: Ledger, clock: Clock) -> None:
    """Press Ctrl-C after a minute of fine-tuning."""
    with ledger.spending("fine-tuning"):
        clock.now += 60.0
        raise KeyboardInterrupt


def test_time_is_counted_over_interruptions(clock: Clock, tmp_path: Path) -> None:
    first = Ledger(tmp_path, PLAN, started=90.0)
    with pytest.raises(KeyboardInterrupt):
        interrupt(first, clock)
    clock.now += 1000.0  # nobody works

    second = Ledger(tmp_path, PLAN, started=clock.now)
    assert second.total == pytest.approx(70.0)
    with second.spending("fine-tuning"):
        clock.now += 120.0
    assert second.spent("fine-tuning") == pytest.approx(180.0)
    assert second.total == pytest.approx(190.0)
    assert second.slower(["fine-tuning"]) == pytest.approx(1.5)
    assert second.slower([]) == 1.0

    again = replace(PLAN, joint_texts=5000, seconds=PLAN.seconds | {"fine-tuning": 180.0})
    second.plan_again(again)
    third = Ledger(tmp_path, PLAN, started=clock.now)
    assert third.planned_again
    assert third.plan == again


def test_what_a_killed_session_took_is_not_known(clock: Clock, tmp_path: Path) -> None:
    with Ledger(tmp_path, PLAN, started=clock.now).spending("fine-tuning"):
        clock.now += 60.0
        killed = (tmp_path / "progress.json").read_text()
    (tmp_path / "progress.json").write_text(killed)
    ledger = Ledger(tmp_path, PLAN, started=clock.now)
    with ledger.spending("fine-tuning"):
        clock.now += 30.0
    assert ledger.spent("fine-tuning") == pytest.approx(120.0)  # at least what was planned
    assert ledger.slower(["fine-tuning"]) == 1.0
