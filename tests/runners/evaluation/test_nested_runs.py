"""What nested runs left behind is used only where it is whole and was made on the same things."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runners.evaluate import EvaluateOptions
from runners.evaluation.nested_runs import ended_run, kept_record
from runners.evaluation.record import Conditions, EvaluationRecord, Identity
from runners.runs.earlier import earlier_record
from runners.runs.run_folder import RunFolder

CONDITIONS = {"env": "SQuAD2", "texts_fingerprint": "abc", "num_texts": 3}
IDENTITY = Identity(keep_fractions=(0.5, 0.2), reduction_layers=(2, 4))
DAMAGED = ["{}", '{"env": "SQuAD2"}', "null", "[]", "3", '"text"', "{", "", "\x00"]


def run_folder(tmp_path: Path, metrics: str | None) -> RunFolder:
    folder = RunFolder.create(tmp_path, "SQuAD2", "policy", "reinforce", 0)
    folder.write_config(EvaluateOptions())
    if metrics is not None:
        folder.metrics_path.write_text(metrics)
    return folder


def record(**values: Any) -> EvaluationRecord:
    found = {"f1": 1.0, "log_likelihood": -2.0, "flops_speedup": 2.0, "full_f1": 2.0, "full_log_likelihood": -1.0}
    return EvaluationRecord.from_flat(CONDITIONS | found | values)


def kept(path: Path, evaluate: Callable[[], EvaluationRecord] = record, **changed: Any) -> EvaluationRecord:
    return kept_record(path, evaluate, Conditions.from_flat(CONDITIONS | changed), IDENTITY)


def test_a_run_without_a_record_has_not_ended(tmp_path: Path) -> None:
    run_folder(tmp_path, None)
    assert ended_run(tmp_path / "SQuAD2", "policy-*") is None
    ended = run_folder(tmp_path, json.dumps({"env": "SQuAD2", "num_texts": 3, "full_log_likelihood": -1.0}))
    assert ended_run(tmp_path / "SQuAD2", "policy-*") == ended.path


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_of_a_run_is_named(content: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, content)
    with pytest.raises(ValueError, match=r"metrics\.json .*restore it"):
        ended_run(tmp_path / "SQuAD2", "policy-*")
    with pytest.raises(ValueError, match=r"metrics\.json .*(restore it|name a run of finetune)"):
        earlier_record(folder.path)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_kept_record_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "random-2x-seed0.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"random-2x-seed0\.json .*restore it"):
        kept(path)


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_a_record_on_something_else_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "heuristics" / "random.json"
    found = kept(path)
    assert found.reduced.quality["f1"] == 1.0
    with pytest.raises(ValueError, match=f"made with {name} .*delete the file to measure it again"):
        kept(path, **{name: "other"})


def test_a_record_of_another_identity_is_named(tmp_path: Path) -> None:
    path = tmp_path / "random.json"
    assert kept(path).identity == IDENTITY
    other = Identity(keep_fractions=(0.5, 0.3), reduction_layers=(2, 4))
    with pytest.raises(ValueError, match=r"made with keep_fractions \[0.5, 0.2\].*delete the file"):
        kept_record(path, record, Conditions.from_flat(CONDITIONS), other)


def test_a_record_is_measured_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def evaluate() -> EvaluationRecord:
        calls.append(1)
        return record()

    for _ in range(2):
        assert kept(tmp_path / "a" / "b.json", evaluate) == record(keep_fractions=[0.5, 0.2], reduction_layers=[2, 4])
    assert calls == [1]
