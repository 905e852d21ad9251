"""The folder of a run in place of an encoder: of stage 1 it is its ``model/`` folder, any other is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runners import benchmark, compare, evaluate, finetune, joint_finetune, pilot, probe, sweep, train_policy
from runners.cli.run import run
from trbert_env.envs.make import make_vector_env

RUNNERS: dict[str, tuple[Any, Any]] = {
    "benchmark": (benchmark.main, benchmark.BenchmarkOptions),
    "compare": (compare.main, compare.CompareOptions),
    "evaluate": (evaluate.main, evaluate.EvaluateOptions),
    "finetune": (finetune.main, finetune.FinetuneOptions),
    "joint_finetune": (joint_finetune.main, joint_finetune.JointFinetuneOptions),
    "pilot": (pilot.main, pilot.PilotOptions),
    "probe": (probe.main, probe.ProbeOptions),
    "sweep": (sweep.main, sweep.SweepOptions),
    "train_policy": (train_policy.main, train_policy.TrainPolicyOptions),
}
SMALL = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2", "--reduction-layers", "2", "3"]
OWN = {
    "compare": ["--target-speedup", "1.5"],
    "evaluate": ["--agent", "stock"],
    "joint_finetune": ["--holdout-texts", "4", *SMALL],
    "probe": ["--dtype", "auto"],  # it takes no other
    "sweep": ["--speedups", "1.5"],
}


def start(job: str, place: Any, output: str, *arguments: str) -> None:
    main, options = RUNNERS[job]
    run(main, options, [*place.common(output), *OWN.get(job, []), *arguments])


@pytest.fixture(scope="module")
def stage1(place: Any) -> Path:
    """A run of stage 1."""
    schedule = ["--epochs", "1", "--batch-size", "8", "--learning-rate", "1e-3"]
    place.command("finetune", "--backbone", str(place.pretrained), *place.common("stage1"), *schedule)
    folder: Path = place.only_run("stage1")
    return folder


@pytest.fixture(scope="module")
def stage2(place: Any, stage1: Path) -> Path:
    """A run of stage 2 that was given the run of stage 1."""
    place.command("train_policy", "--backbone", str(stage1), *place.common("stage2"), *SMALL)
    folder: Path = place.only_run("stage2")
    return folder


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())["facts"]
    return found


def test_a_run_of_stage_1_is_reduced(stage1: Path, stage2: Path) -> None:
    assert facts(stage2)["backbone"] == str(stage1 / "model")
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (stage1, stage2))
    assert second["full_log_likelihood"] == pytest.approx(first["log_likelihood"], abs=1e-6)


def test_it_is_evaluated_as_its_model(stage1: Path, in_process: Any) -> None:
    records = []
    for output, folder in (("by-run", stage1), ("by-model", stage1 / "model")):
        start("evaluate", in_process, output, "--backbone", str(folder))
        records.append(json.loads((in_process.only_run(output) / "metrics.json").read_text()))
    assert records[0] == records[1]
    assert records[0]["backbone"] == str(stage1 / "model")


def test_it_teaches(stage1: Path, in_process: Any) -> None:
    backbone = ["--backbone", str(in_process.fine_tuned)]
    start("joint_finetune", in_process, "taught-by-stage-1", *backbone, "--teacher", str(stage1))
    found = facts(in_process.only_run("taught-by-stage-1"))
    assert found["teacher"] == str(stage1 / "model")
    assert found["teacher_fingerprint"] != found["encoder_fingerprint"]


def test_an_environment_takes_it(stage1: Path, in_process: Any) -> None:
    env = make_vector_env("SQuAD2", num_envs=2, data_dir=str(in_process.data), backbone=str(stage1), max_examples=4)
    assert env.workload.backbone.source == str(stage1 / "model")


@pytest.mark.parametrize("job", list(RUNNERS))
def test_a_run_of_stage_2_is_no_encoder(
    job: str, stage2: Path, in_process: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        start(job, in_process, "refused", "--backbone", str(stage2))
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: backbone '{stage2 / 'model'}' is a token-reduced model")
    assert "--policy" in line
    assert not (in_process.root / "refused").exists()


def test_a_run_without_a_model_is_named(
    stage1: Path, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(stage1 / "config.json", tmp_path)
    for option in (["--backbone"], ["--backbone", str(in_process.fine_tuned), "--teacher"]):
        with pytest.raises(SystemExit) as caught:
            start("joint_finetune", in_process, "refused", *option, str(tmp_path))
        assert caught.value.code == 2
        assert f"'{tmp_path}' is a run without a model/ folder" in capsys.readouterr().err.splitlines()[-1]
