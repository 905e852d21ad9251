"""Ratios of times, where a clock counts none for a short pass."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from runners.evaluation import timing
from runners.evaluation.timing import Ratio, Timing
from trbert_env.system import System


def test_a_pass_that_no_tick_fell_into_has_no_ratio() -> None:
    above, below = Timing("stock", (2.0, 4.0), (2.0, 4.0)), Timing("reduced", (1.0, 1.0), (0.0, 0.0))
    assert Ratio.of(above, below) == Ratio(3.0, 2.0, 4.0, 2)
    assert math.isnan(above.cpu_median / below.cpu_median)
    assert math.isnan(below.cpu_median / above.cpu_median)
    for some in ((0.0, 1.0), (1.0, 0.0)):
        found = Ratio.by_cpu(above, Timing("reduced", (1.0, 1.0), some))
        assert all(map(math.isnan, (found.median, found.least, found.most)))
    found = Ratio.by_cpu(above, below)
    assert math.isnan(found.median)
    assert math.isnan(found.least)
    assert found.rounds == 2
    assert str(found) == "nanx (nanx to nanx in 2 rounds)"


def test_a_speed_up_by_cpu_time_that_is_not_known_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = {
        "stock": Timing("stock", (2.0, 4.0), (2.0, 4.0)),
        "packed": Timing("packed", (2.0, 2.0), (0.0, 2.0)),
        "reduced": Timing("reduced", (1.0, 1.0), (1.0, 1.0)),
    }
    monkeypatch.setattr(timing, "time_sample", lambda *_: sides)
    reduced = cast(System, SimpleNamespace(device=torch.device("cpu")))
    reading = timing.read_clock({"reduced": reduced}, [])
    assert set(reading.wall) == {"stock", "packed"}
    assert reading.cpu == {"stock": Ratio(3.0, 2.0, 4.0, 2)}
