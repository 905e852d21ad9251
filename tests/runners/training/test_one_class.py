"""Texts without labels that the encoder finds in one class teach a policy next to nothing: that is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from runners.training.loading import Splits
from runners.training.unlabelled import warn_of_one_class
from trbert_env.data.request import DataRequest
from trbert_env.data.workload import Workload
from trbert_env.encoder.texts import TextBatch
from trbert_env.staged_model import StagedModel

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def train(save_encoder: Callable[..., Path]) -> Workload:
    """Reviews that an encoder, whose head is balanced by hand, finds in two classes about equally often."""
    workload = Workload.load(DataRequest("IMDB", "embedded"), "train", backbone=str(save_encoder()), max_examples=60)
    head = workload.backbone.model.classifier
    logits = logits_of(workload)
    with torch.no_grad():
        head.bias[1] -= (logits[:, 1] - logits[:, 0]).median() + 1e-6
    return workload


@torch.no_grad()
def logits_of(workload: Workload) -> torch.Tensor:
    return StagedModel(workload.backbone.model.eval(), workload.task)(TextBatch.from_texts(workload.texts))


def of_class(train: Workload, wanted: int) -> list[dict[str, str]]:
    """Texts that the encoder finds in a class."""
    classes = logits_of(train).argmax(1).tolist()
    return [{"text": text} for text, found in zip(train.examples["text"], classes, strict=True) if found == wanted]


def test_texts_of_one_class(train: Workload, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = of_class(train, 0), of_class(train, 1)
    assert len(one) > 20
    assert len(other) > 20
    warn_of_one_class(Splits(train, train, unlabelled=train.unlabelled(one)), CPU)
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"{len(one)} of {len(one)} texts without labels in the class '{train.task.labels[0]}'" in told
    assert f"and at most {max(len(one), len(other))} of 60 training texts in one" in told


def test_nothing_is_said_of_others(train: Workload, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = of_class(train, 0), of_class(train, 1)
    warn_of_one_class(Splits(train, train, unlabelled=train.unlabelled([*one, *other])), CPU)
    warn_of_one_class(Splits(train, train), CPU)
    alike = train.unlabelled(one)
    warn_of_one_class(Splits(alike, train, unlabelled=alike), CPU)  # the task itself has one answer
    assert capsys.readouterr().err == ""
