"""A user's own files from end to end: fine-tuning, a policy at a speed-up, evaluation, and the mistakes on the way."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from runners.cli.flags import check_options
from runners.cli.run import read_options, run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.faster.options import MakeFasterOptions
from runners.finetune import FinetuneOptions
from runners.finetune import main as finetune
from runners.joint_finetune import main as joint_finetune
from runners.train_policy import main as train_policy
from runners.training.options.joint import JointFinetuneOptions
from runners.training.options.policy import TrainPolicyOptions
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.tasks.squad_metrics import squad_metrics

RUNNERS: dict[str, tuple[Callable[..., Any], type[Any]]] = {
    "finetune": (finetune, FinetuneOptions),
    "train_policy": (train_policy, TrainPolicyOptions),
    "joint_finetune": (joint_finetune, JointFinetuneOptions),
    "evaluate": (evaluate, EvaluateOptions),
}
COLOURS = ["red", "green", "blue", "white", "black"]
THINGS = ["mill", "boat", "hall", "cart", "barn", "gate", "bell"]
TOWNS = ["Aden", "Bern", "Cork", "Faro"]


def sentence_pairs(path: Path, count: int, classes: int = 5) -> Path:
    """Two sentences, and the colour of the thing in the first."""
    rows = [
        [f"the {THINGS[index % 7]} is {COLOURS[index % classes]}", f"it, was built in {TOWNS[index % 4]}",
         COLOURS[index % classes].upper()]
        for index in range(count)
    ]  # fmt: skip
    return write_csv(path, ["sentence1", "sentence2", "label"], rows)


def candidates(path: Path, queries: int) -> Path:
    """Two passages of each query, whose candidates a column groups that has another name than ``group``."""
    rows = [
        [f"q{n}", f"who sold drum {n}?", f"Ada sold drum {n * k}.", str(int(k == 1))]
        for n in range(queries)
        for k in (1, 2)
    ]
    return write_csv(path, ["query_id", "query", "passage", "label"], rows)


def passages(path: Path, count: int) -> Path:
    """Queries and passages; every third passage is relevant."""
    rows = [
        [f"where is the {THINGS[index % 7]}",
         f"the {THINGS[index % 7 if index % 3 == 0 else (index + 2) % 7]} stands in {TOWNS[index % 4]}",
         str(int(index % 3 == 0))]
        for index in range(count)
    ]  # fmt: skip
    return write_csv(path, ["query", "passage", "relevance"], rows)


def questions(path: Path, count: int) -> Path:
    """Questions with an answer each; the second of two towns is not asked for."""
    rows = [
        {"question": f"Where is the {THINGS[index % 7]}?",
         "context": f"The {THINGS[index % 7]} is in {TOWNS[index % 4]} . The sea is near {TOWNS[(index + 1) % 4]} .",
         "answer": TOWNS[index % 4]}
        for index in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([header, *rows])
    return path


@dataclass(frozen=True)
class Kind:
    """A kind of own data.

    Attributes:
        env: The environment that reads it.
        write: Writes a file of so many records.
        suffix: The end of the file's name.
        options: Options that say how to read it.
        labels: Names of the outputs that configurations keep; none for transformers' own.
        metric: The main metric.
    """

    env: str
    write: Callable[[Path, int], Path]
    suffix: str
    options: tuple[str, ...]
    labels: dict[int, str]
    metric: str


KINDS = {
    "five classes of pairs": Kind(
        "TextClassification", sentence_pairs, ".csv", (),
        dict(enumerate(["BLACK", "BLUE", "GREEN", "RED", "WHITE"])), "accuracy",
    ),
    "relevance": Kind(
        "TextClassification", passages, ".csv", ("--label-kind", "score"), {0: "LABEL_0"}, "accuracy",
    ),
    "questions": Kind("SpanQA", questions, ".jsonl", (), {}, "f1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path]) -> Path:
    """A tiny encoder without a head, with a real tokenizer."""
    return save_encoder()


@pytest.fixture
def command(in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``command("finetune", "--env", ...)``: a runner in this process."""

    def call(job: str, *arguments: str) -> None:
        main, options = RUNNERS[job]
        monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))  # where no other test has left an encoder of texts
        monkeypatch.setattr(sys, "argv", [f"{job}.py", *arguments, "--output-dir", str(tmp_path / "runs")])
        run(main, options)

    return call


def only_run(folder: Path, env: str, stage: str) -> Path:
    (found,) = (folder / "runs" / env).glob(f"{stage}*/*")
    return found


def record(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "metrics.json").read_text())
    return found


@pytest.mark.parametrize("name", list(KINDS))
def test_from_files_to_a_faster_model(
    name: str,
    encoder: Path,
    command: Callable[..., None],
    tmp_path: Path,
    in_process: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = KINDS[name]
    train = kind.write(tmp_path / f"train{kind.suffix}", 40)
    held_out = kind.write(tmp_path / f"later{kind.suffix}", 15)
    data = ["--env", kind.env, "--train-file", str(train), *kind.options]
    small = ["--dtype", "float32"]
    command("finetune", *data, *small, "--backbone", str(encoder), "--epochs", "1", "--batch-size", "8")
    tuned = only_run(tmp_path, kind.env, "finetune")
    told = re.search(r"make it faster: python runners/make_faster\.py (.*)", capsys.readouterr().out)
    assert told is not None
    offered = read_options(MakeFasterOptions, shlex.split(told[1]))
    check_options(offered)
    assert (offered.model, offered.data.env) == (str(tuned), kind.env)
    assert (offered.data.own.train_file, offered.data.own.label_kind) == (train, "score" if kind.options else "auto")
    names = {str(index): label for index, label in kind.labels.items()}
    assert _config(tuned).get("id2label", {}) == names
    # The encoder is found by the data that it was fine-tuned on.
    command(
        "train_policy", *data, *small, "--backbone", str(encoder), "--total-texts", "48", "--texts-per-step", "8",
        "--samples-per-text", "2", "--target-speedup", "1.3",
    )  # fmt: skip
    policy = only_run(tmp_path, kind.env, "policy")
    found = record(policy)
    assert found["flops_speedup"] > 1
    # 10 % of 40 records are held out of training.
    assert found["split"] == "validation"
    assert _config(policy)["backbone"].get("id2label", {}) == names
    # What comes after needs no word on the data: they are those of the run.
    command(
        "joint_finetune", "--policy", str(policy), *small, "--target-speedup", "1.3", "--total-texts", "16",
        "--texts-per-step", "8", "--holdout-texts", "0", "--watch", "0",
    )  # fmt: skip
    joint = only_run(tmp_path, kind.env, "joint")
    assert record(joint)["texts_fingerprint"] == found["texts_fingerprint"]
    command("evaluate", "--model", str(joint), *small)
    again = only_run(tmp_path, kind.env, "evaluate")
    assert record(again)[kind.metric] == record(joint)[kind.metric]
    shutil.rmtree(again)
    validation = ["--env", kind.env, "--validation-file", str(held_out), *kind.options]
    command("evaluate", "--model", str(policy), *validation, *small)
    later = record(only_run(tmp_path, kind.env, "evaluate"))
    assert later["num_texts"] == 15
    assert 0 <= later[kind.metric] <= 100
    assert later.keys() >= {f"full_{kind.metric}", "flops_speedup", "wall_speedup_stock"}
    # A fresh load answers from the folder alone.
    model = TokenReducedModel.from_pretrained(policy / "model")
    tokenizer = AutoTokenizer.from_pretrained(policy / "model")
    first = json.loads(held_out.read_text().splitlines()[0]) if kind.env == "SpanQA" else None
    texts = (first["question"], first["context"]) if first else ("the mill is red", "it was built in Bern")
    inputs = dict(tokenizer(*texts, return_tensors="pt"))
    with torch.no_grad():
        output = model(**{key: inputs[key] for key in ("input_ids", "attention_mask", "token_type_ids")})
    logits = output.start_logits if kind.env == "SpanQA" else output.logits
    assert logits.shape[-1] == (inputs["input_ids"].shape[1] if kind.env == "SpanQA" else len(kind.labels))
    if name == "five classes of pairs":
        assert list(model.task.labels) == list(kind.labels.values())
    if kind.labels:
        assert (model.config.id2label, model.config.num_labels) == (kind.labels, len(kind.labels))
        assert model.config.label2id == {label: index for index, label in kind.labels.items()}
    _check_long_texts(model, tokenizer)
    measured = quality_elsewhere(name, policy / "model", held_out)
    assert measured == pytest.approx(later[kind.metric], abs=1e-9)
    if kind.env == "SpanQA":
        assert model.task.null_answer is False  # every question of the file has an answer


def quality_elsewhere(name: str, folder: Path, held_out: Path) -> float:
    """The main metric of a shipped model, as programs get it that know nothing of this project's evaluations."""
    if name == "questions":
        rows = [json.loads(line) for line in held_out.read_text().splitlines()]
        model = AutoModelForQuestionAnswering.from_pretrained(folder)
        found = model.answer([row["question"] for row in rows], [row["context"] for row in rows])
        predictions = {str(number): answer.text for number, answer in enumerate(found)}
        return squad_metrics(predictions, {str(number): [row["answer"]] for number, row in enumerate(rows)})["f1"]
    with held_out.open(newline="", encoding="utf-8") as opened:
        table = [list(row.values()) for row in csv.DictReader(opened)]
    if name == "relevance":
        library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
        scores = library.CrossEncoder(str(folder), device="cpu").predict(
            [(query, passage) for query, passage, _ in table]
        )
        hits = [(score > 0.5) == (label == "1") for score, (*_, label) in zip(scores, table, strict=True)]
    else:
        pairs = [{"text": first, "text_pair": second} for first, second, _ in table]
        answers = pipeline("text-classification", model=str(folder))(pairs, batch_size=4)
        hits = [answer["label"] == label for answer, (*_, label) in zip(answers, table, strict=True)]
    return 100.0 * sum(hits) / len(hits)


def _check_long_texts(model: Any, tokenizer: Any) -> None:
    """A text is cut at the length of training where that is asked for, else refused beyond the positions."""
    text = "the mill is red " * 300
    length = min(model.backbone.config.max_position_embeddings, model.task.max_tokens)
    assert tokenizer(text, truncation=True, return_tensors="pt").input_ids.shape[1] == length
    with pytest.raises(ValueError, match="truncation=True") as caught:
        model(**tokenizer(text, return_tensors="pt"))
    assert "\n" not in str(caught.value)


def test_a_stage_that_runs_before_another_repeats_no_notice(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = sentence_pairs(tmp_path / "notices.csv", 40)
    command(
        "train_policy", "--env", "TextClassification", "--train-file", str(train), "--backbone", str(encoder),
        *("--dtype", "float32", "--total-texts", "8", "--texts-per-step", "8", "--samples-per-text", "2"),
        *("--reduction-layers", "2", "3"),
    )  # fmt: skip
    shown = capsys.readouterr().err
    assert "stage 1 runs first" in shown
    assert shown.count("training data: ") == shown.count("evaluation data: ") == 1


def _config(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "model" / "config.json").read_text())
    return found


def test_a_saved_model_meets_a_file_with_some_of_its_classes_and_one_with_others(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = sentence_pairs(tmp_path / "train.csv", 40)
    data = ["--env", "TextClassification", "--train-file", str(train)]
    command("finetune", *data, "--dtype", "float32", "--backbone", str(encoder), "--epochs", "1", "--batch-size", "8")
    tuned = only_run(tmp_path, "TextClassification", "finetune") / "model"
    two = sentence_pairs(tmp_path / "two.csv", 10, classes=2)
    bare = ["--agent", "random", "--keep-fractions", "0.6", "0.3", "--dtype", "float32"]
    heuristic = [*bare, "--reduction-layers", "2", "3"]
    given = ["--env", "TextClassification", "--backbone", str(tuned)]
    command("evaluate", *given, "--validation-file", str(two), *heuristic)
    assert record(only_run(tmp_path, "TextClassification", "evaluate"))["num_texts"] == 10
    other = write_csv(tmp_path / "other.csv", ["text", "text_pair", "label"], [["a", "b", "red"], ["c", "d", "purple"]])
    line = refused(command, capsys, "evaluate", *given, "--validation-file", str(other), *heuristic)
    assert "'purple', 'red'" in line
    assert "'BLACK', 'BLUE', 'GREEN', 'RED', 'WHITE'" in line


@pytest.fixture
def three_labels(encoder: Path, tmp_path: Path) -> Path:
    """A classifier of pairs with the labels of MNLI."""
    names = ["contradiction", "entailment", "neutral"]
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder, id2label=dict(enumerate(names)), label2id={name: index for index, name in enumerate(names)}
    )
    model.save_pretrained(tmp_path / "mnli")
    AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path / "mnli")
    return tmp_path / "mnli"


@pytest.mark.parametrize("name", ["five classes of pairs", "relevance"])
def test_stage_1_draws_a_new_head_where_the_encoders_own_has_other_labels(
    name: str,
    three_labels: Path,
    command: Callable[..., None],
    tmp_path: Path,
    in_process: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = KINDS[name]
    train = kind.write(tmp_path / f"train{kind.suffix}", 40)
    given = ["--env", kind.env, "--train-file", str(train), *kind.options, "--dtype", "float32"]
    given += ["--backbone", str(three_labels)]
    sizes = ["--total-texts", "8", "--texts-per-step", "8", "--samples-per-text", "2"]
    assert "'contradiction', 'entailment', 'neutral'" in refused(command, capsys, "train_policy", *given, *sizes)
    command("finetune", *given, "--epochs", "1", "--batch-size", "8")
    said = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    assert "the encoder's outputs are 'contradiction', 'entailment', 'neutral': a new head is trained" in said
    tuned = _config(only_run(tmp_path, kind.env, "finetune"))
    assert tuned.get("id2label") == {str(index): label for index, label in kind.labels.items()}
    command("train_policy", *given, *sizes)  # finds what stage 1 made
    assert record(only_run(tmp_path, kind.env, "policy")).keys() >= {kind.metric}


def refused(command: Callable[..., None], capsys: pytest.CaptureFixture[str], job: str, *arguments: str) -> str:
    """The one line with which a command ends, with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        command(job, *arguments)
    assert caught.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--env", "TextClassification"], "reads own data: give --train-file (and --validation-file), or --dataset"),
        (["--env", "SpanQA"], "SpanQA reads own data: give --train-file"),
        (
            ["--env", "IMDB", "--train-file", "FILE"],
            "--train-file is for own data, and IMDB is none: use --env TextClassification",
        ),
        (["--env", "TextClassification", "--train-file", "nowhere.csv"], "nowhere.csv"),
        (
            ["--env", "TextClassification", "--train-file", "FILE", "--columns", "label=stars"],
            "which --columns label= names",
        ),
        (["--env", "TextClassification", "--train-file", "FILE", "--columns", "lable=label"], "did you mean 'label'"),
        (
            ["--env", "TextClassification", "--train-file", "FILE", "--columns", "text1=label"],
            "--columns names 'text1', and TextClassification reads no such column: did you mean 'text'? it reads "
            "text, text_pair, label, id",
        ),
        (
            ["--env", "SpanQA", "--train-file", "FILE", "--label-kind", "score"],
            "--label-kind has no meaning for SpanQA",
        ),
        (["--env", "TextClassification", "--train-file", "FILE", "--columns", "label"], "--columns has 'label'"),
        (["--env", "SpanQA", "--train-file", "FILE"], "question"),
        (
            ["--env", "TextClassification", "--train-file", "FILE", "--data-dir", "x"],
            "reads own files: leave --data-dir",
        ),
        (["--env", "TextClassification", "--train-file", "FILE", "--validation-share", "0"], "validation"),
        (["--env", "TextClassification", "--train-file", "FILE", "--label-kind", "score"], "label"),
    ],
)
def test_mistakes_end_in_one_line(
    arguments: list[str], named: str, encoder: Path, command: Callable[..., None], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = sentence_pairs(tmp_path / "pairs.csv", 12)
    values = [str(file) if value == "FILE" else value for value in arguments]
    line = refused(command, capsys, "finetune", *values, "--backbone", str(encoder), "--epochs", "1")
    assert named in line
    assert not list((tmp_path / "runs").rglob("config.json"))


def test_bad_records_are_left_out_and_counted(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[f"the {THINGS[index % 7]} is {COLOURS[index % 2]}", COLOURS[index % 2]] for index in range(30)]
    rows[4][0] = " "
    rows[9][1] = ""
    file = write_csv(tmp_path / "bad.csv", ["text", "label"], rows)
    data = ["--env", "TextClassification", "--train-file", str(file), "--backbone", str(encoder)]
    sizes = ["--dtype", "float32", "--epochs", "1", "--batch-size", "8"]
    line = refused(command, capsys, "finetune", *data, *sizes)
    assert "bad.csv, line 11: label is missing: fill it in; --skip-bad-records leaves such records out" in line
    rows[9][1] = COLOURS[1]
    file = write_csv(tmp_path / "bad.csv", ["body", "colour"], rows)
    line = refused(command, capsys, "finetune", *data, *sizes, "--columns", "label=colour")
    assert "bad.csv, line 6 has an empty text (column 'body')" in line
    rows[9][1] = ""
    file = write_csv(tmp_path / "bad.csv", ["text", "label"], rows)
    command("finetune", *data, *sizes, "--skip-bad-records")
    said = capsys.readouterr()
    assert "2 records" in " ".join((said.out + said.err).split())


def test_a_speed_out_of_reach_is_refused_before_stage_1(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--env", "SpanQA", "--train-file", str(questions(tmp_path / "questions.jsonl", 40)), "--dtype", "float32"]
    given += ["--backbone", str(encoder), "--target-speedup", "50"]
    line = refused(command, capsys, "train_policy", *given)
    assert "target speed-up 50.0 is out of reach: these reduction layers give " in line
    assert "0.72 to 2.56; give 1 to 2.5 (" in line
    assert "cut earlier" not in line  # there are no earlier cuts
    line = refused(command, capsys, "train_policy", *given, "--reduction-layers", "3", "4")
    assert ", or cut earlier by --reduction-layers" in line
    line = refused(command, capsys, "train_policy", *given, "--reduction-layers", "1.5", "4")
    assert "is out of reach" in line
    assert "--reduction-layers" not in line  # the first cut is the earliest one
    assert not list((tmp_path / "runs").rglob("config.json"))  # stage 1 has not begun


def test_another_file_is_read_as_the_models_labels_were(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], in_process: Any
) -> None:
    data = ["--env", "TextClassification", "--train-file", str(passages(tmp_path / "train.csv", 40))]
    small = ["--dtype", "float32", "--backbone", str(encoder), "--total-texts", "8", "--texts-per-step", "8"]
    command("train_policy", *data, "--label-kind", "score", *small, "--samples-per-text", "2")
    run_dir = only_run(tmp_path, "TextClassification", "policy")
    later = passages(tmp_path / "later.csv", 9)
    capsys.readouterr()
    command("evaluate", "--model", str(run_dir), "--validation-file", str(later), "--dtype", "float32")
    said = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    assert "evaluation data: later validation, 9 examples from" in said
    assert "; labels are numbers" in said  # not two classes
    later.write_text(later.read_text() + "where is the mill,the mill is red,yes\n")
    given = ["--validation-file", str(later), "--dtype", "float32"]
    line = refused(command, capsys, "evaluate", "--model", str(run_dir), *given)
    assert "line 11: label (column 'relevance') is 'yes': give a finite number" in line
    # Without a run, nothing tells that the labels are numbers.
    tuned = only_run(tmp_path, "TextClassification", "finetune")
    given += ["--env", "TextClassification", "--backbone", str(tuned)]
    line = refused(command, capsys, "evaluate", "--agent", "stock", *given)
    assert "the labels '0', '1', 'yes', and the encoder has one output, which tells two apart: give the labels" in line


def test_a_reranker_is_measured_by_the_order_of_candidates(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], in_process: Any
) -> None:
    data = ["--env", "TextClassification", "--train-file", str(passages(tmp_path / "train.csv", 60))]
    data += ["--validation-file", str(passages(tmp_path / "later.csv", 21))]
    small = ["--dtype", "float32", "--total-texts", "8", "--texts-per-step", "8", "--samples-per-text", "2"]
    ranking = ["--task-options", "ranking=true"]
    command("train_policy", *data, *ranking, *small, "--backbone", str(encoder))
    run_dir = only_run(tmp_path, "TextClassification", "policy")
    found = record(run_dir)
    main = [name for name in found if name.startswith("full_")]
    assert main[:2] == ["full_ndcg_at_10", "full_mrr_at_10"]
    assert 0 < found["ndcg_at_10"] <= 100
    assert TokenReducedModel.from_pretrained(run_dir / "model").task.metric_names[0] == "ndcg_at_10"
    config = json.loads((run_dir / "config.json").read_text())
    assert (config["options"]["budget_scope"], config["facts"]["budget_scope"]) == (None, "batch")
    classes = [*data[:2], "--train-file", str(sentence_pairs(tmp_path / "pairs.csv", 12)), *ranking, *small]
    line = refused(command, capsys, "train_policy", *classes, "--backbone", str(encoder))
    assert "ranking needs one logit and labels that are 0 and 1, and the head is 'classes'" in line


@pytest.mark.parametrize("job", ["joint_finetune", "train_policy"])
def test_what_follows_a_policy_reads_a_rerankers_texts_as_it_did(
    job: str, encoder: Path, command: Callable[..., None], tmp_path: Path
) -> None:
    """That candidates are ranked is a setting of the model, by which columns and kinds of label are guessed."""
    data = ["--env", "TextClassification", "--train-file", str(candidates(tmp_path / "train.csv", 30))]
    data += ["--validation-file", str(candidates(tmp_path / "later.csv", 11)), "--dtype", "float32"]
    small = ["--total-texts", "8", "--texts-per-step", "8"]
    first = ["--backbone", str(encoder), "--task-options", "ranking=true", "--samples-per-text", "2"]
    command("train_policy", *data, *small, *first)
    policy = only_run(tmp_path, "TextClassification", "policy")
    later = ["--holdout-texts", "4"] if job == "joint_finetune" else ["--samples-per-text", "2", "--agent", "rloo"]
    command(job, *data, *small, *later, "--policy", str(policy), "--full-from", str(policy))
    stage = "joint" if job == "joint_finetune" else "policy-rloo"
    found, before = record(only_run(tmp_path, "TextClassification", stage)), record(policy)
    assert found["texts_fingerprint"] == before["texts_fingerprint"]
    assert found["full_ndcg_at_10"] == before["full_ndcg_at_10"]


def test_texts_that_do_not_fit_are_counted_for_each_split(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--env", "TextClassification", "--train-file", str(passages(tmp_path / "train.csv", 40))]
    given = [*data, "--validation-file", str(passages(tmp_path / "later.csv", 9)), "--label-kind", "score"]
    small = ["--dtype", "float32", "--backbone", str(encoder), "--epochs", "1", "--batch-size", "8"]
    command("finetune", *given, *small, "--max-length", "11")
    said = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    assert "training data: 40 of 40 texts are cut at 11 tokens; --max-length lets a text have more" in said
    assert "evaluation data: 9 of 9 texts are cut at 11 tokens" in said
    command("finetune", *given, *small)
    assert "are cut at" not in capsys.readouterr().err


def test_texts_that_do_not_fit_a_trained_model_name_no_option_that_it_refuses(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--env", "TextClassification", "--train-file", str(passages(tmp_path / "train.csv", 40))]
    data += ["--validation-file", str(passages(tmp_path / "later.csv", 9)), "--label-kind", "score"]
    small = ["--dtype", "float32", "--total-texts", "8", "--texts-per-step", "8", "--samples-per-text", "2"]

    def said() -> str:
        return " ".join(word for word in capsys.readouterr().err.split() if word != "│")

    command("train_policy", *data, *small, "--backbone", str(encoder), "--max-length", "11")
    assert "9 of 9 texts are cut at 11 tokens; --max-length lets a text have more" in said()
    policy = str(only_run(tmp_path, "TextClassification", "policy"))
    left = "9 of 9 texts are cut at 11 tokens, as the model was trained; a model trained with another --max-length "
    for job, given in {
        "evaluate": ["--model", policy, "--dtype", "float32"],
        "joint_finetune": ["--policy", policy, *data, *small[:-2], "--holdout-texts", "0"],
    }.items():
        command(job, *given)
        assert f"evaluation data: {left}lets a text have more" in (found := said())
        assert "tokens; --max-length" not in found


def test_a_model_is_not_evaluated_on_its_training_texts(
    encoder: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--env", "TextClassification", "--train-file", str(sentence_pairs(tmp_path / "train.csv", 40))]
    small = ["--dtype", "float32", "--total-texts", "8", "--texts-per-step", "8", "--samples-per-text", "2"]
    command("train_policy", *data, *small, "--backbone", str(encoder), "--reduction-layers", "2", "3")
    policy = str(only_run(tmp_path, "TextClassification", "policy"))
    for job, given in {
        "joint_finetune": ["--policy", policy, "--split-seed", "5"],
        "train_policy": ["--policy", policy, "--validation-share", "0.4"],
        "evaluate": ["--model", policy, "--split-seed", "5"],
    }.items():
        line = refused(command, capsys, job, *given)
        assert f"{policy} was trained on the split by --validation-share 0.1 --split-seed 0" in line
