"""A teacher must tell what the student tells, output by output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from runners.cli.options import DataOptions, EncoderOptions, OwnDataOptions
from runners.cli.run import UserError
from runners.training.loading import RunExamples
from runners.training.options.joint import JointFinetuneOptions
from runners.training.teaching import check_temperature, load_fine_tuned, load_teacher
from trbert_env.tasks import Task, task_of

ENV = "TextClassification"


@pytest.fixture
def classifier(save_encoder: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    """``classifier("neg", "pos")``: the folder of a classifier of these classes."""
    encoder = save_encoder()

    def save(*labels: str) -> str:
        names = dict(enumerate(labels))
        config = AutoConfig.from_pretrained(encoder)
        config.id2label, config.label2id = names, {name: place for place, name in names.items()}
        folder = tmp_path / "-".join(labels)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
        return str(folder)

    return save


@pytest.mark.parametrize("labels", [("pos", "neg"), ("neg", "neutral", "pos")])
def test_a_teacher_of_other_classes_or_another_order_is_refused(
    labels: tuple[str, ...], classifier: Callable[..., str], tmp_path: Path
) -> None:
    """The first output of the one would be taken for the first of the other."""
    file = tmp_path / "own.csv"
    file.write_text("text,label\n" + "".join(f"the sea is {row},{('neg', 'pos')[row % 2]}\n" for row in range(40)))
    examples = RunExamples.load(DataOptions(ENV, own=OwnDataOptions(file)))
    encoder = load_fine_tuned(EncoderOptions(classifier("neg", "pos")), ENV, examples)
    assert load_teacher(None, ENV, encoder, examples) is encoder
    same = load_teacher(classifier("neg", "pos"), ENV, encoder, examples)
    assert same.model.config.id2label == {0: "neg", 1: "pos"}
    told = (
        rf"has the outputs {len(labels)} \({', '.join(labels)}\), and the encoder 2 \(neg, pos\): give one of the same"
    )
    with pytest.raises(UserError, match=told):
        load_teacher(classifier(*labels), ENV, encoder, examples)


@pytest.mark.parametrize(
    ("task", "ignored"),
    [
        (task_of("classification", {"head": "regression"}), True),
        (task_of("classification", {"head": "regression", "bounded": True}), False),
        (task_of("classification", {"head": "relevance"}), False),
    ],
)
def test_a_temperature_that_changes_nothing_is_refused(task: Task, ignored: bool) -> None:
    softened = JointFinetuneOptions(joint=replace(JointFinetuneOptions().joint, temperature=2.0))
    check_temperature(JointFinetuneOptions(), task)
    if not ignored:
        return check_temperature(softened, task)
    with pytest.raises(ValueError, match=r"plain regression .*: leave --temperature out"):
        check_temperature(softened, task)
