"""``--unlabelled-file``: a policy learns from texts without labels, in place of the training texts."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from runners.cli.options import DataOptions
from runners.cli.run import run
from runners.runs.tracking import read_curve
from runners.train_policy import TrainPolicyOptions, main
from runners.training.loading import RunExamples

STEPS = ["--total-texts", "16", "--texts-per-step", "4", "--samples-per-text", "4", "--reduction-layers", "2", "3"]
DATA = ["--env", "IMDB", "--data-source", "embedded", "--max-train-texts", "24", "--max-eval-texts", "6"]


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path]) -> Path:
    """A tiny encoder, with a real tokenizer."""
    return save_encoder()


@pytest.fixture
def start(in_process: Any, encoder: Path, tmp_path: Path) -> Any:
    """Run stage 2; returns its run folder."""

    def to_end(name: str, *arguments: str, data: list[str] = DATA) -> Path:
        place = ["--output-dir", str(tmp_path / name), "--dtype", "float32", "--backbone", str(encoder)]
        run(main, TrainPolicyOptions, [*data, *place, *STEPS, *arguments])
        return next(path for path in (tmp_path / name).glob("*/policy*/*"))

    return to_end


def write(file: Path, columns: list[str], rows: list[list[str]]) -> Path:
    with open(file, "w", newline="") as opened:
        csv.writer(opened).writerows([columns, *rows])
    return file


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was told on stderr, without the frames of notes."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().err).split())


def weights(folder: Path) -> dict[str, Any]:
    (latest,) = folder.glob("checkpoint/step-*")
    return load_file(latest / "state.safetensors")


def test_no_label_is_read(start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training texts as they are, and as a file without their labels, lead to the same policy bit for bit."""
    examples = RunExamples.load(DataOptions(env="IMDB", data_source="embedded", max_train_texts=24)).train
    file = write(tmp_path / "texts.csv", ["text"], [[text] for text in examples["text"]])
    labelled, unlabelled = start("labelled"), start("unlabelled", "--unlabelled-file", str(file))
    assert "the policy learns from 24 texts without labels, and not from training data" in said(capsys)
    ours, theirs = weights(unlabelled), weights(labelled)
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[name] == theirs[name]).all()) for name in ours)
    record = json.loads((unlabelled / "metrics.json").read_text())
    assert record["accuracy"] == json.loads((labelled / "metrics.json").read_text())["accuracy"]
    assert read_curve(unlabelled, "charts/divergence")
    assert not read_curve(unlabelled, "charts/log_likelihood")


def test_speed_is_that_of_the_task(start: Any, tmp_path: Path) -> None:
    """Texts without labels may be of any length: what a threshold keeps is measured on the training texts."""
    file = write(tmp_path / "short.csv", ["text"], [[f"Only {number} words ."] for number in range(12)])
    folder = start("short", "--unlabelled-file", str(file), "--target-speedup", "1.4")
    assert json.loads((folder / "metrics.json").read_text())["flops_speedup"] == pytest.approx(1.4, abs=0.1)


def test_resuming_takes_the_same_texts(start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "texts.csv", ["text"], [[f"A text of {number} ."] for number in range(12)])
    folder = start("begun", "--unlabelled-file", str(file))
    (folder / "metrics.json").unlink()
    write(file, ["text"], [[f"Another of {number} ."] for number in range(12)])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(main, TrainPolicyOptions, ["--resume", str(folder)])
    assert "unlabelled_texts_fingerprint" in said(capsys)


def test_pairs_and_questions(start: Any, tmp_path: Path) -> None:
    pairs = write(
        tmp_path / "pairs.csv",
        ["query", "passage", "relevance"],
        [[f"where is {number} ?", f"{number} is in a town .", str(number % 2)] for number in range(40)],
    )
    own = ["--env", "TextClassification", "--train-file", str(pairs), "--label-kind", "score", "--max-eval-texts", "4"]
    asked = write(tmp_path / "asked.csv", ["query", "passage"], [["who ?", f"he , {n}"] for n in range(8)])
    start("pairs", "--unlabelled-file", str(asked), data=own)
    lines = [json.dumps({"question": "Who ?", "context": f"Ada {n} .", "answers": ["Ada"]}) for n in range(40)]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    own = ["--env", "SpanQA", "--train-file", str(tmp_path / "questions.jsonl"), "--max-eval-texts", "4"]
    start("questions", "--unlabelled-file", str(asked), data=own)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reward", "likelihood"], "--reward likelihood is of the gold answer, which --unlabelled-file has not"),
        (["--cloning-texts", "8"], "--cloning-scores residual sees the gold answer, which --unlabelled-file has not"),
        (["--env", "RACE"], "--unlabelled-file is for classification and for questions on a context"),
    ],
)
def test_what_needs_labels_is_refused(
    start: Any, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "texts.csv", ["text"], [["A text ."]])
    with pytest.raises(SystemExit):
        start("refused", "--unlabelled-file", str(file), *options)
    assert message in said(capsys)


def test_files_without_a_text_and_evaluation_texts(
    start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "texts.csv", ["text"], [[" "]])
    with pytest.raises(SystemExit):
        start("none", "--unlabelled-file", str(file))
    assert "no unlabelled text is left to learn from" in said(capsys)
    evaluated = RunExamples.load(DataOptions(env="IMDB", data_source="embedded", max_eval_texts=6)).validation
    write(file, ["text"], [[text] for text in evaluated["text"]])
    start("seen", "--unlabelled-file", str(file))
    assert "6 of the texts without labels are evaluation data too" in said(capsys)
