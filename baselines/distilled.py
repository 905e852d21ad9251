"""DistilBERT's way: a student of some of the teacher's layers, taught by its logits (Sanh et al. 2019, section 3).

The published DistilBERT is distilled on a general corpus first, then fine-tuned. Here a fine-tuned encoder loses layers
and is distilled on the texts of the task.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from torch import Tensor, nn
from transformers import PreTrainedModel

from baselines.aiming import nearest
from baselines.base import ComparedSystem, Pass, Reference
from baselines.lesson import Lesson, state_distance
from baselines.options import SystemOptions
from trbert_env.encoder.families import family_of
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch, full_layout
from trbert_env.ranges import Items, Range
from trbert_env.reduction.cost import CostModel, flops_speedup
from trbert_env.staged_model import staged_encoder
from trbert_env.tasks.base import Task


@dataclass(frozen=True)
class DistilledOptions(SystemOptions):
    """Options of a student of fewer layers.

    Attributes:
        layers: Layers of the teacher that the student keeps, counted from 1; None for half of them, spread as
            DistilBERT's.
        states_weight: Weight of the mean squared distance between the student's states and those of the teacher's
            layers that it keeps.
    """

    layers: Annotated[tuple[Annotated[int, Range(1)], ...], Items(1, order="rising")] | None = None
    states_weight: Annotated[float, Range(0)] = 0.0

    def learns_from_teacher(self, distillation: float) -> bool:
        """Return whether soft targets or states are learned; see :meth:`SystemOptions.learns_from_teacher`."""
        return super().learns_from_teacher(distillation) or self.states_weight > 0.0


def spread_layers(num_layers: int, kept: int) -> tuple[int, ...]:
    """Return layers at equal distances, the first and the last among them, counted from 1.

    Six of twelve are those of DistilBERT (0, 2, 4, 7, 9 and 11, counted from 0).

    Args:
        num_layers: Layers of the teacher.
        kept: Layers of the student.

    Example:
        >>> spread_layers(12, 6), spread_layers(12, 3), spread_layers(6, 3), spread_layers(6, 1)
        ((1, 3, 5, 8, 10, 12), (1, 6, 12), (1, 3, 6), (1,))
    """
    if kept == 1:
        return (1,)
    places = [place * (num_layers - 1) / (kept - 1) for place in range(kept)]
    return tuple(1 + math.ceil(place - 0.5) for place in places)


class Distilled(ComparedSystem[DistilledOptions]):
    """A student of some of its teacher's layers; see the module's page and :class:`ComparedSystem`."""

    title = "distilled"
    options_class = DistilledOptions

    def __init__(
        self, model: PreTrainedModel, task: Task, options: DistilledOptions, reference: Reference | None = None
    ) -> None:
        num_layers = StagedEncoder(model).num_layers
        whole = Reference.of(model, "the unreduced encoder") if reference is None else reference
        layers = options.layers or spread_layers(whole.num_layers, max(1, whole.num_layers // 2))
        if layers[-1] > whole.num_layers:
            raise ValueError(f"layers {layers}: the encoder has {whole.num_layers} layers, counted from 1")
        if num_layers == whole.num_layers:
            model = keep_layers(model, layers)
        super().__init__(model, task, replace(options, layers=layers), whole)
        self.layers = layers

    @property
    def learns_states(self) -> bool:
        """True where the distance of states has a weight."""
        return self.options.states_weight > 0

    def forward(self, batch: TextBatch, states: bool = False) -> Pass:
        """Run the student's layers; see :meth:`ComparedSystem.forward`."""
        return self.whole_pass(self.encoder, batch, states)

    def flops(self, layouts: Sequence[Layout]) -> Tensor:
        """Return the FLOPs of the student's layers; see :meth:`ComparedSystem.flops`."""
        return self.cost.keep_all(layouts[0])

    def losses(self, phase: int, lesson: Lesson) -> Iterator[Tensor]:
        """Yield the mix of gold answers and soft targets, and the distance of states where it is wanted."""
        weight = self.options.states_weight
        shown = lesson.teacher_states if weight else ()  # before the logits: see there
        output = self(lesson.batch, states=weight > 0)
        loss = lesson.loss(output.logits)
        if weight:
            taught = [shown[layer] for layer in self.layers]
            loss = loss + weight * state_distance(output.states[1:], taught)
        yield loss

    @classmethod
    def aimed(
        cls, options: DistilledOptions, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
    ) -> DistilledOptions:
        """Return the number of layers that comes nearest; see :meth:`ComparedSystem.aimed`."""
        if options.layers is not None:
            raise ValueError("layers settle the speed-up: leave --target-speedup out")
        cost, full = CostModel.of(staged_encoder(model, task)), full_layout(texts)
        number = cost.num_layers

        def speed(kept: int) -> float:
            return flops_speedup(cost.full(full), replace(cost, stage_depths=(kept,)).keep_all(full))

        speeds = {f"{kept} of {number} layers": speed(kept) for kept in range(1, number)}
        kept = int(nearest(speedup, speeds, cls.title).partition(" ")[0])
        return replace(options, layers=spread_layers(number, kept))


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """Return a copy of a task model that has only some of its layers.

    Args:
        model: The task model.
        layers: Layers that stay, counted from 1.
    """
    student = copy.deepcopy(model)
    family = family_of(student.config)
    family.keep_layers(student.config, layers)
    stack = family.stack(student.base_model)
    kept = nn.ModuleList([stack[layer - 1] for layer in layers])
    parent, _, name = family.layers.rpartition(".")
    setattr(student.base_model.get_submodule(parent), name, kept)
    return student
