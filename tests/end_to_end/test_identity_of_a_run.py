"""What a run began with is told by content, not by path: another encoder, tokenizer or text is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from runners import finetune, joint_finetune, train_policy
from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.training.loop import Training

OPTIONS = {
    finetune: finetune.FinetuneOptions,
    train_policy: train_policy.TrainPolicyOptions,
    joint_finetune: joint_finetune.JointFinetuneOptions,
}
SIZES = {
    finetune: ["--epochs", "1", "--batch-size", "8", "--checkpoint-every", "1"],
    train_policy: [
        "--total-texts",
        "12",
        "--texts-per-step",
        "4",
        "--samples-per-text",
        "2",
        "--checkpoint-every",
        "1",
    ],
    joint_finetune: [
        *("--total-texts", "12", "--texts-per-step", "4", "--accumulate", "1", "--checkpoint-every", "1"),
        *("--holdout-texts", "4", "--watch", "0"),
    ],
}
TRAINERS = pytest.mark.parametrize("job", list(SIZES), ids=lambda job: job.__name__.partition(".")[2])


def other_weights(backbone: Path, data: Path) -> None:
    """The encoder is trained on, and saved at the same place."""
    tensors = load_file(backbone / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layer.1.output.dense.bias"))
    tensors[name] = tensors[name] + 0.01
    save_file(tensors, backbone / "model.safetensors", metadata={"format": "pt"})


def other_tokenizer(backbone: Path, data: Path) -> None:
    """Two words of the vocabulary change places."""
    content = json.loads((backbone / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["sea"], vocabulary["hills"] = vocabulary["hills"], vocabulary["sea"]
    (backbone / "tokenizer.json").write_text(json.dumps(content))


def edit(data: Path, split: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    path = data / "squad_v2" / f"{split}.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)


def another_word(rows: list[dict[str, Any]]) -> None:
    rows[3]["question"] = rows[3]["question"].replace("likes", "sea")


def another_answer(rows: list[dict[str, Any]]) -> None:
    rows[0]["answers"] = {"text": ["last"], "answer_start": [rows[0]["context"].index("last")]}


def other_training_texts(backbone: Path, data: Path) -> None:
    edit(data, "train", another_word)


def other_validation_texts(backbone: Path, data: Path) -> None:
    edit(data, "validation", another_word)


def other_validation_answers(backbone: Path, data: Path) -> None:
    edit(data, "validation", another_answer)


CHANGES = {
    other_weights: "encoder_fingerprint",
    other_tokenizer: "tokenizer_fingerprint",
    other_training_texts: "train_texts_fingerprint",
    other_validation_texts: "validation_texts_fingerprint",
    other_validation_answers: "validation_texts_fingerprint",
}


@pytest.fixture
def own(in_process: Any, data: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A backbone and a data folder that a test may change."""
    backbone = Path(shutil.copytree(in_process.fine_tuned, tmp_path / "backbone"))
    return backbone, data.write(tmp_path / "data")


def arguments(job: Any, own: tuple[Path, Path], output: Path) -> list[str]:
    backbone, data = own
    return [
        *("--backbone", str(backbone), "--data-dir", str(data), "--output-dir", str(output), "--dtype", "float32"),
        *SIZES[job],
    ]


def interrupted(job: Any, own: tuple[Path, Path], output: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped behind its second update."""

    def stop(training: Training, *_: Any, **__: Any) -> None:
        step = training.step

        def two() -> dict[str, float]:
            if training.updates == 2:
                raise KeyboardInterrupt
            return step()

        training.step = two  # type: ignore[method-assign]
        train(training, *_, **__)

    train = job.train
    monkeypatch.setattr(job, "train", stop)
    with pytest.raises(SystemExit) as caught:
        run(job.main, OPTIONS[job], arguments(job, own, output))
    assert caught.value.code == 130
    monkeypatch.setattr(job, "train", train)
    (folder,) = output.glob("SQuAD2/*/*")
    return folder


def refused(job: Any, options: Any, given: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(job, options, given)
    last = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 2, last
    assert last.startswith("error: ")
    return last


@TRAINERS
@pytest.mark.parametrize("change", list(CHANGES), ids=lambda change: change.__name__)
def test_a_resume_refuses_what_has_changed_behind_a_path(
    job: Any,
    change: Callable[[Path, Path], None],
    own: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = interrupted(job, own, tmp_path / "runs", monkeypatch)
    before = sorted((path, path.read_bytes()) for path in (folder / "checkpoint").rglob("*") if path.is_file())
    kept = [Path(shutil.copytree(path, tmp_path / f"kept-{path.name}")) for path in own]
    change(*own)
    line = refused(job.main, OPTIONS[job], ["--resume", str(folder)], capsys)
    assert f"began with {CHANGES[change]}" in line or f", {CHANGES[change]} " in line
    assert "restore what it began with" in line
    assert before == sorted((path, path.read_bytes()) for path in (folder / "checkpoint").rglob("*") if path.is_file())
    # Put back, the run goes on.
    for path, copy in zip(own, kept, strict=True):
        shutil.rmtree(path)
        shutil.copytree(copy, path)
    run(job.main, OPTIONS[job], ["--resume", str(folder)])
    assert (folder / "metrics.json").exists()


def ended(own: tuple[Path, Path], output: Path) -> Path:
    run(train_policy.main, train_policy.TrainPolicyOptions, arguments(train_policy, own, output))
    (folder,) = output.glob("SQuAD2/policy-*/*")
    return folder


@pytest.mark.parametrize(
    "change",
    [other_weights, other_tokenizer, other_validation_texts, other_validation_answers],
    ids=lambda c: c.__name__,
)
def test_figures_are_not_taken_from_a_run_on_something_else(
    change: Callable[[Path, Path], None],
    own: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = ended(own, tmp_path / "runs")
    backbone, data = own
    common = ["--backbone", str(backbone), "--data-dir", str(data), "--output-dir", str(tmp_path / "evaluated")]
    common += ["--agent", "keep-all", "--dtype", "float32", "--full-from", str(folder)]
    run(evaluate, EvaluateOptions, common)
    change(*own)
    line = refused(evaluate, EvaluateOptions, common, capsys)
    assert CHANGES[change].removeprefix("validation_") in line
    assert "leave --full-from out" in line


@pytest.mark.parametrize("part", ["backbone.", "policy.", "calibration."])
def test_a_run_whose_model_was_exchanged_is_no_start(
    part: str, own: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ended(own, tmp_path / "runs")
    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith(part) and tensors[name].dtype == torch.float32)
    tensors[name] = tensors[name] + 0.5
    save_file(tensors, path, metadata={"format": "pt"})
    common = ["--data-dir", str(own[1]), "--output-dir", str(tmp_path / "later"), "--dtype", "float32"]
    for job in (train_policy, joint_finetune):
        line = refused(job.main, OPTIONS[job], [*common, "--policy", str(folder), *SIZES[job]], capsys)
        assert "is not the model that the run ended with" in line
    line = refused(evaluate, EvaluateOptions, [*common, "--model", str(folder)], capsys)
    assert "is not the model that the run ended with" in line
    assert not (tmp_path / "later").exists()
