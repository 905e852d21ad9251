"""train_policy -> export -> evaluate --backend, and exports side by side, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runners.benchmark_export import BenchmarkExportOptions
from runners.benchmark_export import main as benchmark_export
from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.evaluation.record import CLOCK_KEYS
from runners.export import ExportOptions
from runners.export import main as export
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy
from trbert_env import TokenReducedModel
from trbert_env.deploy.export.backends import missing_packages

BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            bool(missing_packages(name)), reason=f"not installed: pip install 'trbert-env[{name}]'"
        ),
    )
    for name in ("onnx", "openvino")
]


@pytest.fixture
def trained(in_process: Any) -> Path:
    """The run folder of a policy that was hardly trained, made once."""
    folder = in_process.root / "for-export"
    if not folder.exists():
        given = ["--backbone", str(in_process.fine_tuned), "--keep-fractions", "0.6", "0.3"]
        sizes = [
            "--total-texts",
            "8",
            "--texts-per-step",
            "4",
            "--samples-per-text",
            "2",
            "--reduction-layers",
            "2",
            "3",
        ]
        run(train_policy, TrainPolicyOptions, [*given, *sizes, *in_process.common("for-export")])
    found: Path = in_process.only_run("for-export", "policy-*")
    return found


def record_in(root: Path, output: str, stage: str) -> dict[str, Any]:
    (path,) = (root / output).glob(f"SQuAD2/{stage}/*/metrics.json")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_export_is_evaluated_as_the_model_is(
    backend: str, in_process: Any, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(export, ExportOptions, ["--model", str(trained), "--backend", backend])
    assert f"export: {trained / 'model' / backend / 'float32'} (" in capsys.readouterr().out
    place = ["--model", str(trained), "--output-dir"]
    torch_place, export_place = f"torch-{backend}", f"exported-{backend}"
    run(evaluate, EvaluateOptions, [*place, torch_place])
    run(evaluate, EvaluateOptions, [*place, export_place, "--backend", backend])
    ours, theirs = (record_in(in_process.root, name, "evaluate-model") for name in (torch_place, export_place))
    assert (theirs.pop("backend"), theirs.pop("export_precision")) == (backend, "float32")
    without_clock = [
        {name: value for name, value in record.items() if name not in CLOCK_KEYS} for record in (ours, theirs)
    ]
    assert without_clock[1] == pytest.approx(without_clock[0], abs=1e-3)
    question, context = "Who sold drums?", "Ada sold drums to Bob. Bob went home."
    exported, model = (
        TokenReducedModel.from_pretrained(trained / "model", backend=name) for name in (backend, "torch")
    )
    found, expected = (one.answer(question, context) for one in (exported, model))
    assert (found.text, found.start, found.end) == (expected.text, expected.start, expected.end)
    assert found.score == pytest.approx(expected.score, abs=1e-3)


@pytest.mark.parametrize("backend", BACKENDS[:1])
def test_exports_side_by_side(backend: str, in_process: Any, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", str(trained), "--backend", backend, "--output-dir", "side-by-side"]
    sizes = ["--num-texts", "4", "--rounds", "1", "--batch-sizes", "1", "3", "--calibration-texts", "6"]
    run(benchmark_export, BenchmarkExportOptions, [*given, *sizes])
    record = record_in(in_process.root, "side-by-side", f"benchmark-export-{backend}")
    assert record["float32_unreduced_flops_speedup"] == record["int8_unreduced_flops_speedup"] == 1.0
    assert record["float32_reduced_flops_speedup"] == record["int8_reduced_flops_speedup"] > 1.2
    for size in (1, 3):
        ratio = record[f"int8_unreduced_cpu_milliseconds_batch_{size}"]
        ratio /= record[f"int8_reduced_cpu_milliseconds_batch_{size}"]
        assert record[f"int8_reduced_speedup_batch_{size}"] == pytest.approx(ratio)
    assert "int8 unreduced" in capsys.readouterr().out
    # The model's own folder is left as it is.
    assert not (trained / "model" / backend / "int8").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "onnx", "--precision", "bfloat16"], "has float32, int8, int8-dynamic"),
        (["--calibration-texts", "7"], "fits no scales: leave --calibration-texts out"),
        (["--data-dir", "x", "--skip-bad-records"], "scales: leave --data-dir --skip-bad-records out"),
        (["--dtype", "bfloat16"], "--dtype has no meaning here: give --precision"),
        (["--max-length", "99"], "--model has its own settings of the task"),
    ],
)
def test_refused_options(arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if missing_packages("onnx") or missing_packages("openvino"):
        pytest.skip("not installed: pip install 'trbert-env[onnx,openvino]'")
    with pytest.raises(SystemExit):
        run(export, ExportOptions, ["--model", str(trained), *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int8"], "--precision int8 is of an export: name its --backend"),
        (["--backend", "onnx", "--dtype", "bfloat16"], "leave --dtype out"),
        (["--backend", "onnx", "--precision", "int8-dynamic"], "holds no export: make it by python runners/export.py"),
    ],
)
def test_evaluation_refuses(
    arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing_packages("onnx"):
        pytest.skip("not installed: pip install 'trbert-env[onnx]'")
    with pytest.raises(SystemExit):
        run(evaluate, EvaluateOptions, ["--model", str(trained), *arguments])
    assert message in capsys.readouterr().err
