"""What a run loads: the same examples for the same options, and those that are held out apart from the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from runners.cli.options import DataOptions, EncoderOptions
from runners.training.loading import Holdout, RunExamples, TrainedOn, check_holdout, load_split
from trbert_env.data.sampling import sample
from trbert_env.tasks import MultiHopQA, SpanQA


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
    assert 5 <= len(few.holdout) < 5 + 5  # whole passages
    assert not set(few.holdout["context"]) & set(all_of_them.train["context"])
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


def test_a_number_that_is_given_stays() -> None:
    train, held_out = Holdout(500).split(Dataset.from_dict({"id": range(1_350)}))
    assert held_out is not None
    assert (len(train), len(held_out)) == (850, 500)


@pytest.mark.parametrize(("count", "said"), [(10**6, "cannot be held out"), (501, "leaves 499 to train on")])
def test_a_number_that_leaves_too_few_is_refused(count: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Holdout(count).split(Dataset.from_dict({"id": range(1_000)}))


def test_too_many_held_out_are_refused_before_anything_else() -> None:
    with pytest.raises(ValueError, match="cannot be held out"):
        check_holdout(DataOptions(data_source="embedded"), Holdout(10**6))


def test_an_encoder_beside_a_trained_model_fits_the_model_and_keeps_its_own_length(
    save_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    question = {
        "_id": "x",
        "question": "Is it so?",
        "answer": "yes",
        "supporting_facts": [["Mill", 0]],
        "context": [["Mill", ["It is so."]]],
    }
    for name in ("hotpot_train_v1.1.json", "hotpot_dev_distractor_v1.json"):
        (tmp_path / name).write_text(json.dumps([question, {**question, "_id": "y"}]))
    task = MultiHopQA(max_tokens=512, support_weight=1.0)
    teacher = str(save_encoder(task, max_position_embeddings=128))
    # The options name the data anew, and not how the model reads them.
    found = RunExamples.load(DataOptions("HotpotQA", "local", tmp_path), trained=TrainedOn("HotpotQA", task))
    loaded = found.load_encoder(EncoderOptions(teacher))
    assert loaded.fine_tuned
    assert (loaded.model.config.num_labels, loaded.extended_from) == (6, None)


def test_training_texts_that_are_measured_on_are_all_there(save_encoder: Callable[..., Path]) -> None:
    """Training leaves out windows that nothing can be learned from; an evaluation must predict for every question."""
    cut = ("stride=16", "max_question_tokens=24", "max_slices=1")
    data = DataOptions("NewsQA", "embedded", max_eval_texts=30, task_options=cut, max_length=64)
    encoder = str(save_encoder(SpanQA(max_tokens=64), max_position_embeddings=64))
    learned, measured = (load_split(data, encoder, "train", training=training) for training in (None, False))
    assert len(learned.texts) < len(measured.texts) == 30
    assert list(learned.examples["id"]) == list(measured.examples["id"])
    logits = [np.zeros((len(text), 2), dtype=np.float32) for text in measured.texts]
    found = measured.task.predict(measured.texts, logits, measured.examples)
    assert found.keys() == set(measured.examples["id"])
