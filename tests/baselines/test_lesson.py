"""The teacher of a lesson runs once, for its states and its logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.deformer import Deformer, DeformerOptions
from baselines.distilled import Distilled, DistilledOptions
from baselines.dynabert import DynaBert, DynaBertOptions
from baselines.lesson import Lesson
from trbert_env.encoder.texts import EncodedText
from trbert_env.tasks.base import Task

SYSTEMS: dict[str, Callable[[PreTrainedModel, Task], Any]] = {
    "distilled": lambda model, task: Distilled(model, task, DistilledOptions(layers=(1, 3), states_weight=1.0)),
    "deformer": lambda model, task: Deformer(model, task, DeformerOptions(layers=2)),
    "dynabert": lambda model, task: DynaBert(model, task, DynaBertOptions()),
}


@pytest.mark.parametrize(
    ("name", "family"),
    # ModernBERT has a norm behind its last layer; its layers cannot be run narrower.
    [*((name, "bert") for name in SYSTEMS), ("distilled", "modernbert"), ("deformer", "modernbert")],
)
def test_a_system_that_learns_from_states_reads_logits_off_them(
    name: str,
    reader: tuple[PreTrainedModel, Task],
    make_texts: Callable[..., list[EncodedText]],
    make_lesson: Callable[..., Lesson],
) -> None:
    lesson = make_lesson(*reader, make_texts(9, 23, 14))
    given: list[Tensor | None] = []

    def teach(states: Tensor | None) -> Tensor:
        given.append(states)
        return lesson.teach(states)

    watched = replace(lesson, teach=teach)
    system = SYSTEMS[name](copy.deepcopy(reader[0]), reader[1])
    losses = [float(part.detach()) for part in system.losses(0, watched)]
    assert all(states is not None for states in given)
    assert torch.isfinite(torch.tensor(losses)).all()
    torch.testing.assert_close(watched.teacher_logits, lesson.teach(None))
