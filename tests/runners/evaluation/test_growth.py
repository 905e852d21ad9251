"""How cost grows with length: what is measured is the formula's, and memory that of the tensors of a pass."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from runners import benchmark
from runners.cli.run import run
from runners.evaluation import growth
from runners.evaluation.grid import Measurement
from runners.evaluation.growth import growth_plot, growth_record, random_texts, spread
from runners.evaluation.memory import peak_memory
from trbert_env.encoder.families import LayerSize
from trbert_env.reduction.cost import layer_flops
from trbert_env.staged_model import StagedModel
from trbert_env.system import UnreducedSystem
from trbert_env.tasks import SpanQA


def test_a_table_a_record_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "TIMED_TOKENS", 192)
    monkeypatch.setattr(growth, "BATCH_TOKENS", 96)
    given = ["--data-source", "embedded", "--backbone", "embedded", "--lengths", "96", "16", "32", "--rounds", "1"]
    cuts = ["--reduction-layers", "2", "5", "--keep-fractions", "0.5", "0.25", "--precisions", "float32", "bfloat16"]
    run(benchmark.main, benchmark.BenchmarkOptions, [*given, *cuts, "--output-dir", str(tmp_path)])
    (folder,) = tmp_path.glob("SQuAD2/benchmark-backbone-lengths/*")
    assert (folder / "growth.png").stat().st_size > 10_000
    with (folder / "growth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["cell"], row["tokens"]) for row in rows if row["name"] == "reduced_bfloat16"] == [
        ("16", "16.0"),
        ("32", "32.0"),
        ("96", "96.0"),
    ]
    record = json.loads((folder / "metrics.json").read_text())
    for length in (16, 32, 96):
        full = 6 * layer_flops(length, LayerSize(384, 1536)) / 1e9
        kept = [length, length // 2, length // 4]
        reduced = sum(
            depth * layer_flops(count, LayerSize(384, 1536)) for depth, count in zip((1, 3, 2), kept, strict=True)
        ) + sum(2 * (384 * 128 + 128) * count for count in kept[:2])
        assert record[f"packed_{length}_gflops"] == record[f"stock_{length}_gflops"] == pytest.approx(full)
        assert record[f"reduced_{length}_gflops"] == pytest.approx(reduced / 1e9)
        assert record[f"reduced_bfloat16_{length}_gflops"] == record[f"reduced_{length}_gflops"]
        assert record[f"reduced_{length}_milliseconds"] > 0
        assert record[f"packed_{length}_mebibytes"] > 1
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines() if line.startswith("│")]
    assert [line[1] for line in lines if line[1] in ("16", "32", "96")] == ["16", "32", "96"] * 2


def test_lengths_beyond_a_models_positions_and_options_without_effect_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(benchmark.main, benchmark.BenchmarkOptions, ["--lengths", "64", "--num-texts", "5"])
    assert "--lengths times inference alone: leave --num-texts out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(
            benchmark.main,
            benchmark.BenchmarkOptions,
            ["--lengths", "16", "--model", "run", "--keep-fractions", "0.5", "0.2"],
        )
    assert "--model has its own cuts and masks: leave --keep-fractions out" in capsys.readouterr().err


def test_memory_is_that_of_a_pass(make_model: Callable[..., PreTrainedModel]) -> None:
    model = make_model("bert", hidden=48, layers=2)
    system = UnreducedSystem(StagedModel(model, SpanQA()))
    texts = random_texts(300, 4, 60, seed=0)
    states = 4 * 300 * 48 * 4 / 2**20  # of all tokens, float32
    found = peak_memory(system, texts)
    assert 3 * states < found < 40 * states
    longer = peak_memory(system, random_texts(300, 16, 60, seed=0))
    assert 2 * found < longer < 6 * found


def test_texts_are_as_long_as_asked_for_and_known_to_the_encoder() -> None:
    texts = random_texts(17, 3, 60, seed=1)
    assert [len(text) for text in texts] == [17] * 3
    assert all(text.input_ids.min() >= 0 and text.input_ids.max() < 60 for text in texts)
    again = random_texts(17, 3, 60, seed=1)
    assert all(
        torch.equal(*(torch.from_numpy(one.input_ids) for one in pair)) for pair in zip(texts, again, strict=True)
    )


def test_the_spread_is_0_where_the_clock_follows_the_formula() -> None:
    rows = [measured("packed", length, length / 10, length / 5, length) for length in (64, 128)]
    rows += [measured("reduced", 64, 3.0, 6.0, 3.0), measured("reduced", 128, 6.0, 18.0, 6.0)]
    assert spread(rows, "packed") == pytest.approx(0.0)
    assert spread(rows, "reduced") == pytest.approx(0.5)
    assert spread(rows, "reduced", by_cpu=True) == pytest.approx(0.0)
    record = growth_record(rows)
    assert record["reduced_128_milliseconds"] == 18.0
    assert record["reduced_spread"] == pytest.approx(0.5)
    assert len(growth_plot(rows, "two lengths").axes) == 3


def measured(kind: str, length: int, gflops: float, milliseconds: float, cpu: float) -> Measurement:
    of_cell = str(length), 8, "sorted", 16, float(length)
    return Measurement(kind, kind, "torch", "float32", *of_cell, gflops, milliseconds, 0.0, cpu, 1.0, 0.5, 0.0)
