"""Rows by hand: means, differences of the same seed, and the paper's figures at the nearest speed-up."""

from __future__ import annotations

import pytest

from runners.evaluation.record import EvaluationRecord
from runners.reproduction.nested import Result, multiplied
from runners.reproduction.published import CONTROL
from runners.reproduction.rows import START, cells_of, panels_of, rows_of


def result(
    system: str, seed: int, f1: float, speedup: float, target: float = 2.0, clock: float | None = None
) -> Result:
    own = {"f1": f1, "log_likelihood": -1.0, "flops_speedup": speedup}
    own |= {} if clock is None else {"wall_speedup_stock": clock, "wall_speedup_packed": clock / 2}
    own |= {"loss_half_width": 0.5, "flops_speedup_half_width": 0.1}
    full = {"full_f1": 60.0, "full_log_likelihood": -1.0}
    record = EvaluationRecord.from_flat({"env": "SQuAD2", "num_texts": 3, **own, **full})
    return Result("SQuAD2", system, target, seed, record)


def test_differences_are_to_the_control_of_the_same_seed() -> None:
    runs = [
        result(CONTROL, 0, 62.0, 0.99, 1.0),
        result("ours", 0, 61.0, 2.0, clock=2.5),
        result("residual", 0, 58.0, 2.0),
        result(CONTROL, 1, 64.0, 0.99, 1.0),
        result("ours", 1, 63.0, 2.2, clock=3.5),
    ]
    start, control, ours, residual = rows_of(runs)
    assert (start["system"], start["quality"], start["difference"]) == (START, 60.0, -3.0)
    assert (control["quality"], control["flops_speedup"], "difference" in control) == (63.0, 1.0, False)
    assert (ours["quality"], ours["difference"], ours["difference_interval"]) == (62.0, -1.0, 0.0)
    assert (ours["flops_speedup"], ours["wall_speedup_stock"]) == (pytest.approx(2.1), 3.0)
    assert (residual["difference"], "wall_speedup_stock" in residual) == (-4.0, False)
    assert cells_of(ours)[1:] == ["-1.00 ± 0.00", "2.10x*", "3.00x", 75.66, "2.08x"]
    assert cells_of(residual) == ["58.00", "-4.00", "2.00x", None, None, None]
    assert cells_of(None) == [None] * 6


def test_the_paper_stands_at_the_nearest_speed_up() -> None:
    runs = [result(CONTROL, 0, 62.0, 1.0, 1.0), *(result("ours", 0, 60.0, speed, speed) for speed in (1.5, 2.0, 3.0))]
    assert [row.get("paper") for row in rows_of(runs)] == [None, 77.12, None, 75.66, None]


def test_the_speed_ups_of_a_student_multiply() -> None:
    half, reduced = result("distilled", 0, 59.0, 2.0, clock=2.4), result("ours", 0, 58.0, 1.5, clock=3.0)
    found = multiplied(reduced.record, half.record, 2.0)
    assert found.reduced.savings is not None
    assert found.clock is not None
    assert found.reduced.savings.flops_speedup == 3.0
    # The packed student is 2.4x as fast as the whole stock encoder, and 1.5x slower than its reduced self.
    assert found.clock.wall_speedup_stock == pytest.approx(2.4 * 1.5)
    assert found.clock.wall_speedup_packed == pytest.approx(1.2 * 1.5)
    assert "loss_half_width" in half.record.to_flat()
    assert not any(name.endswith("half_width") for name in found.to_flat())  # of one factor alone


def test_the_short_last_layer_of_a_student_counts_once() -> None:
    """Of classifiers a student's own speed-up is more than its layers give, and ours on it is against all of these."""
    half, reduced = result("distilled", 0, 59.0, 2.8), result("ours", 0, 58.0, 2.0)
    found = multiplied(reduced.record, half.record, 2.0)
    assert found.reduced.savings is not None
    assert found.reduced.savings.flops_speedup == 4.0


def test_the_plot_shows_the_paper_too() -> None:
    runs = [result(CONTROL, 0, 62.0, 1.0, 1.0), result("ours", 0, 60.0, 2.0), result("pooled", 0, 58.0, 2.0)]
    (panel,) = panels_of(runs).values()
    assert panel["ours"] == [(2.0, 60.0)]
    assert panel["ours, paper"] == [(2.08, 75.66)]
    assert panel[f"{CONTROL}, paper"] == [(1.0, 77.12)]
    assert "pooled, paper" not in panel
