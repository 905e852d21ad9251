"""The flat record of metrics.json: what is written is read again, key by key, and in the same order."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from runners.evaluate import EvaluateOptions
from runners.evaluation.record import (
    Certainty,
    Clock,
    Conditions,
    EvaluationRecord,
    Identity,
    Measured,
    Quality,
    Savings,
    watched_curves,
)
from runners.runs.earlier import earlier_record, run_record
from runners.runs.run_folder import RunFolder
from trbert_env.presets import PRESETS, get_preset
from trbert_env.tasks import task_class, task_of

CONDITIONS = {
    "env": "SQuAD2",
    "split": "validation",
    "data_source": "local",
    "backbone": "MiniLM",
    "num_examples": 12,
    "num_texts": 13,
    "dtype": "float32",
    "encoder_fingerprint": "aa",
    "tokenizer_fingerprint": "bb",
    "texts_fingerprint": "cc",
}
METRICS = {"f1": 58.5, "exact_match": 50.0, "has_answer_f1": 40.0, "log_likelihood": -2.5}
SAVED = {"flops_speedup": 2.25, "kept_fraction_1": 0.5, "kept_fraction_2": 0.25}
CLOCK = {"wall_speedup_stock": 1.75, "wall_speedup_packed": 1.5}


def behind(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in values.items()}


FULL = behind("full_", METRICS)
KEEP_ALL, HOLDOUT = behind("keep_all_", METRICS), behind("holdout_", METRICS | SAVED)
BOUNDS = {"keep_fractions": [0.5, 0.25], "reduction_layers": [2, 4]}
#: As each runner wrote them before there were records.
KINDS: dict[str, dict[str, Any]] = {
    "finetune": CONDITIONS | METRICS | FULL,
    "train_policy": CONDITIONS | METRICS | SAVED | CLOCK | FULL | {"model_fingerprint": "dd"},
    "train_policy without a model": CONDITIONS | {"agent": "my:Agent"} | METRICS | SAVED | FULL,
    "joint_finetune": CONDITIONS | METRICS | SAVED | CLOCK | FULL | KEEP_ALL | HOLDOUT | {"model_fingerprint": "dd"},
    "evaluate a model": CONDITIONS | METRICS | SAVED | CLOCK | FULL | KEEP_ALL,
    "stock": CONDITIONS | {"agent": "stock"} | METRICS | {"flops_speedup": 1.0} | FULL,
    "heuristic of a sweep": CONDITIONS | {"agent": "random"} | METRICS | SAVED | FULL | BOUNDS,
    "threshold of a sweep": CONDITIONS
    | METRICS
    | SAVED
    | CLOCK
    | FULL
    | {"model_fingerprint": "dd", "threshold": 0.25},
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_flat_record_is_read_and_written_again(kind: str) -> None:
    flat = KINDS[kind]
    record = EvaluationRecord.from_flat(flat)
    assert list(record.to_flat().items()) == list(flat.items())
    assert record.extra == {}
    assert EvaluationRecord.from_flat(json.loads(json.dumps(record.to_flat()))) == record


def test_the_parts_of_a_record() -> None:
    record = EvaluationRecord.from_flat(KINDS["joint_finetune"])
    quality = Quality({"f1": 58.5, "exact_match": 50.0, "has_answer_f1": 40.0}, -2.5)
    measured = Measured(quality, Savings(2.25, (0.5, 0.25)))
    conditions = Conditions("SQuAD2", "validation", "local", "MiniLM", 12, 13, "float32", "aa", "bb", "cc")
    assert record == EvaluationRecord(
        conditions,
        measured,
        quality,
        clock=Clock(1.75, 1.5),
        keep_all=quality,
        holdout=measured,
        identity=Identity("dd"),
    )
    assert (quality["f1"], quality["log_likelihood"]) == (58.5, -2.5)
    finetuned = EvaluationRecord.from_flat(KINDS["finetune"])
    assert (finetuned.reduced.savings, finetuned.clock, finetuned.keep_all, finetuned.holdout) == (None,) * 4


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    """A record of another version, in another order, read by way of a run's folder."""
    unknown = {"gpu_hours": 3.5, "note": "by hand", "old_flag": True, "nothing": None}
    flat = dict(reversed((KINDS["train_policy"] | unknown).items()))
    folder = RunFolder.create(tmp_path, "SQuAD2", "policy", "reinforce", 0)
    folder.write_config(EvaluateOptions())
    folder.write_metrics(flat)
    for record in (run_record(folder.path), earlier_record(folder.path)):
        assert record is not None
        assert record.extra == unknown
        assert record.to_flat() == flat
        assert replace(record, extra={}).reduced == EvaluationRecord.from_flat(KINDS["train_policy"]).reduced


def test_a_record_of_few_keys_reads() -> None:
    """The least that every version wrote."""
    record = EvaluationRecord.from_flat({"env": "SQuAD2", "num_texts": 3, "full_log_likelihood": -1.0})
    assert record.conditions.split is None
    assert record.full == Quality({}, -1.0)
    assert math.isnan(record.reduced.quality.log_likelihood)


@pytest.mark.parametrize("name", ["env", "num_texts", "full_log_likelihood"])
def test_a_record_that_lacks_a_key_is_refused(name: str) -> None:
    flat = {key: value for key, value in KINDS["train_policy"].items() if key != name}
    with pytest.raises(ValueError, match=f"has no {name}"):
        EvaluationRecord.from_flat(flat)


def test_what_is_no_number_is_null() -> None:
    flat = KINDS["train_policy"] | {"f1": None, "full_f1": None}
    record = EvaluationRecord.from_flat(flat)
    assert math.isnan(record.reduced.quality["f1"])
    assert math.isnan(record.full["f1"])
    assert record.to_flat() == flat
    endless = replace(record, reduced=Measured(Quality({"f1": math.inf}, -1.0)))
    assert endless.to_flat()["f1"] is None


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_other_conditions_are_named(name: str) -> None:
    now, earlier = Conditions.from_flat(CONDITIONS), Conditions.from_flat(CONDITIONS | {name: "other"})
    now.check_same(Conditions.from_flat(CONDITIONS))
    if name == "backbone":  # which may be named in several ways: its fingerprint tells
        now.check_same(earlier)
        unknown = {key: value for key, value in CONDITIONS.items() if key != "encoder_fingerprint"}
        now, earlier = Conditions.from_flat(unknown), Conditions.from_flat(unknown | {name: "other"})
    with pytest.raises(ValueError, match=f"the earlier record has {name} 'other', this evaluation .*--full-from"):
        now.check_same(earlier)
    older = Conditions.from_flat({key: value for key, value in now.to_flat().items() if key != name})
    with pytest.raises(ValueError, match=f"the earlier record has {name} None"):
        now.check_same(older)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_no_metric_has_the_name_of_another_entry(name: str) -> None:
    """Else one would take the other's place in the flat record."""
    preset = get_preset(name)
    settings = {entry.name for entry in fields(task_class(preset.task))}
    looked_for = {"positive": "yes"} if "positive" in settings else {}
    metrics = task_of(preset.task, preset.settings | looked_for).metric_names
    assert not looked_for or "precision" in metrics
    entries = {entry.name for part in (Conditions, Savings, Clock, Identity, Certainty) for entry in fields(part)}
    assert not entries & {*metrics, "log_likelihood"}


def test_an_export_of_a_class_that_is_looked_for_keeps_its_precision() -> None:
    quality = Quality({"f1": 50.0, "precision": 40.0}, -1.0)
    identity = Identity(backend="onnx", export_precision="int8")
    record = EvaluationRecord(Conditions.from_flat(CONDITIONS), Measured(quality), quality, identity=identity)
    flat = record.to_flat()
    assert (flat["precision"], flat["full_precision"], flat["export_precision"]) == (40.0, 40.0, "int8")
    assert EvaluationRecord.from_flat(flat) == record


def test_curves_of_held_out_texts() -> None:
    quality = Quality({"f1": 60.0}, -1.0)
    assert watched_curves(quality, Measured(quality, Savings(2.0, (0.5,)))) == {
        "holdout/keep_all_f1": 60.0,
        "holdout/keep_all_log_likelihood": -1.0,
        "holdout/f1": 60.0,
        "holdout/log_likelihood": -1.0,
        "holdout/flops_speedup": 2.0,
        "holdout/kept_fraction_1": 0.5,
    }
    assert list(watched_curves(quality, None)) == ["holdout/keep_all_f1", "holdout/keep_all_log_likelihood"]
