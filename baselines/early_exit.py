"""Early exit: a text leaves behind the first layer whose off-ramp is sure of its class (FastBERT, Liu et al. 2020).

An off-ramp is a linear head behind a layer, which reads first tokens. The encoder stays as it is, unless a share of the
texts is for it, and then the off-ramps learn from its last head (self-distillation), without labels. In use, a text
leaves where the entropy of an off-ramp's distribution, divided by that of a uniform one, is below a threshold. Whole
texts leave the packed batch, so that the rest of it runs on as if they had never been there; the released code runs one
text at a time.

What differs from the released code (autoliuweijie/FastBERT): its off-ramps have a small layer of self-attention before
the linear one. Here they are DeeBERT's (Xin et al. 2020) without its pooler, whose cost is hardly anything.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from baselines.aiming import nearest_factor
from baselines.base import ComparedSystem, Pass, Phase, Reference
from baselines.layers import run_with_states
from baselines.lesson import Lesson
from baselines.options import SystemOptions
from trbert_env.encoder.packing import Layout, PackedTokens
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.ranges import Range
from trbert_env.reduction.cost import CostModel
from trbert_env.tasks.base import Task
from trbert_env.tasks.by_text import max_over_sequences
from trbert_env.tasks.classification import Classification

#: Batches of held-out texts, or of training texts where none are, that the threshold is found on.
THRESHOLD_LESSONS = 32
_OF_ENCODERS = ("encoder_rate", "distillation", "temperature", "teacher", "remember_teacher")


@dataclass(frozen=True)
class EarlyExitOptions(SystemOptions):
    """Options of early exit.

    Attributes:
        threshold: Normalised entropy below which a text leaves; the original's "speed". With 0 no text leaves, and no
            off-ramp runs.
        ramp_rate: Peak learning rate of the off-ramps.
        encoder_share: Share of the texts that the encoder is trained on before the off-ramps, as other systems are; the
            original has been fine-tuned, and has none.
        speedup: FLOPs speed-up that the threshold is set for once training is over; None for the threshold as given.
    """

    threshold: Annotated[float, Range(0, 1)] = 0.5
    ramp_rate: Annotated[float, Range(0)] = 1e-3
    encoder_share: Annotated[float, Range(0, below=1)] = 0.0
    speedup: Annotated[float, Range(above=1)] | None = None


class EarlyExit(ComparedSystem[EarlyExitOptions]):
    """Early exit; see the module's page and :class:`ComparedSystem`.

    Raises:
        ValueError: The task has no classes.
    """

    title = "early-exit"
    own_modules = ("ramps",)
    options_class = EarlyExitOptions
    unread_because = "trains off-ramps alone, on what its own last head says"

    def __init__(
        self, model: PreTrainedModel, task: Task, options: EarlyExitOptions, reference: Reference | None = None
    ) -> None:
        if not isinstance(task, Classification) or task.head != "classes":
            raise ValueError(
                f"{self.title} is sure of classes, and a {type(task).__name__} has none here: give another --system"
            )
        super().__init__(model, task, options, reference)
        self._classes = task.num_logits
        #: Heads behind all layers but the last.
        self.ramps = nn.ModuleList(
            nn.Linear(self.encoder.hidden_size, self._classes) for _ in range(self.encoder.num_layers - 1)
        ).to(model.device)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.ramps.parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * self.encoder.hidden_size**-0.5
            parameter.data = drawn.to(parameter)

    @classmethod
    def unread(cls, options: EarlyExitOptions) -> tuple[str, ...]:
        """Return what an encoder is trained by, where it is left as it is; see :meth:`ComparedSystem.unread`."""
        return () if options.encoder_share else _OF_ENCODERS

    # -- in use ------------------------------------------------------------------------------------------------

    def forward(self, batch: TextBatch, states: bool = False) -> Pass:
        """Run each text until an off-ramp is sure of it; see :meth:`ComparedSystem.forward`."""
        if self.options.threshold == 0.0:
            tokens = self.encoder.run_unreduced(batch)
            return Pass(self.task.logits(self.model, tokens.states, batch.layout), [batch.layout])
        tokens, texts = self.encoder.embed(batch), torch.arange(batch.layout.num_texts)
        left, logits, layouts = list[Tensor](), list[Tensor](), [batch.layout]
        for layer in range(self.encoder.num_layers):
            if len(texts) == 0:
                layouts.append(layouts[-1])
                continue
            tokens = self.encoder.run_layers(tokens, layer, layer + 1)
            found, leaves = self._read(tokens, layer)
            left.append(texts[leaves])
            logits.append(found[_of_texts(tokens.layout.sequences_per_text, leaves).to(found.device)])
            tokens, texts = _without(tokens, leaves), texts[~leaves]
            layouts.append(_in_play(batch.layout, texts))
        return Pass(_in_order(logits, left, batch.layout), layouts[:-1])

    def _read(self, tokens: PackedTokens, layer: int) -> tuple[Tensor, Tensor]:
        """Logits behind a layer, and which texts leave there, ``(num_texts,)`` bool on the CPU."""
        if layer == len(self.ramps):
            found = self.read(tokens.states, tokens.layout)
            return found, torch.ones(tokens.layout.num_texts, dtype=torch.bool)
        found = self.ramp_logits(layer, tokens.states, tokens.layout)
        return found, (normalised_entropy(found, tokens.layout) < self.options.threshold).cpu()

    def ramp_logits(self, layer: int, states: Tensor, layout: Layout) -> Tensor:
        """Return the logits of an off-ramp, ``(num_sequences, num_logits)`` float32.

        Args:
            layer: 0-based layer that it is behind.
            states: ``(total_tokens, hidden)`` states behind this layer.
            layout: The layout of these states.
        """
        first = states.index_select(0, layout.sequence_starts.to(states.device))
        ramp: Any = self.ramps[layer]
        found: Tensor = ramp(first.to(ramp.weight.dtype)).float()  # in bfloat16 the encoder alone is moved
        return found

    def flops(self, layouts: Sequence[Layout]) -> Tensor:
        """Return the FLOPs of the layers that each text ran, and of its off-ramps.

        Args:
            layouts: The full texts, then those in play behind each layer but the last; the full texts alone where no
                text leaves.
        """
        cost, number = self.cost, self.encoder.num_layers
        if len(layouts) == 1:
            return cost.keep_all(layouts[0])
        total = torch.zeros(layouts[0].num_texts, dtype=torch.float64)
        for layer, layout in enumerate(layouts):
            total += cost.between(layout, layer, layer + 1)
            if layer < number - 1:
                total += self._ramp_flops(layouts[0]) * (layout.token_counts > 0)
        return total

    def _ramp_flops(self, full: Layout) -> Tensor:
        """FLOPs of one off-ramp on each text."""
        return 2.0 * self.encoder.hidden_size * self._classes * full.sequences_per_text.double()

    # -- in training -------------------------------------------------------------------------------------------

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The encoder, where texts are for it, and the off-ramps."""
        share = self.options.encoder_share
        return (*([Phase("encoder", share)] if share else []), Phase("off-ramps", 1.0 - share))

    def extra_parameters(self, updates: int) -> Sequence[tuple[nn.Parameter, float]]:
        """Return the off-ramps; see :meth:`ComparedSystem.extra_parameters`."""
        return [(parameter, self.options.ramp_rate) for parameter in self.ramps.parameters()]

    def losses(self, phase: int, lesson: Lesson) -> Iterator[Tensor]:
        """Yield the task's loss of the encoder; or the divergence of off-ramps from the last head, for them alone."""
        if phase < len(self.phases) - 1:
            tokens = self.encoder.run_unreduced(lesson.batch)
            yield lesson.loss(self.task.logits(self.model, tokens.states, lesson.batch.layout))
            return
        self.model.eval()
        states, taught = self._shown(lesson.batch)
        layout = lesson.batch.layout
        yield torch.stack(
            [
                lesson.soft_loss(self.ramp_logits(layer, states[layer + 1], layout), taught, temperature=1.0)
                for layer in range(len(self.ramps))
            ]
        ).sum()

    @torch.no_grad()
    def _shown(self, batch: TextBatch) -> tuple[Sequence[Tensor], Tensor]:
        """States behind the embeddings and each layer, and the logits of the last head."""
        states = run_with_states(self.encoder, batch)
        return states, self.read(states[-1], batch.layout)

    def begin(self, phase: int, lessons: Iterator[Lesson]) -> None:
        """Set the threshold for the speed-up, once training is over and where one is wanted."""
        if phase == len(self.phases) and self.options.speedup is not None:
            batches = [lesson.batch for lesson in itertools.islice(lessons, THRESHOLD_LESSONS)]
            self.options = replace(self.options, threshold=self._threshold_for(self.options.speedup, batches))

    @classmethod
    def aimed(
        cls, options: EarlyExitOptions, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
    ) -> EarlyExitOptions:
        """Return options by which the threshold is set for the speed-up; see :meth:`ComparedSystem.aimed`."""
        if options.threshold != EarlyExitOptions.threshold:
            raise ValueError("threshold settles the speed-up: leave --target-speedup out")
        number = StagedEncoder(model).num_layers
        if speedup >= number:
            raise ValueError(
                f"{cls.title} runs one of {number} layers at least: give a --target-speedup below {number}"
            )
        return replace(options, speedup=speedup)

    def _threshold_for(self, speedup: float, batches: Sequence[TextBatch]) -> float:
        """The threshold that gives the speed-up on these texts; each text runs through all layers once."""
        entropies = torch.cat([self._entropies(batch) for batch in batches])
        cost = self.cost
        behind = torch.cat([_flops_behind(cost, batch.layout) for batch in batches])
        ramp = torch.cat([self._ramp_flops(batch.layout) for batch in batches])
        full = sum(float(self.compared_with.cost.full(batch.layout).sum()) for batch in batches)

        def speed(unsure: float) -> float:
            ran = layers_run(entropies, 1.0 - unsure)
            ramps = ran.clamp(max=len(self.ramps))
            return full / float((behind.gather(1, ran[:, None] - 1)[:, 0] + ramps * ramp).sum())

        return 1.0 - nearest_factor(speedup, speed, (0.0, 1.0), self.title)

    @torch.no_grad()
    def _entropies(self, batch: TextBatch) -> Tensor:
        """Normalised entropies of all off-ramps, ``(num_texts, num_layers - 1)`` on the CPU."""
        states, _ = self._shown(batch)
        found = [self.ramp_logits(layer, states[layer + 1], batch.layout) for layer in range(len(self.ramps))]
        return torch.stack([normalised_entropy(logits, batch.layout).cpu() for logits in found], 1)


def normalised_entropy(logits: Tensor, layout: Layout) -> Tensor:
    """Return the entropy of each text's classes over that of a uniform distribution, ``(num_texts,)``.

    Args:
        logits: ``(num_sequences, num_logits)``; a text has the greatest of each over its sequences.
        layout: The layout of the texts.

    Example:
        >>> layout = Layout.from_lengths([3, 2], [1, 1])
        >>> normalised_entropy(torch.tensor([[0.0, 0.0], [20.0, 0.0]]), layout).round(decimals=3).tolist()
        [1.0, 0.0]
    """
    found = max_over_sequences(logits, layout).log_softmax(-1)
    return -(found.exp() * found).sum(-1) / math.log(found.shape[-1])


def _flops_behind(cost: CostModel, layout: Layout) -> Tensor:
    """``(num_texts, num_layers)`` float64: FLOPs of a text up to each layer, off-ramps left out."""
    return torch.stack([cost.between(layout, 0, layer) for layer in range(1, cost.num_layers + 1)], 1)


def layers_run(entropies: Tensor, threshold: float) -> Tensor:
    """Return the layers that each text runs, ``(num_texts,)`` int64.

    Args:
        entropies: ``(num_texts, num_layers - 1)``, those of its off-ramps.
        threshold: Entropy below which a text leaves.

    Example:
        >>> layers_run(torch.tensor([[0.9, 0.4], [0.2, 0.4], [0.9, 0.8]]), 0.5).tolist()
        [2, 1, 3]
    """
    sure = torch.cat([entropies < threshold, torch.ones(len(entropies), 1, dtype=torch.bool)], 1)
    return 1 + sure.long().argmax(1)


def _of_texts(counts: Tensor, texts: Tensor) -> Tensor:
    """Which rows are of some texts, where text i has ``counts[i]`` of them."""
    return torch.repeat_interleave(texts, counts)


def _without(tokens: PackedTokens, texts: Tensor) -> PackedTokens:
    """Tokens without those of some texts, in a layout of the others alone."""
    layout, stay = tokens.layout, ~texts
    lengths = layout.sequence_lengths[_of_texts(layout.sequences_per_text, stay)]
    states = tokens.states[_of_texts(layout.token_counts, stay).to(tokens.states.device)]
    rest = Layout.from_lengths(lengths.tolist(), layout.sequences_per_text[stay].tolist(), layout.device)
    return PackedTokens(states, rest)


def _in_play(full: Layout, texts: Tensor) -> Layout:
    """The layout of all texts, of which only some have tokens left."""
    stay = torch.zeros(full.num_texts, dtype=torch.bool)
    stay[texts] = True
    lengths = full.sequence_lengths * _of_texts(full.sequences_per_text, stay)
    return Layout.from_lengths(lengths.tolist(), full.sequences_per_text.tolist())


def _in_order(logits: Sequence[Tensor], texts: Sequence[Tensor], full: Layout) -> Tensor:
    """Rows of logits in the order of the batch, from those of the texts that left behind each layer."""
    order = torch.repeat_interleave(torch.cat(list(texts)), full.sequences_per_text[torch.cat(list(texts))])
    return torch.cat(list(logits))[torch.argsort(order, stable=True).to(full.device)]
