"""The parts of a record, and their flat form on disk."""

from __future__ import annotations

import json

import pytest

from runners.evaluation.record import EvaluationRecord, PassResult, Quality, Savings

CONDITIONS = {
    "env": "SQuAD2",
    "split": "validation",
    "data_source": "local",
    "backbone": "b",
    "num_examples": 3,
    "num_texts": 4,
    "dtype": "float32",
    "encoder_fingerprint": "e",
    "tokenizer_fingerprint": "t",
    "texts_fingerprint": "x",
}
FULL = Quality({"f1": 70.0, "exact_match": 60.0, "has_answer_f1": 65.0}, -1.5)
REDUCED = Quality({"f1": 69.0, "exact_match": 59.0, "has_answer_f1": 62.0}, -1.6)
SAVINGS = Savings(2.1, (0.5, 0.2))
RECORDS = {
    "stage 1": EvaluationRecord(CONDITIONS, full=FULL, reduced=FULL),
    "a heuristic": EvaluationRecord(CONDITIONS, full=FULL, reduced=REDUCED, savings=SAVINGS, agent="random"),
    "stage 2": EvaluationRecord(
        CONDITIONS,
        full=FULL,
        reduced=REDUCED,
        savings=SAVINGS,
        clock={"wall_speedup_stock": 2.5, "wall_speedup_packed": 1.9},
        identity={"model_fingerprint": "m"},
    ),
    "stage 3": EvaluationRecord(
        CONDITIONS,
        full=FULL,
        reduced=REDUCED,
        savings=SAVINGS,
        clock={"wall_speedup_stock": 2.5, "wall_speedup_packed": 1.9},
        keep_all=Quality({"f1": 71.0, "exact_match": 61.0, "has_answer_f1": 66.0}, -1.4),
        holdout=PassResult(Quality({"f1": 68.0, "exact_match": 58.0, "has_answer_f1": 60.0}, -1.7), SAVINGS),
        identity={"model_fingerprint": "m"},
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_comes_back_from_its_flat_form(name: str) -> None:
    record = RECORDS[name]
    assert EvaluationRecord.of_flat(json.loads(json.dumps(record.flat()))) == record


def test_the_flat_form_is_the_documented_one() -> None:
    assert list(RECORDS["stage 3"].flat()) == [
        *CONDITIONS,
        *("f1", "exact_match", "has_answer_f1", "log_likelihood"),
        *("flops_speedup", "kept_fraction_1", "kept_fraction_2", "wall_speedup_stock", "wall_speedup_packed"),
        *("full_f1", "full_exact_match", "full_has_answer_f1", "full_log_likelihood"),
        *("keep_all_f1", "keep_all_exact_match", "keep_all_has_answer_f1", "keep_all_log_likelihood"),
        *("holdout_f1", "holdout_exact_match", "holdout_has_answer_f1", "holdout_log_likelihood"),
        *("holdout_flops_speedup", "holdout_kept_fraction_1", "holdout_kept_fraction_2"),
        "model_fingerprint",
    ]
    assert RECORDS["stage 3"].flat()["keep_all_f1"] == 71.0
    assert RECORDS["stage 1"].flat()["f1"] == RECORDS["stage 1"].flat()["full_f1"] == 70.0


def test_entries_of_later_versions_are_kept() -> None:
    flat = RECORDS["stage 2"].flat() | {"energy_joules": 3.0}
    record = EvaluationRecord.of_flat(flat)
    assert record.identity == {"model_fingerprint": "m", "energy_joules": 3.0}
    assert record.flat() == flat


def test_what_is_no_evaluation_is_refused() -> None:
    with pytest.raises(ValueError, match="no full_log_likelihood: it is of no evaluation"):
        EvaluationRecord.of_flat({"reinforce/0/f1": 3.0})
    without = RECORDS["stage 2"].flat()
    del without["exact_match"]
    with pytest.raises(ValueError, match="has no exact_match"):
        EvaluationRecord.of_flat(without)


def test_what_tables_show() -> None:
    assert RECORDS["stage 2"].main_metric == "f1"
    assert RECORDS["stage 2"].shown_metrics == ("f1", "has_answer_f1")
    assert RECORDS["stage 2"].changes()[0] == ("f1", 70.0, 69.0)
    stars = Quality({"accuracy": 60.0, "macro_f1": 59.0, "mean_absolute_error": 0.5}, -1.0)
    assert EvaluationRecord({}, full=stars, reduced=stars).shown_metrics == ("accuracy", "mean_absolute_error")
