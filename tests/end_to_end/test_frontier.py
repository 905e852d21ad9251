"""Figures 2 and 3 through the command line."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import runners.evaluation.nested_runs
import runners.pilot
import runners.sweep
from runners.cli.options import DataOptions, EncoderOptions, RunOptions
from runners.cli.run import run
from runners.evaluation.record import CLOCK_KEYS, EvaluationRecord
from runners.evaluation.summary import mean_line
from runners.pilot import PilotOptions
from runners.pilot import main as pilot
from runners.sweep import Point, SweepOptions
from runners.sweep import main as sweep
from runners.training.joint import JointTraining

ROOT = Path(__file__).resolve().parents[2]

PNG = b"\x89PNG"
SWEEP = [
    *("--speedups", "1.3", "1.8", "--seeds", "0", "1", "--heuristics", "random", "attention", "--one-model", "1.8"),
    *("--policy.total-texts", "16", "--policy.texts-per-step", "4", "--policy.samples-per-text", "4"),
    *("--joint.total-texts", "16", "--joint.texts-per-step", "8", "--joint.samples-per-text", "2"),
    *("--joint.holdout-texts", "0"),
]


TOO_MANY = ["--joint.holdout-texts", "1000000"]


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def images(folder: Path) -> list[str]:
    events = EventAccumulator(str(folder))
    events.Reload()
    found: list[str] = events.Tags()["images"]
    return found


def test_pilot(in_process: Any) -> None:
    options = ["--backbone", str(in_process.fine_tuned), *in_process.common("pilot"), "--proportions", "0.5", "0.2"]
    run(pilot, PilotOptions, options)
    folder = in_process.only_run("pilot")
    rows = rows_in(folder / "pilot.csv")
    assert [(row["strategy"], row["kept"]) for row in rows] == [
        (strategy, kept) for strategy in ("random", "attention", "residual") for kept in ("0.2", "0.5", "1.0")
    ]
    record = json.loads((folder / "metrics.json").read_text())
    assert record["after_layer"] == 1  # of 4
    assert len({row["f1"] for row in rows if row["kept"] == "1.0"}) == 1
    for row in rows:
        assert float(row["kept_fraction_1"]) == pytest.approx(float(row["kept"]), abs=0.03)
        key = f"{row['strategy']}_{round(100 * float(row['kept']))}_f1"
        assert record[key] == float(row["f1"])
    assert (folder / "pilot.png").read_bytes().startswith(PNG)
    assert images(folder) == ["pilot"]


def test_an_interrupted_pilot_goes_on(in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, passes = runners.pilot.run_pass, []

    def until(limit: int) -> Any:
        def call(env: Any, agent: Any, title: str) -> Any:
            if len(passes) == limit:
                raise KeyboardInterrupt
            passes.append(title)
            return real(env, agent, title)

        return call

    monkeypatch.setattr(runners.pilot, "run_pass", until(5))
    options = ["--backbone", str(in_process.fine_tuned), "--proportions", "0.5", "0.2"]
    with pytest.raises(SystemExit):
        run(pilot, PilotOptions, [*options, *in_process.common("pilot-begun")])
    folder = in_process.only_run("pilot-begun")
    monkeypatch.setattr(runners.pilot, "run_pass", until(99))
    run(pilot, PilotOptions, ["--resume", str(folder)])
    assert len(passes) == len(set(passes)) == 7  # three strategies, two shares and all kept
    run(pilot, PilotOptions, [*options, *in_process.common("pilot-whole")])
    whole = in_process.only_run("pilot-whole")
    assert rows_in(folder / "pilot.csv") == rows_in(whole / "pilot.csv")
    assert (folder / "metrics.json").read_text() == (whole / "metrics.json").read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--proportions", "1.5"], "--proportions"),
        (["--after-layer", "4"], "--after-layer is 4, and the encoder has 4 layers: give 1 to 3"),
        (["--env", "X"], "SQuAD2"),
    ],
)
def test_pilot_errors(options: list[str], named: str, in_process: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(pilot, PilotOptions, ["--backbone", str(in_process.fine_tuned), *in_process.common(), *options])
    assert named in capsys.readouterr().err


def test_sweep_and_what_is_done_is_not_done_again(
    in_process: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(in_process.root)
    common = ["--backbone", os.path.relpath(in_process.fine_tuned), *in_process.common("sweep")]
    started: list[str] = []
    homes = dict.fromkeys(("train_policy", "joint_finetune"), runners.sweep)
    homes["evaluate_heuristic"] = runners.evaluation.nested_runs
    real = {name: getattr(home, name) for name, home in homes.items()}

    def counted(name: str, limit: int) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if len(started) == limit:
                raise KeyboardInterrupt
            started.append(name)
            return real[name](*arguments, **named)

        return call

    for name in real:
        monkeypatch.setattr(homes[name], name, counted(name, 7))
    with pytest.raises(SystemExit) as caught:
        run(sweep, SweepOptions, [*common, *SWEEP, "--stage", "joint"])
    assert caught.value.code == 130
    folder = in_process.only_run("sweep", "sweep-joint")
    assert started == ["train_policy", "joint_finetune"] * 3 + ["train_policy"]

    for name in real:
        monkeypatch.setattr(homes[name], name, counted(name, 100))
    run(sweep, SweepOptions, ["--resume", str(folder)])
    assert started[7:] == ["joint_finetune"] + ["evaluate_heuristic"] * 4
    rows = rows_in(folder / "frontier.csv")
    one = "joint, the one for 1.8x by thresholds"
    assert [(row["series"], row["target"], row["seed"]) for row in rows] == [
        *(("joint", target, seed) for seed in ("0", "1") for target in ("1.3", "1.8")),
        *((one, target, "0") for target in ("1.3", "1.8")),
        *((name, target, "0") for name in ("random", "attention") for target in ("1.3", "1.8")),
    ]
    for row in rows:
        assert float(row["flops_speedup"]) == pytest.approx(float(row["target"]), rel=0.2), row
    assert len({row["full_f1"] for row in rows}) == 1
    assert (folder / "frontier.png").read_bytes().startswith(PNG)
    assert images(folder) == ["frontier"]

    monkeypatch.chdir(tmp_path)
    run(sweep, SweepOptions, ["--resume", str(folder)])  # all is there: only the report is made again
    assert len(started) == 12


def test_heuristics_take_the_unreduced_metrics_of_runs_whose_encoder_is_named_otherwise(
    in_process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(in_process.root)
    options = ["--backbone", os.path.relpath(in_process.fine_tuned), *in_process.common("relative")]
    few = ["--policy.total-texts", "16", "--policy.texts-per-step", "4", "--policy.samples-per-text", "4"]
    run(sweep, SweepOptions, [*options, *few, "--speedups", "1.5"])
    rows = rows_in(in_process.only_run("relative", "sweep-policy") / "frontier.csv")
    assert len({row["full_f1"] for row in rows}) == 1
    assert {row["series"] for row in rows} == {"stage 2", "random", "attention", "residual"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--speedups", "0.5"], "--speedups is 0.5"),
        (["--speedups", "1.5", "30", "--data-source", "embedded", "--backbone", "embedded"], "30.0 is out of reach"),
        (["--stage", "joint", "--data-source", "embedded", "--backbone", "embedded", *TOO_MANY], "cannot be held out"),
        (["--seeds", "0", "-1"], "--seeds is 0 -1"),
        (["--one-model", "7"], "--one-model is 7"),
        (["--policy.total-texts", "0"], "--policy.total-texts is 0"),
        (["--joint.temperature", "0"], "--joint.temperature is 0"),
    ],
)
def test_sweep_errors(options: list[str], named: str, in_process: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(sweep, SweepOptions, options)
    assert named in capsys.readouterr().err


def test_a_sweep_that_needs_a_model_stops_at_the_first_run_without_one(
    in_process: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    options = ["--backbone", str(in_process.fine_tuned), *in_process.common("plug-in"), *SWEEP[:11]]
    plug_in = ["--policy.agent", "linear_agent:LinearAgent", "--stage", "policy"]
    with pytest.raises(SystemExit):
        run(sweep, SweepOptions, [*options, *plug_in, "--policy.total-texts", "16"])
    assert "linear_agent:LinearAgent ends in no model to ship, which" in capsys.readouterr().err
    folder = in_process.only_run("plug-in", "sweep-*")
    assert len(list(folder.glob("*/*/policy-*/*/metrics.json"))) == 1


def test_a_sweep_that_was_moved_goes_on(in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [*SWEEP, "--stage", "joint", "--speedups", "1.3", "1.8", "--seeds", "0", "--heuristics", "random"]
    options = ["--backbone", str(in_process.fine_tuned), *small, "--joint.checkpoint-every", "1", "--one-model", "1.8"]
    run(sweep, SweepOptions, [*options, *in_process.common("sweep-whole")])
    whole = in_process.only_run("sweep-whole", "sweep-*")

    # Stopped in the second run of stage 3, whose policy and unreduced metrics lie in the sweep's own folder.
    step, steps = JointTraining.step, [0]

    def stopped(training: JointTraining) -> dict[str, float]:
        steps[0] += 1
        if steps[0] == 4:
            raise KeyboardInterrupt
        return step(training)

    monkeypatch.setattr(JointTraining, "step", stopped)
    with pytest.raises(SystemExit) as caught:
        run(sweep, SweepOptions, [*options, *in_process.common("sweep-broken")])
    assert caught.value.code == 130
    monkeypatch.setattr(JointTraining, "step", step)
    broken = in_process.only_run("sweep-broken", "sweep-*")
    assert (next(broken.glob("1.8x-seed0/SQuAD2/joint-*/*/checkpoint")) / "latest.json").exists()
    moved = broken.rename(in_process.root / "sweep-moved")
    run(sweep, SweepOptions, ["--resume", str(moved)])
    for one, other in zip(rows_in(whole / "frontier.csv"), rows_in(moved / "frontier.csv"), strict=True):
        same = [name for name in one if name not in CLOCK_KEYS and name != "run"]
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


def point(target: float, speedup: float, f1: float) -> Point:
    own = {"f1": f1, "log_likelihood": -1.0, "flops_speedup": speedup}
    full = {"full_f1": 66.0, "full_log_likelihood": -1.0}
    record = EvaluationRecord.from_flat({"env": "SQuAD2", "num_texts": 3, **own, **full})
    return Point("joint", target, 0, record)


def test_mean_line_is_over_seeds() -> None:
    points = [point(2.0, 2.1, 60.0), point(2.0, 1.9, 62.0), point(1.5, 1.5, 64.0)]
    assert mean_line(points, "f1") == [(1.5, 64.0), (2.0, 61.0)]


def test_options_of_every_run_follow_from_the_sweep() -> None:
    options = SweepOptions(
        data=DataOptions(max_train_texts=100),
        encoder=EncoderOptions(reduction_layers=(2, 5), backbone="encoder"),
        run=RunOptions(dtype="bfloat16"),
    )
    stage2 = options.stage2(2.5, 3, Path("out"))
    assert (stage2.target_speedup, stage2.run.seed, stage2.run.output_dir) == (2.5, 3, Path("out"))
    assert (stage2.data, stage2.encoder) == (options.data, options.encoder)
    stage3 = options.stage3(2.5, 3, Path("out"), Path("policy"))
    assert (stage3.policy, stage3.encoder, stage3.run.dtype) == (Path("policy"), EncoderOptions(), "bfloat16")
