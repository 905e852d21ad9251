"""What every compared system is: a task model that runs in its own way, what that costs, and what it learns by.

All of them start from the same fine-tuned encoder, learn from the same texts and the same teacher, and are measured by
:class:`~trbert_env.system.System`. They run on the same layers: where the head reads first tokens, the last layer that
runs computes no others (:mod:`trbert_env.encoder.first_tokens`), which none of the originals does, and which changes no
answer. A system is saved as a stock task model with a few settings beside it, so that the weights load anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Generic, Self, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from baselines.layers import run_with_states
from baselines.lesson import Lesson
from baselines.options import OptionsT, SystemOptions, options_from
from trbert_env.encoder.families import LayerSize
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.cost import CostModel
from trbert_env.staged_model import staged_encoder
from trbert_env.system import SystemOutput
from trbert_env.tasks.base import Task


@dataclass(frozen=True)
class Reference:
    """The unreduced encoder that a system is compared with.

    Attributes:
        name: Name in records.
        hidden_size: d.
        intermediate_size: f.
        num_layers: L.
        matrices: Matrices of a feed-forward network.
        position_rows: Embeddings of relative positions that scores are made with.
    """

    name: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    matrices: int = 2
    position_rows: int = 0

    @classmethod
    def of(cls, model: PreTrainedModel, name: str) -> Reference:
        """Return the reference that a task model is.

        Args:
            model: The task model.
            name: Its name in records.
        """
        encoder = StagedEncoder(model)
        size = encoder.layer_size
        sizes = size.hidden_size, size.intermediate_size, encoder.num_layers, size.matrices, size.position_rows
        return cls(name, *sizes)

    @property
    def cost(self) -> CostModel:
        """Cost of all of its layers."""
        size = LayerSize(self.hidden_size, self.intermediate_size, self.matrices, self.position_rows)
        return CostModel(size, (self.num_layers,))


@dataclass(frozen=True)
class Phase:
    """A part of a system's training, with a learning rate that rises and falls by itself.

    Attributes:
        name: Name in progress bars.
        share: Share of the run's texts.
    """

    name: str
    share: float


@dataclass(frozen=True)
class Pass:
    """What a forward pass gives.

    Attributes:
        logits: Float32 logits as the task gives them.
        layouts: Tokens in play, as the system's :meth:`ComparedSystem.flops` reads them; the first is the full texts.
        states: ``(total_tokens, hidden)`` states behind the embeddings and behind each layer, where they were asked
            for; tokens keep their order.
    """

    logits: Tensor
    layouts: Sequence[Layout]
    states: Sequence[Tensor] = field(default=())


class ComparedSystem(nn.Module, ABC, Generic[OptionsT]):
    """A compared system, in training and in use.

    Args:
        model: A task model, fine-tuned; used as it is and trained in place.
        task: Its task.
        options: Options of the system.
        reference: The unreduced encoder that FLOPs are compared with; the model as given where it is None.

    Raises:
        ValueError: The options do not fit the encoder or the task.
    """

    #: Name on the command line.
    title: ClassVar[str]
    #: Class of its options.
    options_class: ClassVar[type[SystemOptions]] = SystemOptions
    pads: ClassVar[bool] = False
    #: Names of its modules beside the task model that it needs in use.
    own_modules: ClassVar[tuple[str, ...]] = ()
    #: Reason that it does not read some options of training; see :meth:`unread`.
    unread_because: ClassVar[str] = ""

    def __init__(
        self, model: PreTrainedModel, task: Task, options: OptionsT, reference: Reference | None = None
    ) -> None:
        super().__init__()
        self.compared_with = Reference.of(model, "the unreduced encoder") if reference is None else reference
        self.model, self.task, self.options = model, task, options
        self.encoder = staged_encoder(model, task)

    @classmethod
    def unread(cls, options: OptionsT) -> tuple[str, ...]:
        """Return the names of options of training that it does not read.

        Args:
            options: Options of the system.
        """
        return ()

    @property
    def name(self) -> str:
        """Name in tables and progress bars."""
        return self.title

    @property
    def reference(self) -> str:
        """Name of the encoder that FLOPs are compared with."""
        return self.compared_with.name

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    @property
    def cost(self) -> CostModel:
        """Cost of its own encoder; its last layer computes what the head reads."""
        return CostModel.of(self.encoder)

    # -- in use ------------------------------------------------------------------------------------------------

    @abstractmethod
    def forward(self, batch: TextBatch, states: bool = False) -> Pass:
        """Run a batch, with gradients where they are on.

        Args:
            batch: Texts on :attr:`device`.
            states: True to return the states behind each layer too.
        """

    def __call__(self, batch: TextBatch, states: bool = False) -> Pass:
        """Run :meth:`forward` with the hooks of :class:`torch.nn.Module`."""
        return cast(Pass, super().__call__(batch, states))

    def whole_pass(self, encoder: StagedEncoder, batch: TextBatch, states: bool) -> Pass:
        """Run all layers of an encoder on all tokens; for systems that drop none.

        Args:
            encoder: The encoder, or one of some of its layers.
            batch: As for :meth:`forward`.
            states: As there.
        """
        if states:
            found = run_with_states(encoder, batch)
            return Pass(self.read(found[-1], batch.layout), [batch.layout], found)
        # All layers as one stage, which is faster on a CPU.
        tokens = encoder.run_layers(encoder.embed(batch), 0, encoder.num_layers)
        return Pass(self.read(tokens.states, batch.layout), [batch.layout])

    def read(self, states: Tensor, layout: Layout) -> Tensor:
        """Return the logits that the task head reads from states behind any layer, float32, as the task gives them.

        Args:
            states: ``(total_tokens, hidden)``.
            layout: The layout of the full texts.
        """
        return self.task.logits(self.model, self.encoder.finish(states), layout)

    @abstractmethod
    def flops(self, layouts: Sequence[Layout]) -> Tensor:
        """Return the FLOPs of a pass, ``(num_texts,)`` float64.

        Args:
            layouts: Those of :class:`Pass`; the layout of full texts alone must do where the cost follows from it.
        """

    def run(self, batch: TextBatch) -> SystemOutput:
        """Run a packed batch; see :class:`~trbert_env.system.System`."""
        output = self(batch)
        return SystemOutput(output.logits, output.layouts, self.flops, self.compared_with.cost.full)

    # -- in training -------------------------------------------------------------------------------------------

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Parts of its training in their order; shares add up to 1."""
        return (Phase("training", 1.0),)

    @property
    def weights(self) -> list[nn.Parameter]:
        """Weights of the task model and of :attr:`own_modules`, whose gradient is clipped as one."""
        own = [parameter for name in self.own_modules for parameter in self.get_submodule(name).parameters()]
        return [*self.model.parameters(), *own]

    def extra_parameters(self, updates: int) -> Sequence[tuple[nn.Parameter, float]]:
        """Return parameters beside the model's that the phase to come trains, with their peak learning rates.

        Args:
            updates: Updates of that phase.
        """
        return ()

    def check_teacher(self, teacher: PreTrainedModel) -> None:
        """Check, before any training, that the system can learn from a teacher.

        Args:
            teacher: The unreduced task model.

        Raises:
            ValueError: The system learns from the teacher's states, and these are of another shape than its own.
        """
        if not self.learns_states:
            return
        shapes = [
            (one.hidden_size, one.num_layers) for one in (Reference.of(teacher, "the teacher"), self.compared_with)
        ]
        if shapes[0] != shapes[1]:
            (theirs, depth), (own, layers) = shapes
            raise ValueError(
                f"the teacher has {depth} layers of {theirs}, and {self.title} learns from states of {layers} layers "
                f"of {own}: give a teacher of that shape"
            )

    @property
    def learns_states(self) -> bool:
        """Whether its losses compare states with those of the teacher, layer by layer."""
        return False

    def begin(self, phase: int, lessons: Iterator[Lesson]) -> None:
        """Prepare a phase: what is measured on training texts before it, such as the importance of heads.

        Args:
            phase: Index into :attr:`phases`; the number of phases once training is over, where settings are chosen.
            lessons: Training texts, drawn as they are asked for; once training is over held-out ones, where there are
                any.
        """

    @property
    def search_size(self) -> int:
        """Configurations that :meth:`search` tries once training is over; 0 where there is no search."""
        return 0

    def search(self, lessons: Iterator[Lesson], advance: Callable[[], object]) -> None:
        """Choose settings by many passes, which run in the number format of training, once training is over.

        Args:
            lessons: As for :meth:`begin`.
            advance: Function to call after each of :attr:`search_size`.
        """

    def losses(self, phase: int, lesson: Lesson) -> Iterator[Tensor]:
        """Yield the parts that add up to the loss of a step; each is back-propagated before the next is asked for.

        Args:
            phase: Index into :attr:`phases`.
            lesson: Texts of the step, with what they teach.
        """
        yield lesson.loss(self(lesson.batch).logits)

    @property
    def cost_note(self) -> str | None:
        """What must be said beside its FLOPs and its clock, where they are not of the same pass; None for nothing."""
        return None

    def settle(self) -> None:
        """Take the form in which the system is used, in place: it is a copy to measure, or was loaded.

        What it computes stays the same, and it is not trained on.
        """

    def constrain(self) -> None:
        """Put parameters back into their range, after each step."""

    @classmethod
    def aimed(
        cls, options: OptionsT, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
    ) -> OptionsT:
        """Return options by which the trained system has about a FLOPs speed-up.

        Args:
            options: Options as they were given.
            speedup: FLOPs speed-up over the model.
            model: The unreduced task model.
            task: Its task.
            texts: Training texts to count on.

        Raises:
            ValueError: The system cannot reach it, or the options settle another.
        """
        raise ValueError(f"{cls.title} cannot aim at a speed-up: leave --target-speedup out")

    # -- on the disk -------------------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """What makes it run as it does beside the weights, as JSON values: its options and what training found."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.options).items()
        }

    @property
    def own_weights(self) -> dict[str, Tensor]:
        """Weights of :attr:`own_modules` by name, which are saved in a file of their own."""
        return {
            name: values for name, values in self.state_dict().items() if name.partition(".")[0] in self.own_modules
        }

    @classmethod
    def restore(
        cls,
        model: PreTrainedModel,
        task: Task,
        settings: Mapping[str, Any],
        reference: Reference,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Self:
        """Make a trained system again.

        Args:
            model: The saved task model.
            task: Its task.
            settings: As :attr:`settings` gave them.
            reference: The unreduced encoder.
            weights: As :attr:`own_weights` gave them; None for a system that has none.

        Raises:
            ValueError: The weights are not those of such a system.
        """
        system = cls(model, task, cast(OptionsT, options_from(cls.options_class, settings)), reference)
        found, wanted = dict(weights or {}), system.own_weights
        shapes = [{name: tuple(values.shape) for name, values in one.items()} for one in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"weights of {cls.title} have the shapes {shapes[0]}: give {shapes[1]}")
        system.load_state_dict(found, strict=False)
        return system

    def load_settings(self, settings: Mapping[str, Any]) -> None:
        """Take over what training found so far, where a run is resumed.

        Args:
            settings: As :attr:`settings` gave them.
        """
        self.options = cast(OptionsT, options_from(self.options_class, settings))


def speedup_of(system: ComparedSystem[Any], full: Layout) -> float:
    """Return the FLOPs speed-up of a system whose cost follows from the lengths of texts, without running it.

    Args:
        system: The system.
        full: The layout of full texts to count on.
    """
    return float(system.compared_with.cost.full(full).sum() / system.flops([full]).sum())
