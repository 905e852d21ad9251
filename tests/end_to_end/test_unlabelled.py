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

from runners import compare
from runners.cli.options import DataOptions, OwnDataOptions
from runners.cli.run import run
from runners.runs.tracking import read_curve
from runners.train_policy import TrainPolicyOptions, main
from runners.training.loading import RunExamples
from runners.training.options.policy import PolicyTrainingOptions
from runners.training.unlabelled import UnlabelledExamples
from trbert_env.deploy.model import TokenReducedModel

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
    """Texts without labels may be of any length: budgets are measured on the training texts, and so are thresholds."""
    file = write(tmp_path / "short.csv", ["text"], [[f"Only {number} words ."] for number in range(12)])
    fractions = []
    for name, options in (("labelled", []), ("short", ["--unlabelled-file", str(file)])):
        folder = start(name, *options, "--target-speedup", "1.8")
        assert json.loads((folder / "metrics.json").read_text())["flops_speedup"] == pytest.approx(1.8, abs=0.1)
        fractions.append(TokenReducedModel.from_pretrained(folder / "model").config.trained_fractions)
    assert fractions[0] == fractions[1]


def test_resuming_takes_the_same_texts(
    start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files of one name, in folders that are named by a relative path."""
    for folder in ("one", "two"):
        (tmp_path / "texts" / folder).mkdir(parents=True)
        write(tmp_path / "texts" / folder / "a.csv", ["text"], [[f"A text of {n} , {folder} ."] for n in range(6)])
    monkeypatch.chdir(tmp_path)
    folder = start("begun", "--unlabelled-file", "texts")
    whole = weights(folder)
    (folder / "metrics.json").unlink()
    run(main, TrainPolicyOptions, ["--resume", str(folder)])
    again = weights(folder)
    assert all(bool((again[name] == whole[name]).all()) for name in whole)
    (folder / "metrics.json").unlink()
    write(tmp_path / "texts" / "two" / "a.csv", ["text"], [[f"Another of {n} ."] for n in range(6)])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(main, TrainPolicyOptions, ["--resume", str(folder)])
    assert "unlabelled_texts_fingerprint" in said(capsys)


def test_pairs_and_questions(tmp_path: Path) -> None:
    """The fields of a task are found in tables of its kind, whatever other columns they have."""
    pairs = write(
        tmp_path / "pairs.csv",
        ["query", "passage", "relevance"],
        [[f"where is {number} ?", f"{number} is in a town .", str(number % 2)] for number in range(40)],
    )
    lines = [json.dumps({"question": "Who ?", "context": f"Ada {n} .", "answers": ["Ada"]}) for n in range(40)]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    asked = write(
        tmp_path / "asked.csv", ["id", "query", "passage"], [[str(n), "who ?", f"he , {n}"] for n in range(8)]
    )
    expected = {
        "TextClassification": (pairs, {"text": "who ?", "text_pair": "he , 3"}),
        "SpanQA": (tmp_path / "questions.jsonl", {"question": "who ?", "context": "he , 3"}),
    }
    for env, (file, values) in expected.items():
        kind: Any = "score" if env == "TextClassification" else "auto"
        data = DataOptions(env=env, own=OwnDataOptions(train_file=file, label_kind=kind))
        options = TrainPolicyOptions(data=data, training=PolicyTrainingOptions(unlabelled_file=(asked,)))
        found = UnlabelledExamples.load(options, RunExamples.load(data))
        assert found is not None
        assert found.texts[3] == {"id": "asked.csv:3", **values}


def test_what_comes_before_and_behind(start: Any, encoder: Path, tmp_path: Path) -> None:
    """A run goes on from another one on texts without labels, in windows; a comparison trains on them."""
    file = write(tmp_path / "texts.csv", ["words"], [[f"A text of {number} . " * 20] for number in range(12)])
    given = ["--unlabelled-file", str(file), "--unlabelled-columns", "text=words"]
    first = start("first", "--max-length", "32", "--task-options", "max_slices=2", *given)
    place = ["--output-dir", str(tmp_path / "second"), "--dtype", "float32", *DATA, *STEPS[:6]]
    run(main, TrainPolicyOptions, ["--policy", str(first), *place, *given])
    (second,) = (tmp_path / "second").glob("*/policy*/*")
    assert read_curve(second, "charts/divergence")
    nested = [f"--policy.{option[2:]}" if option.startswith("--") else option for option in (*STEPS[:6], *given)]
    compared = ["--output-dir", str(tmp_path / "compared"), "--backbone", str(encoder), "--dtype", "float32", *DATA]
    compared += ["--agents", "reinforce", "random", "--seeds", "1", "--reduction-layers", "2", "3", *nested]
    run(compare.main, compare.CompareOptions, compared)
    (trained,) = (tmp_path / "compared").rglob("*/reinforce-seed0/*/policy*/*")
    assert read_curve(trained, "charts/divergence")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reward", "likelihood"], "--reward likelihood is of the gold answer, which --unlabelled-file has not"),
        (["--cloning-texts", "8"], "--cloning-scores residual sees the gold answer, which --unlabelled-file has not"),
        (["--sampler", "bernoulli"], "which --unlabelled-file has not: give --imitation-fraction 0"),
        (["--imitation-fraction", "0.3"], "which --unlabelled-file has not: give --imitation-fraction 0"),
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


def test_softened_logits_weigh_texts_otherwise(start: Any) -> None:
    """The first masks are the same, and what they are rewarded by is not; later the policies differ."""
    sharp, soft = start("sharp"), start("soft", "--reward-temperature", "8")
    returns, divergences, kept = (
        [read_curve(folder, f"charts/{key}")[0][1] for folder in (sharp, soft)]
        for key in ("episodic_return", "divergence", "kept_fraction_2")
    )
    assert returns[0] != returns[1]
    assert 0.0 < divergences[0] == divergences[1]
    assert kept[0] == kept[1]
    mine, other = weights(sharp), weights(soft)
    changed = [name for name, values in mine.items() if not values.equal(other[name])]
    assert changed
