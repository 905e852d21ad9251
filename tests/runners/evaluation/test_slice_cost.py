"""FLOPs against slices: worked out by hand, and as the paper's table 3 has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runners import evaluate
from runners.cli.run import run
from runners.evaluation.record import EvaluationRecord
from trbert_env.encoder.families import LayerSize
from trbert_env.reduction.cost import layer_flops


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path]) -> Path:
    return save_encoder(num_hidden_layers=3, intermediate_size=24)


def evaluated(encoder: Path, output: Path, *arguments: str) -> Any:
    common = ["--backbone", str(encoder), "--output-dir", str(output), "--dtype", "float32", "--max-length", "64"]
    run(evaluate.main, evaluate.EvaluateOptions, [*common, *arguments])
    (file,) = output.glob("**/metrics.json")
    return json.loads(file.read_text())


@pytest.mark.filterwarnings("ignore:backbone:UserWarning")
@pytest.mark.filterwarnings("ignore:.*has not learned the task:UserWarning")
def test_by_hand(encoder: Path, tmp_path: Path) -> None:
    texts = ["far " * count for count in (10, 60, 200)]
    labels = ["a", "b", "a"]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in zip(texts, labels, strict=True)))
    own = ["--env", "TextClassification", "--validation-file", str(file)]
    given = ["--agent", "random", "--keep-fractions", "0.5", "0.25", "--reduction-layers", "2", "3", "--slices", "32"]
    found = evaluated(encoder, tmp_path / "runs", *own, *given)

    def cost(*lengths: int) -> float:
        return float(sum(layer_flops(length, LayerSize(16, 24)) for length in lengths))

    # [CLS] and [SEP] stand in every slice of 32; 64 tokens are two of them.
    of_slices = cost(12) + cost(32, 32) + cost(32, 32)
    full = cost(12) + cost(62) + cost(64)
    assert found["slice_tokens"] == 32
    assert found["slices_full_speedup"] == pytest.approx(of_slices / full)
    assert found["slices_speedup"] == pytest.approx(of_slices / full * found["flops_speedup"])
    assert found["flops_speedup"] > 1.2
    assert EvaluationRecord.from_flat(found).to_flat() == found


@pytest.mark.filterwarnings("ignore:backbone:UserWarning")
@pytest.mark.filterwarnings("ignore:.*has not learned the task:UserWarning")
def test_windows_that_are_texts_are_compared_with_as_many(encoder: Path, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"question": "how far?", "context": "near " + "far " * 200, "answers": ["near"]}) + "\n")
    own = ["--env", "SpanQA", "--validation-file", str(file), "--task-options", "stride=16"]
    found = evaluated(encoder, tmp_path / "runs", *own, "--agent", "keep-all", "--slices", "64")
    assert found["num_texts"] > 3
    assert found["slices_full_speedup"] == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore:backbone:UserWarning")
@pytest.mark.filterwarnings("ignore:.*has not learned the task:UserWarning")
def test_slices_follow_each_other_whatever_the_texts_do(encoder: Path, tmp_path: Path) -> None:
    """Texts that leave their middle out, and windows that overlap, are compared with slices that do neither."""

    def cost(*lengths: int) -> float:
        return float(sum(layer_flops(length, LayerSize(16, 24)) for length in lengths))

    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": "far " * 200, "label": label}) + "\n" for label in "ab"))
    own = ["--env", "TextClassification", "--validation-file", str(texts)]
    given = ["--agent", "keep-all", "--slices", "32", "--task-options", "truncation=head+tail"]
    found = evaluated(encoder, tmp_path / "ends", *own, *given)
    assert found["slices_full_speedup"] == pytest.approx(cost(32, 32) / cost(64))
    asked = tmp_path / "questions.jsonl"
    asked.write_text(json.dumps({"question": "far?", "context": "near " + "far " * 200, "answers": ["near"]}) + "\n")
    own = ["--env", "SpanQA", "--validation-file", str(asked), "--task-options", "stride=20", "max_slices=1"]
    found = evaluated(encoder, tmp_path / "windows", *own, "--agent", "keep-all", "--slices", "32")
    assert found["slices_full_speedup"] == pytest.approx(cost(32, 32) / cost(64))


def test_the_papers_long_bert_costs_what_it_says() -> None:
    """BERT over 1,024 tokens is 0.91 times as fast as over two slices of 512 (table 3)."""
    assert 2 * layer_flops(512, LayerSize(768, 3072)) / layer_flops(1024, LayerSize(768, 3072)) == pytest.approx(
        0.91, abs=0.005
    )


@pytest.mark.filterwarnings("ignore:backbone:UserWarning")
def test_a_task_without_slices_is_said(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluated(
            encoder, tmp_path, "--env", "RACE", "--data-source", "embedded", "--agent", "keep-all", "--slices", "32",
            "--max-eval-texts", "2", "--task-options", "max_question_tokens=20",
        )  # fmt: skip
    assert "--slices compares with slices of long texts, and multiple_choice has none" in capsys.readouterr().err
