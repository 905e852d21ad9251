"""DeFormer: lower layers run on question and passage separately, upper layers on both (Cao et al. 2020).

The lower states of a passage then do not depend on the question, and can be computed once and kept
(:class:`~baselines.passage_cache.PassageCache`). Without such a cache nothing to speak of is gained: lower layers cost
as much on two segments as on both together, but for the attention between them.

Positions start at 0 in the second segment too; token types stay those of the text. The first segment ends with the
first separator, so that it holds the sequence's first token, and the task says which of the two is the query. Training
starts from the fine-tuned encoder like that of every compared system, where the original starts from a pre-trained one.
Of classifiers, the original compares the pooled vector with the teacher's as well; here the states are compared alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.aiming import nearest
from baselines.base import ComparedSystem, Pass, Reference
from baselines.lesson import Lesson, state_distance
from baselines.options import SystemOptions
from baselines.passage_cache import PassageCache
from trbert_env.encoder.packing import Layout, PackedTokens
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.ranges import Range
from trbert_env.reduction.cost import CostModel
from trbert_env.staged_model import staged_encoder
from trbert_env.tasks.base import Task

#: Divisor of both logits in the distillation loss.
TEMPERATURE = 2.0


@dataclass(frozen=True)
class DeformerOptions(SystemOptions):
    """Options of DeFormer.

    Attributes:
        layers: Lower layers, which run on the segments separately; None for three quarters of the depth, as published.
        cached: True to count the FLOPs of a pass in which the lower states of all passages are cached, as published;
            False to count those of a pass in which none is.
        alpha: Weight of the divergence from the teacher.
        beta: Weight of the mean squared distance of the upper layers' states from the teacher's.
        gamma: Weight of the gold answers.
    """

    layers: Annotated[int, Range(0)] | None = None
    cached: bool = False
    alpha: Annotated[float, Range(0)] = 1.0
    beta: Annotated[float, Range(0)] = 1.0
    gamma: Annotated[float, Range(0)] = 1.0

    def learns_from_teacher(self, distillation: float) -> bool:
        """Return whether answers or states are learned; see :meth:`SystemOptions.learns_from_teacher`."""
        return self.alpha > 0.0 or self.beta > 0.0


class Deformer(ComparedSystem[DeformerOptions]):
    """DeFormer; see the module's page and :class:`ComparedSystem`.

    Raises:
        ValueError: No upper layer is left.
    """

    title = "deformer"
    options_class = DeformerOptions
    unread_because = "weighs its losses by options of its own"

    def __init__(
        self, model: PreTrainedModel, task: Task, options: DeformerOptions, reference: Reference | None = None
    ) -> None:
        number = StagedEncoder(model).num_layers
        layers = number * 3 // 4 if options.layers is None else options.layers
        if layers >= number:
            raise ValueError(f"layers is {layers}: the encoder has {number} layers, give 0 to {number - 1} lower ones")
        super().__init__(model, task, replace(options, layers=layers), reference)
        self.layers = layers
        #: Lower states of passages, used in passes without gradients; None to compute all of them anew.
        self.cache: PassageCache | None = None

    @classmethod
    def unread(cls, options: DeformerOptions) -> tuple[str, ...]:
        """Return the share of soft targets and their temperature; see :meth:`ComparedSystem.unread`."""
        return "distillation", "temperature"

    # -- in use ------------------------------------------------------------------------------------------------

    def forward(self, batch: TextBatch, states: bool = False) -> Pass:
        """Run the lower layers on segments and the upper ones on sequences; see :meth:`ComparedSystem.forward`.

        Raises:
            ValueError: A sequence has one segment only.
        """
        lower = separate_segments(batch) if self.layers else batch
        layouts = [batch.layout, lower.layout] if self.layers else [batch.layout]
        found = self._all_states(lower, batch.layout) if states else [self._last_states(lower, batch.layout)]
        logits = self.read(found[-1], batch.layout)
        return Pass(logits, layouts, found if states else ())

    def _all_states(self, lower: TextBatch, joined: Layout) -> list[Tensor]:
        found = [self.encoder.embed(lower).states]
        for index in range(self.encoder.num_layers):
            tokens = PackedTokens(found[-1], lower.layout if index < self.layers else joined)
            found.append(self.encoder.run_layers(tokens, index, index + 1, all_states=True).states)
        return found

    def _last_states(self, lower: TextBatch, joined: Layout) -> Tensor:
        if self.cache is None or torch.is_grad_enabled() or not self.layers:
            states = self._lower_states(lower)
        else:
            number = len(joined.sequence_lengths)
            is_passage = [segment != self.task.query_segment for segment in (0, 1)] * number
            states = self.cache.complete(lower, is_passage, self._lower_states)
        return self.encoder.run_layers(PackedTokens(states, joined), self.layers, self.encoder.num_layers).states

    def _lower_states(self, segments: TextBatch) -> Tensor:
        return self.encoder.run_layers(self.encoder.embed(segments), 0, self.layers).states

    @property
    def cost_note(self) -> str | None:
        """Say that the clock does not have the cache that is counted on."""
        if not self.options.cached:
            return None
        return "deformer: FLOPs are of passes with all passages cached, as published; the clock is read without a cache"

    def flops(self, layouts: Sequence[Layout]) -> Tensor:
        """Return ``k m(q) + (L - k) m(q + p)``, and ``k m(p)`` where passages are not taken for cached.

        Args:
            layouts: Full texts, then their segments.
        """
        return deformer_flops(self.cost, self.layers, layouts, self.task.query_segment, self.options.cached)

    # -- in training -------------------------------------------------------------------------------------------

    @property
    def learns_states(self) -> bool:
        """True where the distance of upper states has a weight."""
        return self.options.beta > 0

    def losses(self, phase: int, lesson: Lesson) -> Iterator[Tensor]:
        """Yield gold answers, soft targets and the distance of upper states, by their weights."""
        options = self.options
        shown = lesson.teacher_states if options.beta else ()  # before the logits: see there
        output = self(lesson.batch, states=options.beta > 0)
        loss = options.gamma * lesson.gold_loss(output.logits)
        if options.alpha:
            loss = loss + options.alpha * lesson.soft_loss(output.logits, temperature=TEMPERATURE)
        if options.beta:
            upper = slice(self.layers + 1, None)
            distance = state_distance(output.states[upper], shown[upper])
            loss = loss + options.beta * distance / (self.encoder.num_layers - self.layers)
        yield loss

    @classmethod
    def aimed(
        cls, options: DeformerOptions, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
    ) -> DeformerOptions:
        """Return the number of lower layers that comes nearest; see :meth:`ComparedSystem.aimed`."""
        if options.layers is not None:
            raise ValueError("layers settle the speed-up: leave --target-speedup out")
        batch, cost = TextBatch.from_texts(texts), CostModel.of(staged_encoder(model, task))
        layouts = [batch.layout, separate_segments(batch).layout]
        full = cost.full(batch.layout).sum()

        def speed(layers: int) -> float:
            return float(full / deformer_flops(cost, layers, layouts, task.query_segment, options.cached).sum())

        speeds = {f"{layers} lower layers": speed(layers) for layers in range(1, cost.num_layers)}
        try:
            found = nearest(speedup, speeds, cls.title)
        except ValueError as error:
            hint = "" if options.cached else "; the published ones are with passages cached: set the option cached"
            raise ValueError(f"{error}{hint}") from None
        return replace(options, layers=int(found.partition(" ")[0]))


def deformer_flops(cost: CostModel, layers: int, layouts: Sequence[Layout], query_segment: int, cached: bool) -> Tensor:
    """Return the FLOPs of DeFormer, ``(num_texts,)`` float64.

    Args:
        cost: Sizes of the encoder.
        layers: Lower layers, k.
        layouts: Full texts, then their segments; the latter may be missing where k is 0.
        query_segment: Segment that is the query, 0 or 1.
        cached: True to leave the passage's lower layers out.
    """
    full = layouts[0]
    upper = cost.between(full, layers, cost.num_layers)
    if not layers:
        return upper
    lengths = layouts[1].sequence_lengths
    query, passage = (
        Layout.from_lengths(lengths[segment::2].tolist(), full.sequences_per_text.tolist())
        for segment in (query_segment, 1 - query_segment)
    )
    lower = cost.layer(query) if cached else cost.layer(query) + cost.layer(passage)
    return layers * lower + upper


def separate_segments(batch: TextBatch) -> TextBatch:
    """Return a batch whose segments are sequences, each with positions from 0; tokens stay where they are.

    The first segment of a sequence ends with the first separator (the token that the sequence ends with), so that
    segments are found without token types too.

    Args:
        batch: Sequences of two segments.

    Raises:
        ValueError: A sequence has one segment only.

    Example:
        >>> ids = torch.tensor([[1, 7, 2, 5, 7, 5, 2]])  # [CLS] 7 [SEP] 5 7 5 [SEP]
        >>> segments = separate_segments(TextBatch.from_padded(ids))
        >>> segments.layout.sequence_lengths.tolist(), segments.sequence_positions.tolist()
        ([3, 4], [0, 1, 2, 0, 1, 2, 3])
    """
    layout, positions = batch.layout, batch.sequence_positions
    lengths = layout.sequence_lengths.to(layout.device)
    sequence = torch.repeat_interleave(lengths, output_size=layout.total_tokens)
    ends = torch.cumsum(lengths, 0) - 1
    separators = batch.input_ids == batch.input_ids[ends][sequence]
    places = torch.where(separators, positions, lengths[sequence])
    first = lengths.scatter_reduce(0, sequence, places, "amin") + 1
    both = torch.stack([first, lengths - first], 1).cpu()
    if bool((both == 0).any()):
        raise ValueError("DeFormer runs two segments apart, and a text has one: give a task of questions or pairs")
    own = positions - torch.where(positions >= first[sequence], first[sequence], 0)
    segments = replace(layout, sequence_lengths=both.flatten(), sequences_per_text=2 * layout.sequences_per_text)
    return replace(batch, sequence_positions=own, layout=segments)
