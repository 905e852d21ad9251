"""``--resume`` and ``--model`` from another working folder than the run was begun in, with relative paths."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runners import evaluate, train_policy
from runners.cli.run import run
from runners.training.policy import PolicyTraining


def test_a_run_with_relative_paths_goes_on_from_another_folder(
    in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [
        *("--data-dir", os.path.relpath(in_process.data), "--backbone", os.path.relpath(in_process.fine_tuned)),
        *("--output-dir", str(tmp_path / "runs"), "--dtype", "float32", "--reduction-layers", "2", "3"),
        *("--total-texts", "12", "--texts-per-step", "4", "--samples-per-text", "2", "--checkpoint-every", "1"),
    ]
    step = PolicyTraining.step

    def stopped(training: PolicyTraining) -> Any:
        if training.updates == 2:
            raise KeyboardInterrupt
        return step(training)

    monkeypatch.setattr(PolicyTraining, "step", stopped)
    with pytest.raises(SystemExit):
        run(train_policy.main, train_policy.TrainPolicyOptions, inputs)
    monkeypatch.setattr(PolicyTraining, "step", step)
    (folder,) = (tmp_path / "runs").glob("SQuAD2/*/*")
    assert not (folder / "metrics.json").exists()

    monkeypatch.chdir(tmp_path)
    run(train_policy.main, train_policy.TrainPolicyOptions, ["--resume", os.path.relpath(folder)])
    own = json.loads((folder / "metrics.json").read_text())
    run(evaluate.main, evaluate.EvaluateOptions, ["--model", str(folder), "--output-dir", "again"])
    (again,) = (tmp_path / "again").glob("SQuAD2/*/*/metrics.json")
    assert json.loads(again.read_text())["f1"] == own["f1"]
