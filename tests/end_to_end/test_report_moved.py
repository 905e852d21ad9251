"""report.py of runs whose data lie elsewhere now."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runners.cli.run import run
from runners.report import ReportOptions
from runners.report import main as report
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy

SMALL = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2", "--dtype", "float32"]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Own texts."""
    file = tmp_path / "reviews.csv"
    with file.open("w", newline="") as out:
        rows = [(f"film {index} was {'fine' if index % 2 else 'dull'}", index % 2) for index in range(40)]
        csv.writer(out).writerows([("text", "label"), *rows])
    return file


def test_own_data_that_have_moved_are_split_as_they_were(
    in_process: Any, save_encoder: Callable[..., Path], reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--output-dir", str(in_process.root / "moved")]
    given = ["--env", "TextClassification", "--backbone", str(save_encoder()), "--train-file", str(reviews)]
    run(train_policy, TrainPolicyOptions, [*given, *SMALL, "--validation-share", "0.25", "--split-seed", "3", *place])
    (trained,) = (in_process.root / "moved" / "TextClassification").glob("policy-*/*")
    moved = reviews.rename(reviews.with_name("elsewhere.csv"))
    capsys.readouterr()

    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            run(report, ReportOptions, [str(trained), *arguments, *place])
        return " ".join(capsys.readouterr().err.replace("│", " ").split())

    assert "reviews.csv" in refused()
    for option in (["--dataset", str(moved)], ["--validation-file", str(moved)], ["--data-dir", str(moved.parent)]):
        assert f"no run has texts that {option[0]} could name: leave it out" in refused(*option)
    there = ["--train-file", str(moved)]
    assert "has no split 'test': choose from train, validation" in refused(*there, "--split", "test")

    run(report, ReportOptions, [str(trained), *there, *place])
    shown = capsys.readouterr()
    told = " ".join(shown.err.replace("│", " ").split())
    assert "elsewhere validation, 10 examples" in told
    assert "25 % held out by seed 3" in told
    (page,) = (in_process.root / "moved").glob("*/report-page/*/report.html")
    assert f"report: {page}" in shown.out
