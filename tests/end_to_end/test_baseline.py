"""Compared systems through the command line: training, evaluation of what was saved, and going on after a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForQuestionAnswering

from baselines.registry import SYSTEMS
from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.train_baseline import TrainBaselineOptions
from runners.train_baseline import main as train_baseline
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy
from trbert_env.tasks.classification import Classification

SMALL = [
    *("--total-texts", "48", "--texts-per-step", "8", "--encoder-rate", "1e-3"),
    *("--holdout-texts", "8", "--watch", "2", "--checkpoint-every", "1"),
]
#: Systems that no question answerer can be made of.
CLASSIFIERS = {"power-bert", "early-exit"}
READERS = sorted(SYSTEMS.keys() - CLASSIFIERS)


def record_in(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return record


@pytest.fixture
def trained(in_process: Any) -> Any:
    """Train a system in this process: ``trained("folder", "pooled", "--option", ...)``."""

    def start(name: str, system: str, *options: str) -> Path:
        output = f"baseline-{name}"  # all test modules share the place
        start = ["--system", system, "--backbone", str(in_process.fine_tuned), *in_process.common(output)]
        run(train_baseline, TrainBaselineOptions, [*start, *SMALL, *options])
        folder: Path = in_process.only_run(output, f"baseline-{system}")
        return folder

    return start


@pytest.mark.parametrize("system", READERS)
def test_a_system_is_trained_and_what_was_saved_is_what_was_measured(
    trained: Any, in_process: Any, system: str
) -> None:
    folder = trained(f"of-{system}", system)
    record = record_in(folder)
    assert record["agent"] == system
    assert record.keys() >= {
        "f1",
        "full_f1",
        "holdout_f1",
        "flops_speedup",
        "wall_speedup_stock",
        "wall_speedup_packed",
    }
    run(evaluate, EvaluateOptions, ["--model", str(folder), *in_process.common(f"baseline-again-{system}")])
    again = record_in(in_process.only_run(f"baseline-again-{system}"))
    for name in ("f1", "full_f1", "log_likelihood", "full_log_likelihood", "flops_speedup"):
        assert again[name] == pytest.approx(record[name], abs=1e-5), name
    for name in ("backbone", "encoder_fingerprint", "tokenizer_fingerprint", "texts_fingerprint"):
        assert again[name] == record[name], name
    # The weights load anywhere.
    AutoModelForQuestionAnswering.from_pretrained(folder / "model")
    before, after = (load_file(path / "model.safetensors") for path in (in_process.fine_tuned, folder / "model"))
    assert any(not before[name].equal(after[name]) for name in after if "layer.0" in name)


@pytest.mark.parametrize("system", READERS)
def test_a_killed_run_goes_on_to_the_same_weights(trained: Any, in_process: Any, place: Any, system: str) -> None:
    whole = trained(f"whole-{system}", system)
    arguments = [
        "--system",
        system,
        "--backbone",
        str(place.fine_tuned),
        *place.common(f"baseline-killed-{system}"),
        *SMALL,
    ]
    process = place.start("train_baseline", *arguments)
    place.stop(process, f"baseline-killed-{system}", checkpoints=4)
    killed = place.only_run(f"baseline-killed-{system}")
    run(train_baseline, TrainBaselineOptions, ["--resume", str(killed)])
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (whole, killed))
    assert expected.keys() == found.keys()
    assert [name for name in expected if not expected[name].equal(found[name])] == []
    assert (whole / "model" / "system.json").read_text() == (killed / "model" / "system.json").read_text()


def test_a_target_speed_up_is_reached(trained: Any) -> None:
    record = record_in(trained("aimed", "pooled", "--target-speedup", "1.6"))
    assert record["flops_speedup"] == pytest.approx(1.6, rel=0.1)
    assert record_in(trained("half", "distilled", "--target-speedup", "2"))["flops_speedup"] == pytest.approx(2.0)


def test_our_reduction_runs_on_top_of_a_student(trained: Any, in_process: Any) -> None:
    student = trained("student", "distilled", "--layers", "1", "2", "4")
    sizes = ["--total-texts", "16", "--texts-per-step", "4", "--samples-per-text", "4", "--keep-fractions", "0.5"]
    cuts = ["--reduction-layers", "2", *in_process.common("baseline-on-top")]
    run(train_policy, TrainPolicyOptions, ["--backbone", str(student), *cuts, *sizes])
    record = record_in(in_process.only_run("baseline-on-top"))
    assert 1.0 < record["flops_speedup"] < 3.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["power-bert"], "give --system power-bert-restored"),
        (["pooled", "--layers", "1"], "--layers is of --system distilled"),
        (["distilled", "--layers", "9"], "the encoder has 4 layers"),
        (["distilled", "--system-options", "depth=2"], "has no option 'depth'"),
        (["pooled", "--system-options", "ratio=2"], "option 'ratio' of system 'pooled' is 2"),
        (["pooled", "--target-speedup", "40"], "give a --target-speedup in between"),
        (["poled"], "system 'poled' is unknown"),
        (["distilled", "--reduction-layers", "2"], "have no reduction layers"),
        (["distilled", "--distillation", "0", "--temperature", "2"], "leave --temperature out"),
        (["deformer", "--distillation", "0.3"], "weighs its losses by options of its own: leave --distillation out"),
        (["early-exit", "--encoder-rate", "1e-3", "--remember-teacher"], "leave --encoder-rate --remember-teacher out"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    in_process: Any, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--backbone", str(in_process.fine_tuned), *in_process.common("baseline-refused")]
    with pytest.raises(SystemExit) as caught:
        run(train_baseline, TrainBaselineOptions, ["--system", *options, *start])
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not list((in_process.root / "baseline-refused").rglob("config.json"))


def test_another_encoder_than_it_began_with_is_refused(
    trained: Any, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained("moved", "pooled")
    model = shutil.copytree(folder / "model", tmp_path / "model")
    other = str(trained("other", "distilled", "--layers", "1", "2", "3", "4"))
    with pytest.raises(SystemExit):
        run(
            evaluate,
            EvaluateOptions,
            ["--model", str(model), "--original", other, *in_process.common("baseline-refused")],
        )
    assert "holds another encoder" in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize("system", sorted(CLASSIFIERS))
def test_a_system_of_classifiers(in_process: Any, save_encoder: Any, system: str) -> None:
    encoder = save_encoder(Classification(max_tokens=48), intermediate_size=24, initializer_range=0.2)
    output = f"baseline-classes-{system}"
    data = ["--env", "IMDB", "--data-source", "embedded", "--max-train-texts", "32", "--max-eval-texts", "8"]
    common = ["--output-dir", str(in_process.root / output), "--dtype", "float32", "--max-length", "48"]
    start = ["--system", system, "--backbone", str(encoder), "--target-speedup", "1.5"]
    small = [word for word in SMALL if word not in ("--encoder-rate", "1e-3")]  # early exit trains no encoder
    run(train_baseline, TrainBaselineOptions, [*start, *data, *common, *small])
    (folder,) = (in_process.root / output).glob("IMDB/baseline-*/*")
    record = record_in(folder)
    assert record["flops_speedup"] == pytest.approx(1.5, rel=0.25)  # counted on other texts than it was aimed on
    again = ["--model", str(folder), "--data-source", "embedded", "--max-eval-texts", "8"]
    run(evaluate, EvaluateOptions, [*again, "--output-dir", str(in_process.root / f"{output}-again")])
    (evaluated,) = (in_process.root / f"{output}-again").glob("IMDB/*/*")
    for name in ("accuracy", "full_accuracy", "log_likelihood", "flops_speedup"):
        assert record_in(evaluated)[name] == pytest.approx(record[name], abs=1e-5), name
