"""What own training data settle holds for the data that are evaluated on, which may tell another thing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runners.cli.run import run
from runners.compare import CompareOptions
from runners.compare import main as compare
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy

CONTEXT = "oslo lies by the sea and is old ."
STAGE_2 = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2"]
CUTS = ["--reduction-layers", "2", "3", "--target-speedup", "1.5", "--dtype", "float32"]


def write(file: Path, records: Sequence[dict[str, Any]]) -> str:
    file.write_text("\n".join(map(json.dumps, records)))
    return str(file)


def questions(count: int, unanswered: int) -> list[dict[str, Any]]:
    """Questions, of which the last have no answer."""
    return [
        {"question": f"what lies by the sea {n} ?", "context": f"{CONTEXT} {n}"}
        | {"answers": [] if n >= count - unanswered else ["oslo"]}
        for n in range(count)
    ]


@pytest.fixture
def of_questions(in_process: Any, tmp_path: Path) -> list[str]:
    """The options of own questions, of which some to train on have no answer and all to evaluate on have one."""
    train, other = write(tmp_path / "train.jsonl", questions(40, 4)), write(tmp_path / "other.jsonl", questions(12, 0))
    files = ["--env", "SpanQA", "--train-file", train, "--validation-file", other]
    return [*files, "--max-length", "48", "--backbone", str(in_process.fine_tuned), *CUTS]


def test_trained_runs_and_heuristics_read_questions_alike(
    in_process: Any, of_questions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--output-dir", str(in_process.root / "alike")]
    small = [f"--policy.{option[2:]}" if option.startswith("--") else option for option in STAGE_2]
    run(compare, CompareOptions, ["--agents", "reinforce", "random", "--seeds", "1", *of_questions, *small, *place])
    (table,) = (in_process.root / "alike").glob("SpanQA/*/*/runs.csv")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["agent"] for row in rows} == {"reinforce", "random"}
    assert len({row["texts_fingerprint"] for row in rows}) == 1
    assert all("has_answer_f1" in row for row in rows)

    run(train_policy, TrainPolicyOptions, [*of_questions, *STAGE_2, *place])
    (trained,) = (in_process.root / "alike").glob("SpanQA/policy-*/*/metrics.json")
    given = [option for option in of_questions if option not in ("--reduction-layers", "2", "3")]
    given = given[: given.index("--target-speedup")]
    run(evaluate, EvaluateOptions, ["--agent", "random", "--match", str(trained.parent), *given, *place])
    assert "random: keep fractions" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_heuristic_matches_a_run_on_questions_of_more_options(
    in_process: Any, save_encoder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def choices(count: int, options: int) -> list[dict[str, Any]]:
        one = {"article": "oslo is old .", "options": [f"option {n}" for n in range(options)], "answer": 1}
        return [{"question": f"which {n} ?", **one} for n in range(count)]

    train = write(tmp_path / "train.jsonl", choices(24, 6))
    other = write(tmp_path / "other.jsonl", choices(8, 4))
    files = ["--env", "MultipleChoice", "--train-file", train, "--validation-file", other, "--max-length", "140"]
    given, place = [*files, "--backbone", str(save_encoder())], ["--output-dir", str(in_process.root / "choices")]
    run(train_policy, TrainPolicyOptions, [*given, *CUTS, *STAGE_2, *place])
    (trained,) = (in_process.root / "choices").glob("MultipleChoice/policy-*/*/metrics.json")
    run(evaluate, EvaluateOptions, ["--agent", "random", "--match", str(trained.parent), *given, *place])
    assert "random: keep fractions" in " ".join(capsys.readouterr().err.replace("│", " ").split())
