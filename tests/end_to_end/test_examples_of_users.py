"""Examples of those who bring a checkpoint: a classifier, a reranker, a question answerer."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

ROOT = Path(__file__).resolve().parents[2]
SPEEDUP, TEXTS = 1.5, 8


def classifier(outputs: int) -> PreTrainedModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        num_labels=outputs,
    )
    return BertForSequenceClassification(config)


@pytest.fixture
def example(in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """Run an example on a checkpoint and a file of its own; returns the lines that it printed."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))

    def printed(name: str, file: Path | None, backbone: Any, **options: Any) -> list[str]:
        training = {"backbone": str(backbone), "speedup": SPEEDUP, "texts": TEXTS, "output_dir": tmp_path / "runs"}
        importlib.import_module(name).main(train_file=file, **(training if file else {}), **options)
        return [str(line) for line in capsys.readouterr().out.splitlines()]

    return printed


def table(file: Path, rows: list[dict[str, Any]]) -> Path:
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def speed_of(lines: list[str], metric: str) -> float:
    (line,) = (line for line in lines if line.startswith(f"{metric} ") and "fewer FLOPs" in line)
    return float(line.partition(" at ")[2].partition("x")[0])


def test_a_classifier(example: Any, data: Any, tmp_path: Path) -> None:
    rows = [
        {"text": row["context"], "label": ("neg", "pos")[index % 2]} for index, row in enumerate(data.rows("a", 30))
    ]
    encoder = data.save_backbone(tmp_path / "encoder", classifier(2))
    lines = example("faster_classifier", table(tmp_path / "reviews.csv", rows), encoder)
    assert speed_of(lines, "accuracy") > 1.2
    assert all(line.partition(":")[0] in ("neg", "pos") for line in lines[-2:])


def test_a_reranker(example: Any, data: Any, tmp_path: Path) -> None:
    found = data.rows("a", 30)
    rows = [
        {"query": row["question"], "passage": row["context"], "label": index % 2} for index, row in enumerate(found)
    ]
    encoder = data.save_backbone(tmp_path / "encoder", classifier(1))
    lines = example("faster_reranker", table(tmp_path / "pairs.csv", rows), encoder)
    relevance = [float(line.partition(" ")[0]) for line in lines[-3:]]
    assert relevance == sorted(relevance, reverse=True)
    assert all(0 <= value <= 1 for value in relevance)


def test_pairs_to_train_a_reranker_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    made = importlib.import_module("reranking_pairs")
    made.main(tmp_path, data_source="embedded", train_questions=6, test_questions=4, train_candidates=3)
    for name, questions, candidates in (("train", 6, 3), ("test", 4, 10)):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        queries = {row["query_id"]: [other for other in rows if other["query_id"] == row["query_id"]] for row in rows}
        assert len(queries) == questions
        for own in queries.values():
            assert len({row["passage"] for row in own}) == len(own) == candidates
            assert [row["label"] for row in own].count("1") == 1


def test_a_question_answerer(example: Any, data: Any, in_process: Any, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in data.rows("a", 30)))
    lines = example("answer_questions", file, in_process.fine_tuned)
    assert speed_of(lines, "f1") > 1.2
    assert lines[-1].startswith("Who sold drums? ")
    (model,) = tmp_path.glob("runs/SpanQA/joint-*/*/model")
    assert example("answer_questions", None, None, model=model) == lines[-1:]
    with pytest.raises(SystemExit, match="give --train-file to train on, or --model"):
        example("answer_questions", None, None)
