"""A comparison says of each number how sure it is, and of what was not measured nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from datasets import Dataset
from transformers import BertConfig, PreTrainedModel, PreTrainedTokenizerBase

from runners.evaluation.certainty import Certainty
from runners.evaluation.comparison import Comparison, print_comparison, quality_rows, speed_rows
from runners.evaluation.machine import Load
from runners.evaluation.quality import MeasuredPass
from runners.evaluation.record import Conditions, EvaluationRecord, Measured, Quality, Savings
from runners.evaluation.timing import ClockReading, Ratio
from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.presets import get_preset
from trbert_env.tasks import make_task

NAMES = ("bad", "good")
GOLD = [0, 1, 0, 1, 0]
#: Right 4 of 5, and 3 of 5: one text is lost, one gained and one more lost.
FULL, REDUCED = [0, 1, 0, 1, 1], [1, 1, 0, 0, 0]
CONDITIONS = Conditions("IMDB", "test", "local", "tiny", 5, 5, "float32", "a", "b", "c")


@pytest.fixture
def workload() -> Workload:
    preset = replace(get_preset("IMDB"), settings={"max_tokens": 8})
    backbone = Backbone(
        cast(PreTrainedModel, None), cast(PreTrainedTokenizerBase, None), "tiny", "tiny", fine_tuned=True
    )
    rows = [
        {"id": str(place), "text": f"text {place}", "text_pair": None, "label": NAMES[label]}
        for place, label in enumerate(GOLD)
    ]
    records, task = Dataset.from_list(rows), make_task(preset)
    task.configure(BertConfig(), records)
    return Workload(preset, task, backbone, records, [], "test", "local")


def passed(workload: Workload, predictions: list[int], flops: list[float]) -> MeasuredPass:
    by_id = {str(place): NAMES[label] for place, label in enumerate(predictions)}
    metrics = workload.task.metrics(by_id, workload.examples)
    spent = np.array(flops)
    return MeasuredPass(
        Measured(Quality(metrics, -0.5), Savings(10.0 * len(flops) / spent.sum())),
        by_id,
        workload,
        spent,
        np.full(len(flops), 10.0),
    )


def comparison(workload: Workload, *, both: bool = True, reading: ClockReading | None = None) -> Comparison:
    full = passed(workload, FULL, [10.0] * 5)
    reduced = passed(workload, REDUCED, [4.0, 5.0, 5.0, 5.0, 6.0])
    return Comparison(CONDITIONS, reduced, full.measured.quality, full if both else None, reading)


def test_intervals_are_of_the_paired_differences(workload: Workload) -> None:
    found = comparison(workload)
    assert found.loss is not None
    # Differences 100, 0, 0, 100, -100, and by the rule of small numbers 100 and -100 more: mean 100 / 7.
    assert found.loss.mean == pytest.approx(20.0)
    values = np.array([100.0, 0, 0, 100, -100, 100, -100])
    student = 2.4469118511449692  # 97.5 % of Student's t with 6 degrees of freedom
    half = student * values.std(ddof=1) / np.sqrt(7)
    assert found.loss.half_width == pytest.approx(half)
    # FLOPs: 50 / 25; by the delta method the deviations of (10 - 2 * spent) / 5, Student's t with 4 degrees.
    speedup, flops_half = found.flops_speedup
    deviations = np.array([2.0, 0, 0, 0, -2]) / 5
    assert speedup == pytest.approx(2.0)
    assert flops_half == pytest.approx(2.7764451051977987 * deviations.std(ddof=1) / np.sqrt(5))
    assert found.certainty == Certainty(loss_half_width=found.loss.half_width, flops_speedup_half_width=flops_half)


def test_the_record_keeps_them_and_reads_them_again(workload: Workload) -> None:
    ratio, cpu = Ratio(2.5, 2.0, 3.0, 3), Ratio(2.2, 2.1, 2.3, 3)
    reading = ClockReading({"stock": ratio, "packed": cpu}, {"stock": cpu, "packed": cpu}, Load(0.5, 2))
    found = comparison(workload, reading=reading)
    flat = found.record(agent="residual", extra={"outcome": "speed"}).to_flat()
    assert (flat["wall_speedup_stock"], flat["wall_speedup_stock_least"], flat["wall_speedup_stock_most"]) == (
        2.5,
        2,
        3,
    )
    assert (flat["cpu_speedup_packed"], flat["machine_quiet"], flat["outcome"]) == (2.2, False, "speed")
    again = EvaluationRecord.from_flat(flat)
    assert again.certainty == found.certainty
    assert (again.agent, again.reduced, again.full) == ("residual", found.reduced.measured, found.full)


def test_what_was_not_measured_is_not_told(workload: Workload, capsys: pytest.CaptureFixture[str]) -> None:
    found = comparison(workload, both=False)
    assert found.loss is None
    assert set(found.certainty.to_flat()) == {"flops_speedup_half_width"}
    assert found.record().clock is None
    (name, before, after, change), *_ = quality_rows(found)
    assert (name, before, change) == ("accuracy", "80.00", "-20.00")
    assert str(after).startswith("60.00 ± ")
    assert [row[0] for row in speed_rows(found)] == ["FLOPs"]
    print_comparison(found)
    told = capsys.readouterr()
    assert "clock" not in told.out + told.err


def test_a_busy_machine_is_said(workload: Workload, capsys: pytest.CaptureFixture[str]) -> None:
    ratio = Ratio(2.0, 1.9, 2.1, 3)
    sides = {"stock": ratio, "packed": ratio}
    print_comparison(comparison(workload, reading=ClockReading(sides, sides, Load(1.4, 2))))
    told = capsys.readouterr()
    assert "2.00x (1.90x to 2.10x in 3 rounds)" in told.out
    assert "1.40 of 2 processors busy" in " ".join(told.err.replace("│", " ").split())
    print_comparison(comparison(workload, reading=ClockReading(sides, sides, Load(0.0, 2))))
    assert "processors" not in capsys.readouterr().err
