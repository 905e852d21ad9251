"""What a run loads: the same examples for the same options, and those that are held out apart from the rest."""

from __future__ import annotations

import pytest
from datasets import Dataset

from runners.cli.options import DataOptions
from runners.training.loading import Holdout, RunExamples, check_holdout
from trbert_env.data.request import DataRequest
from trbert_env.data.sampling import sample
from trbert_env.data.sources import Examples


def loaded(max_train_texts: int | None, holdout_texts: int | None = None) -> RunExamples:
    holdout = None if holdout_texts is None else Holdout(holdout_texts)
    return RunExamples.load(DataOptions("SQuAD2", "embedded", None, max_train_texts, 7), holdout)


def test_a_sample_of_each_split_and_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    found = loaded(12)
    assert (found.request.env, found.source, found.holdout) == ("SQuAD2", "embedded", None)
    assert "training data: " in capsys.readouterr().err
    for split, examples, count in (("train", found.train, 12), ("validation", found.validation, 7)):
        expected = sample(found.request.load(split).dataset, count)
        assert list(examples["id"]) == list(expected["id"])


def test_what_is_held_out_does_not_depend_on_the_number_of_training_texts() -> None:
    few, all_of_them, none = loaded(12, 5), loaded(None, 5), loaded(12, 0)
    assert few.holdout is not None
    assert all_of_them.holdout is not None
    assert list(few.holdout["id"]) == list(all_of_them.holdout["id"])
    assert len(few.holdout) == 5
    assert list(few.train["id"]) == list(all_of_them.train["id"])[:12]
    assert not set(few.holdout["id"]) & set(all_of_them.train["id"])
    assert none.holdout is None
    assert list(none.train["id"]) == list(few.train["id"])  # the same order


@pytest.mark.parametrize(("records", "withheld"), [(9, 0), (1_350, 135), (5_000, 500), (130_000, 500)])
def test_by_default_at_most_a_tenth_is_held_out_and_the_number_is_said(
    records: int, withheld: int, capsys: pytest.CaptureFixture[str]
) -> None:
    train, held_out = Holdout().split(Dataset.from_dict({"id": range(records)}))
    assert (len(train), 0 if held_out is None else len(held_out)) == (records - withheld, withheld)
    said = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    assert (f"{withheld:,} of {records:,} training texts are withheld" in said) == bool(withheld)


@pytest.mark.parametrize(
    ("records", "given", "withheld"), [(1_350, 500, 135), (9_000, 800, 800), (24, 10**6, 2), (8, 2, 1)]
)
def test_a_number_that_is_given_is_cut_at_a_tenth_which_is_said(
    records: int, given: int, withheld: int, capsys: pytest.CaptureFixture[str]
) -> None:
    train, held_out = Holdout(given).split(Dataset.from_dict({"id": range(records)}))
    assert held_out is not None
    assert (len(train), len(held_out)) == (records - withheld, withheld)
    said = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    told = f"--holdout-texts {given:,} is more than a tenth of {records:,} training texts" in said
    assert told == (withheld < given)
    assert f"{withheld:,} of {records:,} training texts are withheld" in said


def test_groups_that_leave_too_few_are_refused_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    one_group = Examples(Dataset.from_dict({"id": range(30), "group": ["a"] * 30}), "local", "")
    monkeypatch.setattr(DataRequest, "load", lambda *_: one_group)
    said = r"cannot be held out, as groups stay together.*\(--holdout-texts, 0 for none\)"
    with pytest.raises(ValueError, match=said):
        check_holdout(DataOptions(), Holdout(2))
