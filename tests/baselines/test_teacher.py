"""Teachers that a system can learn from: of any shape where it reads logits alone, of its own where it reads states."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForQuestionAnswering, PreTrainedModel

from baselines.deformer import Deformer, DeformerOptions
from baselines.distilled import Distilled, DistilledOptions
from baselines.dynabert import DynaBert, DynaBertOptions
from baselines.length_adaptive import LengthAdaptive, LengthAdaptiveOptions
from trbert_env.tasks import Task

Kind = tuple[PreTrainedModel, Task]
MAKERS: dict[str, tuple[Callable[[PreTrainedModel, Task], Any], bool]] = {
    "dynabert": (lambda model, task: DynaBert(model, task, DynaBertOptions()), True),
    "deformer": (lambda model, task: Deformer(model, task, DeformerOptions()), True),
    "deformer without states": (lambda model, task: Deformer(model, task, DeformerOptions(beta=0.0)), False),
    "distilled": (lambda model, task: Distilled(model, task, DistilledOptions()), False),
    "distilled by states": (lambda model, task: Distilled(model, task, DistilledOptions(states_weight=1.0)), True),
    "length-adaptive": (lambda model, task: LengthAdaptive(model, task, LengthAdaptiveOptions()), False),
}


@pytest.mark.parametrize("family", ["bert"])
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("changes", [{"hidden_size": 96}, {"num_hidden_layers": 6}])
def test_a_teacher_of_another_shape(name: str, changes: dict[str, int], reader: Kind) -> None:
    make, reads_states = MAKERS[name]
    model, task = reader
    values = model.config.to_dict() | changes
    teacher = AutoModelForQuestionAnswering.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
    system = make(copy.deepcopy(model), task)
    system.check_teacher(model)
    if not reads_states:
        system.check_teacher(teacher)
        return
    with pytest.raises(
        ValueError, match=r"^the teacher has \d layers of \d+, and .* learns from states of 4 layers of 48"
    ):
        system.check_teacher(teacher)
