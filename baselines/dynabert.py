"""DynaBERT: one encoder, twelve sub-networks of fewer heads, neurons and layers (Hou et al. 2020).

Heads and neurons are sorted by importance once, so that a narrower network is the first part of a wider one. Training
has two phases behind fine-tuning. In the first, networks of four widths learn from the fine-tuned teacher. In the
second, networks of these widths and of three depths learn from the full network that the first phase made. A third one
learns from gold answers; it is optional, as in the original.

In both phases gold answers have their share of the task's loss beside the teacher's soft targets, as with other
systems. The original learns from the teacher alone where its data are augmented, and in the first phase from gold
answers alone where they are not.

Importance is measured on training texts, with gradients of one batch at a time; the original measures it on the
evaluation data, and its gradients add up over batches.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from baselines.aiming import nearest
from baselines.base import ComparedSystem, Pass, Phase, Reference
from baselines.layers import run_with_states
from baselines.lesson import Lesson, state_distance
from baselines.options import SystemOptions
from baselines.slicing import kept_heads, kept_neurons, narrow_layers
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch, full_layout
from trbert_env.ranges import Range
from trbert_env.reduction.cost import CostModel, flops_speedup
from trbert_env.staged_model import staged_encoder
from trbert_env.system import SystemOutput
from trbert_env.tasks.base import Task

#: Shares of the heads and neurons, and of the layers, that sub-networks have.
WIDTHS, DEPTHS = (1.0, 0.75, 0.5, 0.25), (1.0, 0.75, 0.5)
#: Weight of the distance of states in the first phase and in the second; that of the task's loss is 1.
STATES_WEIGHTS = (0.1, 1.0)
#: Batches of training texts that importance is measured on, and of held-out texts that the final choice is made by.
MEASURED_LESSONS = 64


class Network(NamedTuple):
    """A sub-network.

    Attributes:
        width: Share of the heads and neurons.
        depth: Share of the layers.
    """

    width: float
    depth: float


#: All sub-networks, in the order in which they are trained.
NETWORKS = tuple(Network(width, depth) for depth in DEPTHS for width in WIDTHS)
FULL = NETWORKS[0]


@dataclass(frozen=True)
class DynaBertOptions(SystemOptions):
    """Options of DynaBERT; every sub-network is trained, whichever runs.

    Attributes:
        width: Share of heads and neurons of the network that runs: 0.25, 0.5, 0.75 or 1.
        depth: Share of its layers: 0.5, 0.75 or 1.
        width_share: Share of the texts of distillation that the phase of widths takes.
        gold_share: Share of all texts that a last phase takes, in which gold answers are learned.
        speedup: FLOPs speed-up for which the best network is chosen once training is over, among those that come
            equally near, as half the width and half the depth do where all last states are read; None for ``width``
            and ``depth`` as they are given.
    """

    width: Annotated[float, Range(above=0, most=1)] = 1.0
    depth: Annotated[float, Range(above=0, most=1)] = 1.0
    width_share: Annotated[float, Range(above=0, below=1)] = 0.5
    gold_share: Annotated[float, Range(0, below=1)] = 0.0
    speedup: Annotated[float, Range(least=1)] | None = None

    def learns_from_teacher(self, distillation: float) -> bool:
        """Return True, for states are learned in each phase; see :meth:`SystemOptions.learns_from_teacher`."""
        return True


def kept_layers(num_layers: int, depth: float) -> tuple[int, ...]:
    """Return the layers of a shallower network, counted from 0.

    Args:
        num_layers: Layers of the full network.
        depth: Share of them.

    Example:
        >>> kept_layers(12, 0.75), kept_layers(6, 0.5)
        ((0, 1, 2, 4, 5, 6, 8, 9, 10), (0, 2, 4))
    """
    return tuple(math.floor(place / depth) for place in range(max(1, round(depth * num_layers))))


def network_cost(cost: CostModel, heads: int, network: Network) -> CostModel:
    """Return the cost of a sub-network.

    Args:
        cost: Cost of the full network.
        heads: Heads of its layers.
        network: The sub-network.
    """
    size, kept = cost.size, kept_heads(heads, network.width)
    neurons = kept_neurons(size.intermediate_size, kept, heads)
    narrow = replace(size, attention_size=kept * (size.hidden_size // heads), intermediate_size=neurons)
    return replace(cost, size=narrow, stage_depths=(len(kept_layers(cost.num_layers, network.depth)),))


def network_speedups(cost: CostModel, heads: int, full: Layout) -> dict[Network, float]:
    """Return the FLOPs speed-up of each sub-network.

    Args:
        cost: Cost of the full network.
        heads: Heads of its layers.
        full: The layout of full texts to count on.
    """
    whole = cost.full(full)
    return {network: flops_speedup(whole, network_cost(cost, heads, network).keep_all(full)) for network in NETWORKS}


class DynaBert(ComparedSystem[DynaBertOptions]):
    """DynaBERT; see the module's page and :class:`ComparedSystem`.

    Raises:
        ValueError: There is no network of that width or depth.
    """

    title = "dynabert"
    options_class = DynaBertOptions

    def __init__(
        self, model: PreTrainedModel, task: Task, options: DynaBertOptions, reference: Reference | None = None
    ) -> None:
        super().__init__(model, task, options, reference)
        #: The full network behind the first phase, which teaches in the second; part of what checkpoints hold.
        self.first_teacher: PreTrainedModel | None = None
        nn.Module.register_load_state_dict_pre_hook(self, _expect_first_teacher)
        self._layers, self._settled = narrow_layers(model), False
        self._run_as(_checked(options))

    # -- in use ------------------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """Network that runs."""
        return self._network

    @contextmanager
    def with_network(self, width: float, depth: float) -> Iterator[None]:
        """Run another sub-network within a ``with`` block.

        Args:
            width: Share of heads and neurons, one of :data:`WIDTHS`.
            depth: Share of the layers, one of :data:`DEPTHS`.

        Raises:
            ValueError: There is no such network.
        """
        network, before = Network(width, depth), self._network
        _checked(network)
        self._run_as(network)
        try:
            yield
        finally:
            self._run_as(before)

    def _run_as(self, network: Network) -> None:
        self._network: Network
        if self._settled:
            raise ValueError(f"the weights of {self._network} are cut out: take another network of a fresh copy")
        self._network = network
        self._running = self.encoder.with_layers(kept_layers(self.encoder.num_layers, network.depth))
        for layer in self._layers:
            layer.narrow(kept_heads(layer.num_heads, network.width))

    def forward(self, batch: TextBatch, states: bool = False) -> Pass:
        """Run the network; its states are those behind the embeddings and behind each of its layers."""
        return self.whole_pass(self._running, batch, states)

    def settle(self) -> None:
        """Take stock linear layers of the network's width, with the products that all systems have here.

        No other network can be run then.
        """
        for layer in self._layers:
            layer.settle()
        self._settled = True

    def flops(self, layouts: Sequence[Layout]) -> Tensor:
        """Return ``m_w m_d L m(n)``, or less where the head reads first tokens; see :meth:`ComparedSystem.flops`."""
        return self._network_flops(self._network, layouts)

    def _network_flops(self, network: Network, layouts: Sequence[Layout]) -> Tensor:
        return network_cost(self.cost, self._heads, network).keep_all(layouts[0])

    @property
    def _heads(self) -> int:
        return int(self.model.config.num_attention_heads)

    def run(self, batch: TextBatch) -> SystemOutput:
        """Run a packed batch; its FLOPs are those of the network that ran, whichever runs once they are asked for."""
        output = self(batch)
        count = partial(self._network_flops, self._network)
        return SystemOutput(output.logits, output.layouts, count, self.compared_with.cost.full)

    # -- in training -------------------------------------------------------------------------------------------

    @property
    def learns_states(self) -> bool:
        """True: those of all widths and depths."""
        return True

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Widths, then widths and depths, then gold answers where they are asked for."""
        gold = self.options.gold_share
        width = self.options.width_share * (1.0 - gold)
        phases = (Phase("width", width), Phase("width and depth", 1.0 - gold - width))
        return (*phases, Phase("gold answers", gold)) if gold else phases

    def begin(self, phase: int, lessons: Iterator[Lesson]) -> None:
        """Sort heads and neurons, keep the second phase's teacher, or choose the network; see the module's page."""
        if phase == 0:
            self._rewire(itertools.islice(lessons, MEASURED_LESSONS))
        self.first_teacher = _frozen_copy(self.model) if phase == 1 else None
        if phase == len(self.phases) and self.options.speedup is not None:
            self._choose(self.options.speedup, lessons)

    def losses(self, phase: int, lesson: Lesson) -> Iterator[Tensor]:
        """Yield the loss of each sub-network, from the largest to the smallest."""
        if phase == 0:
            states = lesson.teacher_states  # before the logits: see there
            yield from self._distilled(lesson, NETWORKS[: len(WIDTHS)], lesson.teacher_logits, states, 0)
        elif phase == 1:
            yield from self._distilled(lesson, NETWORKS, *self._first_lesson(lesson.batch), 1)
        else:
            for network in NETWORKS:
                with self.with_network(*network):
                    yield lesson.gold_loss(self(lesson.batch).logits)

    def _distilled(
        self, lesson: Lesson, networks: Sequence[Network], logits: Tensor, states: Sequence[Tensor], phase: int
    ) -> Iterator[Tensor]:
        """The task's loss, and states: what enters a layer is compared with what enters that layer of the teacher."""
        for network in networks:
            layers = kept_layers(self.encoder.num_layers, network.depth)
            with self.with_network(*network):
                output = self(lesson.batch, states=True)
                distance = state_distance(output.states, [states[layer] for layer in (*layers, -1)])
                yield lesson.loss(output.logits, logits) + STATES_WEIGHTS[phase] * distance

    @torch.no_grad()
    def _first_lesson(self, batch: TextBatch) -> tuple[Tensor, Sequence[Tensor]]:
        """Logits and states of the network that the first phase made."""
        assert self.first_teacher is not None, "the phase has not begun"
        self.first_teacher.eval()
        states = run_with_states(StagedEncoder(self.first_teacher), batch)
        return self.task.logits(self.first_teacher, self.encoder.finish(states[-1]), batch.layout), states

    def _rewire(self, lessons: Iterator[Lesson]) -> None:
        """Sort heads and neurons of each layer by their importance on these texts."""
        training = self.training
        self.eval()
        totals: list[tuple[Tensor, ...]] = []
        with self.with_network(1.0, 1.0):
            for lesson in lessons:
                found = self._importances(lesson)
                totals = [tuple(map(torch.add, *pair)) for pair in zip(totals, found, strict=True)] if totals else found
        for layer, (heads, neurons) in zip(self._layers, totals, strict=True):
            layer.rewire(heads, neurons)
        self.train(training)

    def _importances(self, lesson: Lesson) -> list[tuple[Tensor, ...]]:
        """Importance of the heads and of the neurons of each layer, for one batch."""
        weights = [layer.measured for layer in self._layers]
        with torch.enable_grad():
            loss = lesson.gold_loss(self(lesson.batch).logits)
        gradients = iter(torch.autograd.grad(loss, [weight for own in weights for weight in own]))
        return [
            layer.importance([next(gradients) for _ in own]) for layer, own in zip(self._layers, weights, strict=True)
        ]

    @torch.no_grad()
    def _choose(self, speedup: float, lessons: Iterator[Lesson]) -> None:
        """Run the network of the least loss from now on, of those that come nearest to the speed-up."""
        training = self.training
        self.eval()
        measured = list(itertools.islice(lessons, MEASURED_LESSONS))
        full = Layout.joined([lesson.batch.layout for lesson in measured])
        totals = dict.fromkeys(nearest_networks(network_speedups(self.cost, self._heads, full), speedup), 0.0)
        for lesson in measured if len(totals) > 1 else ():
            for network in totals:
                with self.with_network(*network):
                    totals[network] += float(lesson.loss(self(lesson.batch).logits))
        best = min(totals, key=lambda network: totals[network])
        self.options = replace(self.options, width=best.width, depth=best.depth)
        self._run_as(best)
        self.train(training)

    @classmethod
    def aimed(
        cls, options: DynaBertOptions, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
    ) -> DynaBertOptions:
        """Return a network that comes nearest; which of equally near ones it is, is settled behind training."""
        if (options.width, options.depth) != (1.0, 1.0):
            raise ValueError("width and depth settle the speed-up: leave --target-speedup out")
        cost, heads = CostModel.of(staged_encoder(model, task)), int(model.config.num_attention_heads)
        speedups = network_speedups(cost, heads, full_layout(texts))
        names = {_named(network): speed for network, speed in speedups.items() if network != FULL}
        nearest(speedup, names, cls.title)  # or say that there is none
        network = nearest_networks(speedups, speedup)[0]
        return replace(options, width=network.width, depth=network.depth, speedup=speedup)

    def load_settings(self, settings: Mapping[str, Any]) -> None:
        """Take over what training found so far, and run that network; see :class:`ComparedSystem`."""
        super().load_settings(settings)
        self._run_as(_checked(self.options))


def nearest_networks(speedups: Mapping[Network, float], speedup: float) -> list[Network]:
    """Return the networks whose FLOPs speed-up is nearest to one that is wanted, the full one left out.

    Args:
        speedups: FLOPs speed-up of each network.
        speedup: The one that is wanted.
    """
    smaller = {network: speed for network, speed in speedups.items() if network != FULL}
    found = min(smaller.values(), key=lambda speed: abs(speed / speedup - 1.0))
    return [network for network, speed in smaller.items() if math.isclose(speed, found)]


def _named(network: Network) -> str:
    return f"width {network.width:g}, depth {network.depth:g}"


def _checked(of: DynaBertOptions | Network) -> Network:
    """Network of a width and a depth, if there is one."""
    for name, value, known in (("width", of.width, WIDTHS), ("depth", of.depth, DEPTHS)):
        if value not in known:
            raise ValueError(f"{name} is {value:g}: give one of {', '.join(f'{one:g}' for one in sorted(known))}")
    return Network(of.width, of.depth)


def _frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Full-size copy of a task model, which is not trained."""
    frozen = copy.deepcopy(model)
    frozen.requires_grad_(False).eval()
    narrow_layers(frozen)
    return frozen


def _expect_first_teacher(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    """Make room for the second phase's teacher where a checkpoint holds one, and drop it where it holds none."""
    assert isinstance(module, DynaBert)
    held = any(name.startswith(f"{prefix}first_teacher.") for name in state)
    module.first_teacher = _frozen_copy(module.model) if held else None
