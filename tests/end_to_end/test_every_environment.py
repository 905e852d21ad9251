"""Every id, on its embedded corpus: each runner from the command line, from fine-tuning to a faster saved model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runners.benchmark import BenchmarkOptions
from runners.benchmark import main as benchmark
from runners.cli.run import run
from runners.compare import CompareOptions
from runners.compare import main as compare
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.finetune import FinetuneOptions
from runners.finetune import main as finetune
from runners.joint_finetune import JointFinetuneOptions
from runners.joint_finetune import main as joint_finetune
from runners.sweep import SweepOptions
from runners.sweep import main as sweep
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.presets import OWN, PRESETS

RUNNERS: dict[str, tuple[Callable[..., Any], type[Any]]] = {
    "finetune": (finetune, FinetuneOptions),
    "train_policy": (train_policy, TrainPolicyOptions),
    "joint_finetune": (joint_finetune, JointFinetuneOptions),
    "evaluate": (evaluate, EvaluateOptions),
    "benchmark": (benchmark, BenchmarkOptions),
    "compare": (compare, CompareOptions),
    "sweep": (sweep, SweepOptions),
}
NAMES = [name for name in PRESETS if name not in OWN]
STEPS = ["--texts-per-step", "4", "--samples-per-text", "2"]


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path]) -> Path:
    """A tiny encoder without a head; texts are long, and attention is most of what they take."""
    return save_encoder(num_hidden_layers=3, num_attention_heads=1)


@pytest.mark.parametrize("agent", ["stock", "keep-all"])
def test_race_is_reported_by_kind_of_school(agent: str, encoder: Path, in_process: Any, tmp_path: Path) -> None:
    for level, count in (("middle", 3), ("high", 5)):
        for number in range(count):
            content = {
                "id": f"{level}{number}.txt",
                "article": f"Ben lost hat number {number} of {level} school.",
                "questions": ["What was lost?"],
                "options": [["a coat", "a hat", "a dog", "a key"]],
                "answers": ["ABCD"[number % 4]],
            }
            for split in ("train", "test"):
                file = tmp_path / "data" / "RACE" / split / level / f"{number}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(content))
    options = ["--env", "RACE", "--data-dir", str(tmp_path / "data"), "--output-dir", str(tmp_path / "runs")]
    run(evaluate, EvaluateOptions, [*options, "--backbone", str(encoder), "--agent", agent, "--dtype", "float32"])
    (file,) = (tmp_path / "runs").glob("RACE/*/*/metrics.json")
    record = json.loads(file.read_text())
    weighted = (3 * record["accuracy_middle"] + 5 * record["accuracy_high"]) / 8
    assert record["accuracy"] == pytest.approx(weighted)
    assert record["full_accuracy_high"] == record["accuracy_high"]


@pytest.mark.parametrize("name", NAMES)
def test_every_runner_runs(name: str, encoder: Path, in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Path = in_process.root / name

    def command(job: str, *arguments: str) -> None:
        main, options = RUNNERS[job]
        sizes = [] if job == "benchmark" else ["--max-eval-texts", "8"]
        sizes += ["--dtype", "float32", "--output-dir", str(place)]
        source = ["--env", name, "--data-source", "embedded"]
        monkeypatch.setattr(sys, "argv", [f"{job}.py", *source, *sizes, *arguments])
        run(main, options)

    def the_run(stage: str) -> Path:
        (found,) = (place / name).glob(f"{stage}*/*")
        return found

    def record(stage: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((the_run(stage) / "metrics.json").read_text())
        return found

    given = ["--backbone", str(encoder)]
    command("finetune", *given, "--max-train-texts", "16", "--epochs", "1", "--batch-size", "4")
    tuned = ["--backbone", str(the_run("finetune") / "model")]
    command("train_policy", *tuned, "--max-train-texts", "16", "--total-texts", "8", *STEPS)
    command(
        "joint_finetune", "--policy", str(the_run("policy")), "--max-train-texts", "16", "--total-texts", "8",
        "--holdout-texts", "4", *STEPS,
    )  # fmt: skip
    command("evaluate", "--model", str(the_run("joint")))
    model = TokenReducedModel.from_pretrained(the_run("joint") / "model")
    main_metric = model.task.metric_names[0]
    for stage in ("policy", "joint", "evaluate"):
        found = record(stage)
        assert (found["env"], found["split"], found["data_source"]) == (
            name, PRESETS[name].evaluation_split, "embedded",
        )  # fmt: skip
        assert 0 <= found[main_metric] <= 100
        assert found.keys() >= {f"full_{main_metric}", "flops_speedup", "wall_speedup_stock", "kept_fraction_2"}
    assert record("evaluate")[main_metric] == pytest.approx(record("joint")[main_metric])
    command("benchmark", *tuned, "--num-texts", "4", "--rounds", "1", "--no-training")
    sizes = ["--policy.total-texts", "8", "--policy.texts-per-step", "4", "--policy.samples-per-text", "2"]
    small = [*tuned, "--max-train-texts", "16", *sizes]
    command("compare", *small, "--agents", "reinforce", "attention", "--seeds", "1", "--target-speedup", "1.8")
    command("sweep", *small, "--stage", "policy", "--speedups", "1.8", "--heuristics", "random")
