"""benchmark.py over batch sizes, orders, number formats, runtimes and opponents, and its suites."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MPNetConfig, MPNetForQuestionAnswering

from runners.benchmark import BenchmarkOptions, main
from runners.cli.flags import check_options
from runners.cli.run import read_options, run
from runners.evaluation.sides import installed_backends
from runners.train_baseline import TrainBaselineOptions
from runners.train_baseline import main as train_baseline
from trbert_env.deploy.export import backends

SMALL = ["--num-texts", "6", "--rounds", "2", "--no-training"]


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "benchmark.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_side_is_measured_on_every_cell(in_process: Any, capsys: pytest.CaptureFixture[str]) -> None:
    backends = ["torch", *installed_backends()]
    grid = ["--batch-size", "2", "4", "--orders", "sorted", "unsorted", "--precisions", "float32", "bfloat16"]
    place = ["--data-dir", str(in_process.data), "--output-dir", "grid"]
    given = [*grid, "--backends", *backends, "--threads", "1", *SMALL]
    run(main, BenchmarkOptions, ["--backbone", str(in_process.pretrained), *place, *given])
    folder = in_process.only_run("grid")
    rows = table_of(folder)
    names = {"stock", "stock_linear", "packed", "reduced"}
    names |= {f"{name}_bfloat16" for name in names}
    names |= {f"{kind}_{backend}_float32" for kind in ("unreduced", "reduced") for backend in backends[1:]}
    if "openvino" in backends:  # the others have no bfloat16
        names |= {"unreduced_openvino_bfloat16", "reduced_openvino_bfloat16"}
    cells = [f"batch_{size}_{order}" for size in (2, 4) for order in ("sorted", "unsorted")]
    assert {(row["name"], row["cell"]) for row in rows} == {(name, cell) for name in names for cell in cells}
    full = {float(row["gflops"]) for row in rows if row["kind"] in ("stock", "stock_linear", "packed", "unreduced")}
    reduced = {float(row["gflops"]) for row in rows if row["kind"] == "reduced" and row["precision"] == "float32"}
    assert max(full) == pytest.approx(min(full))
    assert max(reduced) == pytest.approx(min(reduced))
    assert max(reduced) < min(full)
    for row in rows:
        assert float(row["milliseconds"]) > 0
        assert float(row["cpu_milliseconds"]) > 0
        assert (row["mebibytes"] == "") == (row["backend"] != "torch")
        assert float(row["matrix_share"]) > 0
    record = json.loads((folder / "metrics.json").read_text())
    stock, own = record["stock_batch_2_sorted_milliseconds"], record["reduced_batch_2_sorted_milliseconds"]
    assert record["wall_speedup_stock"] == pytest.approx(stock / own)
    assert record["batch_size"] == 2
    assert (folder / "benchmark.png").stat().st_size > 10_000
    assert "batch 4, unsorted" in capsys.readouterr().out


def test_opponents_run_on_the_same_texts(
    in_process: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = ["--backbone", str(in_process.fine_tuned)]
    sizes = ["--total-texts", "4", "--texts-per-step", "2", "--holdout-texts", "4", "--watch", "1"]
    line = ["--system", "distilled", "--layers", "1", "3", *encoder, *sizes, *in_process.common("opponent")]
    run(train_baseline, TrainBaselineOptions, line)
    opponent = str(in_process.only_run("opponent"))
    given = [*encoder, *SMALL, "--opponents", opponent]
    run(main, BenchmarkOptions, [*in_process.common("against"), *given])
    rows = {row["name"]: row for row in table_of(in_process.only_run("against"))}
    assert float(rows["distilled"]["gflops"]) < float(rows["packed"]["gflops"])
    capsys.readouterr()
    monkeypatch.setattr("runners.benchmark.time_steps", pytest.fail)  # found before anything is timed
    with pytest.raises(SystemExit):
        run(main, BenchmarkOptions, [*in_process.common("twice"), *given, opponent, "--training"])
    assert "--opponents names two systems of the name 'distilled'" in capsys.readouterr().err


def test_a_suite_is_other_defaults_that_options_go_before() -> None:
    options = read_options(BenchmarkOptions, ["--suite", "cpu", "--batch-size", "4", "--seed", "3"])
    check_options(options)
    assert (options.batch_size, options.orders, options.training) == ((4,), ("sorted", "unsorted"), False)
    assert (options.run.device, options.run.seed) == ("cpu", 3)
    assert options.backends == ("torch", *installed_backends())


def test_a_suite_leaves_out_runtimes_that_are_not_installed(
    in_process: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda package: None)
    place = ["--backbone", str(in_process.pretrained), "--data-dir", str(in_process.data), "--output-dir", "bare"]
    sizes = ["--batch-size", "2", "--orders", "sorted", "--num-texts", "4", "--rounds", "1"]
    run(main, BenchmarkOptions, ["--suite", "cpu", *place, *sizes])
    rows = table_of(in_process.only_run("bare"))
    assert {row["backend"] for row in rows} == {"torch"}
    assert {row["precision"] for row in rows} == {"float32", "bfloat16"}
    said = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    assert "leaves out onnx, for onnx and onnxruntime are not installed: pip install 'trbert-env[onnx]'" in said
    assert "leaves out openvino, for onnx and openvino and nncf are not installed" in said
    assert "leaves out int8, which no runtime of torch has" in said
    with pytest.raises(SystemExit):
        run(main, BenchmarkOptions, ["--suite", "cpu", *place, *sizes, "--precisions", "int8"])
    assert "--precisions int8: no runtime of --backends has it" in capsys.readouterr().err


@pytest.mark.parametrize("suite", ["cpu", "gpu"])
def test_a_suite_leaves_out_what_a_family_cannot_do(
    suite: str, in_process: Any, data: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = MPNetConfig(
        vocab_size=2000, hidden_size=32, num_attention_heads=2, num_hidden_layers=4, intermediate_size=48
    )
    encoder = data.save_backbone(in_process.root / f"mpnet-{suite}", MPNetForQuestionAnswering(config))
    place = ["--backbone", str(encoder), "--data-dir", str(in_process.data), "--output-dir", f"mpnet-runs-{suite}"]
    sizes = ["--device", "cpu", "--batch-size", "2", "--num-texts", "4", "--rounds", "1", "--precisions", "float32"]
    run(main, BenchmarkOptions, ["--suite", suite, *place, *sizes])
    rows = table_of(in_process.only_run(f"mpnet-runs-{suite}"))
    assert {row["name"] for row in rows} == {"stock", "stock_linear", "packed", "reduced"}
    said = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    told = {
        "cpu": f"no exports for {' and '.join(installed_backends())}: family 'mpnet' cannot be exported",
        "gpu": "no replayed passes in float32: family 'mpnet' cannot be replayed",
    }
    if suite == "gpu" or installed_backends():
        assert told[suite] in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_gpu_suite_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(main, BenchmarkOptions, ["--suite", "gpu"])
    assert caught.value.code == 2
    assert "--suite gpu measures a CUDA device, and torch finds none here" in capsys.readouterr().err


def test_the_gpu_suite_can_be_tried_out_on_a_cpu(in_process: Any) -> None:
    place = ["--backbone", str(in_process.pretrained), "--data-dir", str(in_process.data), "--output-dir", "try"]
    sizes = ["--batch-size", "2", "--num-texts", "6", "--rounds", "2"]
    run(main, BenchmarkOptions, ["--suite", "gpu", "--device", "cpu", *place, *sizes])
    folder = in_process.only_run("try")
    rows = {row["name"]: row for row in table_of(folder)}
    assert {row["precision"] for row in rows.values()} == {"bfloat16"}
    assert float(rows["replayed"]["gflops"]) == pytest.approx(float(rows["reduced"]["gflops"]))
    record = json.loads((folder / "metrics.json").read_text())
    assert record["replayed_batches"] > 0


def test_nothing_skipped_answers_as_stock_transformers_does(
    in_process: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--backbone", str(in_process.fine_tuned), "--data-dir", str(in_process.data), "--output-dir", "equal"]
    numbers = ["--precisions", "float32", "bfloat16", "--backends", "torch", *installed_backends()[:1]]
    run(main, BenchmarkOptions, [*place, *numbers, "--keep-all", "9"])
    record = json.loads((in_process.only_run("equal") / "metrics.json").read_text())
    assert record["num_texts"] == 9
    ways = [name.removesuffix("_f1") for name in record if name.endswith("_f1")]
    assert {"stock_float32", "packed_torch_float32", "packed_torch_bfloat16"} <= set(ways)
    for way in (way for way in ways if way.endswith("float32")):
        assert record[f"{way}_loss"] == pytest.approx(0.0, abs=1e-9)
        assert record[f"{way}_log_likelihood"] == pytest.approx(record["stock_float32_log_likelihood"], abs=1e-5)
    assert "packed torch float32" in capsys.readouterr().out
