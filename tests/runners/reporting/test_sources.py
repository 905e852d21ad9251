"""Runs and tables of runs, as a report reads them: means over seeds, and what cannot be reported on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.reporting.plots import data_sets, training_charts
from runners.reporting.sources import Point, Training, read_sources
from runners.reproduction.published import CONTROL
from runners.runs.files import write_csv


def write_run(root: Path, name: str, record: dict[str, Any], **options: Any) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"options": options, "facts": {}}))
    full = {"full_f1": 60.0, "full_log_likelihood": -1.0, "log_likelihood": -1.0}
    (path / "metrics.json").write_text(json.dumps({"env": "SQuAD2", "num_texts": 10, **full, **record}))
    return path


def test_seeds_are_one_row_and_other_settings_are_another(tmp_path: Path) -> None:
    paths = [
        write_run(
            tmp_path, f"SQuAD2/joint-reinforce/{seed}-{texts}", {"f1": f1, "flops_speedup": 2.0}, seed=seed,
            target_speedup=2.0, total_texts=texts,
        )
        for seed, texts, f1 in ((0, 100, 58.0), (1, 100, 60.0))
    ]  # fmt: skip
    (found,) = data_sets(read_sources(paths))
    (row,) = found.rows
    assert (row.series, row.runs, row.quality, row.difference) == ("joint", 2, 59.0, -1.0)
    assert row.quality_half == pytest.approx(12.7062, abs=1e-3)  # t(0.975, 1) times 1
    assert found.frontier is None
    longer = write_run(
        tmp_path, "SQuAD2/joint-reinforce/9", {"f1": 61.0, "flops_speedup": 2.0}, seed=0, target_speedup=2.0,
        total_texts=200,
    )  # fmt: skip
    (found,) = data_sets(read_sources([*paths, longer]))
    assert sorted(row.series for row in found.rows) == ["joint, 0-100", "joint, 1-100", "joint, 9"]
    assert found.frontier is not None
    assert found.frontier.lines[0].name == "unreduced"


def test_evaluations_of_two_models_are_two_rows(tmp_path: Path) -> None:
    """Models that differ by their seed alone are one; what they began with counts too, and not where it lies."""
    stages = [
        write_run(tmp_path, f"SQuAD2/policy-reinforce/{seed}-{texts}-{encoder}", {}, seed=seed, total_texts=texts,
                  backbone=encoder)
        for seed, texts, encoder in ((0, 100, "a"), (1, 100, "a"), (0, 200, "a"), (0, 100, "b"))
    ]  # fmt: skip
    paths = [
        write_run(
            tmp_path,
            f"SQuAD2/evaluate-model/{number}",
            {"f1": 50.0 + number, "flops_speedup": 2.0},
            model=str(stage / "model"),
        )
        for number, stage in enumerate(stages)
    ]

    def rows(*chosen: int) -> list[tuple[int, float]]:
        (found,) = data_sets(read_sources([paths[number] for number in chosen]))
        return [(row.runs, row.quality) for row in found.rows]

    assert rows(0, 1) == [(2, 50.5)]
    assert rows(0, 2) == [(1, 50.0), (1, 52.0)]
    assert rows(0, 3) == [(1, 50.0), (1, 53.0)]


def test_the_change_of_a_single_run_has_its_interval_over_the_texts(tmp_path: Path) -> None:
    record = {"f1": 58.0, "flops_speedup": 2.0, "loss_half_width": 1.5}
    paths = [write_run(tmp_path, f"SQuAD2/faster-reviews/{seed}", record, seed=seed) for seed in (0, 1)]
    (row,) = data_sets(read_sources(paths[:1]))[0].rows
    assert (row.difference, row.difference_half) == (-2.0, 1.5)
    (row,) = data_sets(read_sources(paths))[0].rows
    assert math.isnan(row.difference_half)  # of two runs it is another one


def test_a_table_of_runs(tmp_path: Path) -> None:
    path = write_run(tmp_path, "SQuAD2/reproduce-table2/1", {})
    full = {"env": "SQuAD2", "num_texts": 10, "full_f1": 60.0, "full_log_likelihood": -1.0, "log_likelihood": -1.0}
    write_csv(
        path / "runs.csv",
        [
            {**full, "system": "ours", "target": 2.0, "seed": 0, "f1": 59.0, "flops_speedup": 2.1},
            {**full, "system": "ours", "target": 2.0, "seed": 1, "f1": 58.0, "flops_speedup": 1.9},
            {**full, "system": CONTROL, "target": 1.0, "seed": 0, "f1": 61.0, "flops_speedup": 0.99},
            {**full, "system": "random", "target": 2.0, "seed": 0, "f1": 40.0, "flops_speedup": 2.0, "agent": "random"},
        ],
    )
    (source,) = read_sources([path])
    assert not source.is_run
    assert [point.series for point in source.points] == ["ours", "ours", CONTROL, "random"]
    (found,) = data_sets([source])
    assert [(row.series, row.runs, row.quality, row.flops_speedup) for row in found.rows] == [
        ("ours", 2, 58.5, 2.0),
        (CONTROL, 1, 61.0, 1.0),
        ("random", 1, 40.0, 2.0),
    ]
    assert found.frontier is not None
    assert [line.name for line in found.frontier.lines] == ["unreduced", "ours", CONTROL, "random"]


def test_tables_of_other_settings_are_told_apart(tmp_path: Path) -> None:
    full = {"env": "SQuAD2", "num_texts": 10, "full_f1": 60.0, "full_log_likelihood": -1.0, "log_likelihood": -1.0}

    def table(name: str, f1: float, seed: int, **options: Any) -> Path:
        path = write_run(tmp_path, f"SQuAD2/sweep-policy/{name}", {}, seed=seed, **options)
        row = {**full, "series": "stage 2", "target": 2.0, "seed": seed, "f1": f1, "flops_speedup": 2.0}
        write_csv(path / "frontier.csv", [{**row, "backbone": "12345", "texts_fingerprint": "1234567890123e78"}])
        return path

    first, second, longer = table("a", 58.0, 0), table("b", 60.0, 3, seeds=2), table("c", 70.0, 0, total_texts=9)
    (found,) = data_sets(read_sources([first, second]))
    assert [(row.series, row.runs, row.quality) for row in found.rows] == [("stage 2", 2, 59.0)]
    assert (found.record.conditions.backbone, found.record.conditions.texts_fingerprint) == (
        "12345",
        "1234567890123e78",
    )
    (found,) = data_sets(read_sources([first, second, longer]))
    assert sorted((row.series, row.quality) for row in found.rows) == [
        ("stage 2, a", 58.0), ("stage 2, b", 60.0), ("stage 2, c", 70.0),
    ]  # fmt: skip


def test_own_data_of_other_tasks_are_other_tables(tmp_path: Path) -> None:
    shared = {"env": "TextClassification", "num_texts": 9, "full_log_likelihood": -1.0, "log_likelihood": -1.0}
    paths = []
    for number, metrics in enumerate(({"accuracy": 90.0}, {"ndcg_at_10": 94.0, "accuracy": 99.0}, {"pearson": 80.0})):
        path = write_run(tmp_path, f"TextClassification/joint-reinforce/{number}", {}, total_texts=number)
        full = {f"full_{name}": value for name, value in metrics.items()}
        (path / "metrics.json").write_text(json.dumps({**shared, **metrics, **full, "flops_speedup": 2.0}))
        paths.append(path)
    found = data_sets(read_sources(paths))
    assert [(one.metric, [row.quality for row in one.rows]) for one in found] == [
        ("accuracy", [90.0]), ("ndcg_at_10", [94.0]), ("pearson", [80.0]),
    ]  # fmt: skip


def test_runs_on_other_examples_are_compared_by_their_change(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path, f"SQuAD2/{name}/1", {"f1": f1, "full_f1": full, "flops_speedup": 2.0, "num_texts": count})
        for name, f1, full, count in (("policy-reinforce", 61.0, 62.0, 10), ("joint-reinforce", 80.0, 82.5, 20))
    ]
    (found,) = data_sets(read_sources(paths))
    assert found.unreduced == [(62.0, 10), (82.5, 20)]
    assert found.frontier is not None
    assert found.frontier.y_label == "change of F1"
    assert [(line.name, line.marks[0].y) for line in found.frontier.lines] == [
        ("unreduced", 0.0),
        ("stage 2", -1.0),
        ("joint", -2.5),
    ]


def test_curves_of_two_data_sets_are_told_apart(tmp_path: Path) -> None:
    """A legend names their data sets, and each has the curve of its own metric."""
    questions = write_run(tmp_path, "SQuAD2/joint-reinforce/0", {"f1": 60.0, "flops_speedup": 2.0})
    reviews = tmp_path / "IMDB/joint-reinforce/0"
    reviews.mkdir(parents=True)
    (reviews / "config.json").write_text(json.dumps({"options": {}, "facts": {}}))
    accuracies = {"full_accuracy": 91.0, "accuracy": 90.0, "full_log_likelihood": -0.3, "log_likelihood": -0.3}
    (reviews / "metrics.json").write_text(
        json.dumps({"env": "IMDB", "num_texts": 10, "flops_speedup": 2.0, **accuracies})
    )
    watched = ("f1", "accuracy")
    sources = [
        replace(source, trainings=[Training("joint, seed 0", {f"holdout/{metric}": [(1, 60.0), (2, 61.0)]})])
        for source, metric in zip(read_sources([questions, reviews]), watched, strict=True)
    ]
    charts = training_charts(sources)
    assert [[line.name for line in chart.lines] for chart in charts] == [
        ["SQuAD2, joint, seed 0"],
        ["IMDB, joint, seed 0"],
    ]
    (alone,) = training_charts(sources[:1])
    assert [line.name for line in alone.lines] == ["joint, seed 0"]


def test_what_cannot_be_reported_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no run folder"):
        read_sources([tmp_path / "nowhere"])
    run = write_run(tmp_path, "SQuAD2/pretrain-mlm/1", {})
    (run / "metrics.json").write_text('{"env": "SQuAD2", "num_texts": 3}')
    with pytest.raises(ValueError, match=r"no full_log_likelihood: name a run of"):
        read_sources([run])
    (run / "metrics.json").unlink()
    with pytest.raises(FileNotFoundError, match="has not ended"):
        read_sources([run])
    (run / "runs.csv").write_text("env,f1\nSQuAD2,3\n")
    with pytest.raises(ValueError, match="none of the columns series, system, agent"):
        read_sources([run])
    (run / "runs.csv").write_text("agent,f1\nrandom,3\n")
    with pytest.raises(ValueError, match="a row of 'random' that is no evaluation: it has no env"):
        read_sources([run])


def test_a_point_that_skips_nothing(tmp_path: Path) -> None:
    (source,) = read_sources([write_run(tmp_path, "SQuAD2/finetune-x/1", {"f1": 60.0})])
    point: Point = source.points[0]
    assert (point.series, point.flops_speedup) == ("fine-tuned", 1.0)
