"""Pre-training through the command line: what it reads, what comes out, and how it goes on."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, BertConfig, DistilBertConfig

from runners import finetune, pretrain
from runners.cli.run import run
from runners.runs.tracking import read_curve
from trbert_env.data import hub

#: The encoder has learned 384 positions.
SMALL = ["--texts-per-step", "4", "--max-eval-texts", "8", "--learning-rate", "1e-3", "--dtype", "float32"]
STEPS = ["--total-steps", "60", "--checkpoint-every", "1", "--watch", "3", "--accumulate", "2"]


@pytest.fixture(scope="module")
def texts(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 30 documents of different lengths, up to some 500 tokens."""
    folder = tmp_path_factory.mktemp("plain") / "articles"
    folder.mkdir()
    for number, row in enumerate(data.rows("train", 30)):
        (folder / f"{number:02}.txt").write_text(f"{row['context']}\n{row['question']}\n" * (1 + number % 20))
    return folder


@pytest.fixture
def start(in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run pre-training in a folder and a cache of the test's own; returns the run folder."""
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))

    def to_end(*arguments: str) -> Path:
        output = tmp_path / f"runs-{len(list(tmp_path.glob('runs-*')))}"
        common = ["--backbone", str(in_process.pretrained), "--output-dir", str(output), *SMALL, *arguments]
        run(pretrain.main, pretrain.PretrainOptions, common)
        (folder,) = output.glob("*/*/*")
        return folder

    return to_end


def refused(capsys: pytest.CaptureFixture[str], start: Any, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        start(*arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def config(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_an_encoder_learns_and_is_fine_tuned(
    start: Any, texts: Path, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="has learned 384 positions, and is extended to 450 by copies of them"):
        folder = start("--train-file", str(texts), "--total-texts", "480", "--max-length", "450")
    shown = capsys.readouterr()
    notes = " ".join(shown.err.replace("│", " ").split())
    assert "has no masked-language-model head: one is trained from random weights" in notes
    assert "train texts: 30 documents of 25,024 characters from 30 files in" in notes
    assert "sequences of up to 450 tokens, 5,300 in all" in notes
    assert "perplexity" in shown.out

    assert folder.parent.parent.name == "articles"
    found = metrics(folder)
    assert found["perplexity"] < 0.7 * found["initial_perplexity"]
    assert (found["num_texts"], found["max_length"], found["train_texts"]) == (2, 450, 480)
    facts = config(folder)["facts"]
    assert (facts["extended_from"], facts["extended_to"], facts["max_length"]) == (384, 450, 450)
    curve = read_curve(folder, "eval/perplexity")
    assert [step for step, _ in curve][:5] == [0, 120, 240, 360, 480]
    assert curve[0][1] == pytest.approx(found["initial_perplexity"], rel=1e-5)
    assert len(read_curve(folder, "losses/mlm_loss")) == 120
    assert read_curve(folder, "charts/learning_rate")

    # An encoder like any other: stock transformers load it, stage 1 takes it, and pre-training goes on with its head.
    stock = AutoModelForMaskedLM.from_pretrained(folder / "model")
    assert stock.config.max_position_embeddings == 450
    data = ["--data-dir", str(in_process.data), "--output-dir", str(tmp_path / "tuned"), "--epochs", "1"]
    run(finetune.main, finetune.FinetuneOptions, [*data, "--backbone", str(folder), "--max-length", "450"])
    (tuned,) = (tmp_path / "tuned").glob("*/*/*")
    assert config(tuned)["facts"]["backbone"] == str(folder / "model")
    assert "extended_from" not in config(tuned)["facts"]
    capsys.readouterr()
    again = start("--train-file", str(texts), "--total-steps", "1", "--backbone", str(folder), "--max-length", "450")
    assert "random weights" not in capsys.readouterr().err
    assert metrics(again)["initial_perplexity"] == pytest.approx(found["perplexity"], rel=1e-4)


def test_one_pass_at_the_encoders_own_length_by_default(start: Any, texts: Path) -> None:
    found = metrics(start("--train-file", str(texts), "--texts-per-step", "2", "--validation-share", "0.2"))
    assert found["max_length"] == 384
    assert (found["num_texts"], found["train_texts"]) == (6, 24)  # of 31


def test_files_of_all_kinds_say_the_same(start: Any, texts: Path, tmp_path: Path, monkeypatch: Any) -> None:
    rows = [file.read_text() for file in sorted(texts.iterdir())]
    pq.write_table(pa.table({"body": rows}), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    Dataset.from_dict({"text": rows}).save_to_disk(str(tmp_path / "saved"))
    hold = Dataset.from_dict({"text": rows[:3]})
    loaded = DatasetDict(train=Dataset.from_dict({"text": rows}), validation=hold)
    monkeypatch.setattr(hub, "load_dataset", lambda *names, **options: loaded)
    steps = ["--total-steps", "2", "--watch", "1"]
    whole = start("--train-file", str(texts), *steps)
    for line in (
        ["--train-file", str(tmp_path / "t.parquet")],
        ["--train-file", str(tmp_path / "t.parquet"), "--columns", "text=body"],
        ["--train-file", str(tmp_path / "t.jsonl")],
        ["--train-file", *(str(file) for file in sorted(texts.iterdir()))],
        ["--dataset", str(tmp_path / "saved")],
    ):
        folder = start(*line, *steps)
        assert config(folder)["facts"] == config(whole)["facts"]
        assert weights(folder) == weights(whole)
    # A column is that of the tables, of which one side may have none.
    sides = ["--train-file", str(tmp_path / "t.parquet"), "--validation-file", str(texts / "00.txt")]
    assert config(start(*sides, "--columns", "text=body", *steps))["facts"] == config(start(*sides, *steps))["facts"]
    sides = ["--train-file", str(texts / "00.txt"), "--validation-file", str(tmp_path / "t.parquet")]
    assert metrics(start(*sides, "--columns", "text=body", *steps))["num_texts"] > 0
    held_out = start("--dataset", "org/words", *steps)
    assert held_out.parent.parent.name == "words"
    assert metrics(held_out)["num_texts"] == 3
    facts = config(held_out)["facts"]
    assert facts["train_texts_fingerprint"] == config(whole)["facts"]["train_texts_fingerprint"]
    rest = [str(file) for file in sorted(texts.iterdir())[2:]]
    given = start("--train-file", *rest, "--validation-file", str(texts / "00.txt"), str(texts / "01.txt"), *steps)
    assert metrics(given)["num_texts"] == 2


def test_parts_of_a_step_change_nothing_but_memory(start: Any, texts: Path) -> None:
    losses = []
    for parts in ("1", "2", "4"):
        folder = start("--train-file", str(texts), "--total-steps", "3", "--accumulate", parts)
        losses.append([loss for _, loss in read_curve(folder, "losses/mlm_loss")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_a_student_of_some_layers_is_taught(start: Any, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--train-file", str(texts), "--layers", "1", "3"]
    assert "has no masked-language-model head, so that it cannot teach a student" in refused(capsys, start, *line)
    taught_by = ["--backbone", str(start("--train-file", str(texts), "--total-texts", "240"))]
    for layers, message in (
        (["2", "9"], "names layer 9, and the encoder has 4"),
        (["1", "2", "3", "4"], "names all 4"),
    ):
        assert message in refused(capsys, start, "--train-file", str(texts), *taught_by, "--layers", *layers)

    losses = []
    for parts in ("1", "4"):
        folder = start(*line, *taught_by, "--total-texts", "120", "--accumulate", parts)
        losses.append([loss for _, loss in read_curve(folder, "losses/distillation_loss")])
        assert not read_curve(folder, "losses/mlm_loss"), "which is one of the three terms"
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert metrics(folder)["perplexity"] < 0.9 * metrics(folder)["initial_perplexity"]
    student = AutoModelForMaskedLM.from_pretrained(folder / "model")
    assert student.config.num_hidden_layers == 2
    alone = start(*line, *taught_by, "--total-texts", "120", "--soft-target-weight", "0", "--cosine-weight", "0")
    assert weights(alone) != weights(folder)


def test_home_is_found_behind_an_equals_sign(
    start: Any, texts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A shell leaves ~ as it is there."""
    monkeypatch.setenv("HOME", str(texts))
    folder = start("--train-file=~/00.txt", "--validation-file=~/01.txt", "--total-steps", "1", "--watch", "1")
    assert metrics(folder)["num_texts"] > 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "pre-training reads plain texts: give --train-file, or --dataset"),
        (["--train-file", "x", "--dataset", "y"], "give --train-file, or --dataset"),
        (["--train-file", "nowhere.txt"], "nowhere.txt does not exist: give a text file"),
        (["--dataset", "y", "--validation-file", "x"], "leave --validation-file out"),
        (["--train-file", "x", "--dataset-config", "y"], "--dataset-config is of a --dataset: leave it out"),
        (["--train-file", "TEXTS", "--columns", "label=x"], "--columns names 'label', and there is only text"),
        (["--train-file", "TEXTS", "--columns", "text=x"], "none of the files is a table: leave it out"),
        (["--train-file", "x", "--validation-file", "y", "--validation-share", "0.2"], "leave --validation-share out"),
        (["--train-file", "TEXTS", "--validation-file", "TEXTS/01.txt"], "01.txt is of --train-file and of"),
        (["--train-file", "x", "--total-steps", "2", "--total-texts", "2"], "say the same: leave one out"),
        (["--train-file", "x", "--cosine-weight", "2"], "without --layers no student is taught: leave --cosine-weight"),
        (["--train-file", "x", "--texts-per-step", "4", "--accumulate", "3"], "must be a multiple of --accumulate 3"),
        (["--train-file", "x", "--max-length", "7"], "--max-length is 7; it must be at least 8"),
        (["--train-file", "TEXTS", "--max-length", "100000"], "cannot be extended to 100000 positions"),
        (["--train-file", "TEXTS/00.txt"], "00 gives 1 sequences, of which 1 cannot be held out"),
        (["--dataset", "org/words"], "from the hub"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    line: list[str], message: str, start: Any, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [argument.replace("TEXTS", str(texts)) for argument in line]
    assert message in refused(capsys, start, *line)
    assert not list(tmp_path.glob("runs-*/*/*/*"))


def test_encoders_that_cannot_be_pretrained(
    start: Any, texts: Path, data: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2}
    small = AutoModelForMaskedLM.from_config(BertConfig(num_hidden_layers=2, intermediate_size=16, **sizes))
    line = ["--train-file", str(texts), "--backbone", str(data.save_backbone(tmp_path / "small", small))]
    assert "has token ids up to" in refused(capsys, start, *line)
    other = DistilBertConfig(vocab_size=200, dim=16, hidden_dim=16, n_layers=2, n_heads=2)
    folder = data.save_backbone(tmp_path / "unmasked", AutoModelForMaskedLM.from_config(other))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["mask_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "has no mask_token" in refused(capsys, start, "--train-file", str(texts), "--backbone", str(folder))


def only_run(root: Path) -> Iterator[Path]:
    yield from root.glob("articles/*/*")


def saved(root: Path) -> int:
    """The number of the latest checkpoint below an output folder; 0 before the first."""
    pointers = list(root.glob("*/*/*/checkpoint/latest.json"))
    return int(json.loads(pointers[0].read_text())["folder"].removeprefix("step-")) if pointers else 0


def test_killed_and_resumed_is_uninterrupted_bit_for_bit(place: Any, texts: Path) -> None:
    line = ["--train-file", str(texts), "--backbone", str(place.pretrained), "--max-length", "400", *SMALL, *STEPS]

    def stop(process: Any, checkpoints: int, how: signal.Signals) -> tuple[int, str]:
        while saved(place.root / "broken-mlm") < checkpoints:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(how)
        _, err = process.communicate(timeout=300)
        return process.returncode, err

    place.command("pretrain", *line, "--output-dir", str(place.root / "whole-mlm"))
    (whole,) = only_run(place.root / "whole-mlm")
    output = ["--output-dir", str(place.root / "broken-mlm")]
    status, err = stop(place.start("pretrain", *line, *output), 3, signal.SIGINT)
    assert status == 130, err
    assert "has learned 384 positions, and is extended to 400 by copies of them" in err
    assert err.splitlines()[-1].startswith("interrupted; go on from the last checkpoint with --resume")
    (broken,) = only_run(place.root / "broken-mlm")
    first = saved(place.root / "broken-mlm")
    assert first < 60
    status, _ = stop(place.start("pretrain", "--resume", str(broken)), first + 10, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert saved(place.root / "broken-mlm") < 60
    assert not (broken / "model").exists()

    place.command("pretrain", "--resume", str(broken))
    assert weights(broken) == weights(whole)
    assert metrics(broken) == metrics(whole)
    for key in ("losses/mlm_loss", "eval/perplexity"):
        assert read_curve(broken, key) == read_curve(whole, key)
    assert "has ended" in place.command("pretrain", "--resume", str(broken))


def test_other_texts_are_not_gone_on_with(place: Any, texts: Path, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("".join(path.read_text() for path in sorted(texts.iterdir())))
    line = ["--train-file", str(file), "--backbone", str(place.pretrained), "--max-length", "32", *SMALL, *STEPS]
    process = place.start("pretrain", *line, "--output-dir", str(tmp_path / "runs"))
    while not saved(tmp_path / "runs"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    file.write_text(file.read_text() + "more")
    (folder,) = (tmp_path / "runs").glob("*/*/*")
    process = place.start("pretrain", "--resume", str(folder))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "began with train_texts_fingerprint" in err.splitlines()[-1]


def test_the_weights_that_come_out_are_whole(start: Any, texts: Path) -> None:
    names = set(load_file(start("--train-file", str(texts), "--total-steps", "1") / "model" / "model.safetensors"))
    assert any(name.startswith("bert.encoder.layer.3.") for name in names)
    assert any(name.startswith("cls.predictions.transform.") for name in names)
