"""What a run loads: the same examples for the same options, and those that are held out apart from the rest."""

from __future__ import annotations

import pytest

from runners.cli.options import DataOptions
from runners.training.loading import RunExamples, check_holdout
from trbert_env.data.sampling import sample


def loaded(max_train_texts: int | None, holdout_texts: int | None = None) -> RunExamples:
    return RunExamples.load(DataOptions("SQuAD2", "embedded", None, max_train_texts, 7), holdout_texts)


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


def test_too_many_held_out_are_refused_before_anything_else() -> None:
    with pytest.raises(ValueError, match="cannot be held out"):
        check_holdout(DataOptions(data_source="embedded"), 10**6)
