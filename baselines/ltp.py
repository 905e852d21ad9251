"""Learned token pruning: a learned threshold for each layer, by which texts keep unequally many (Kim et al. 2022).

A token's score in a layer is the attention that it receives, the mean over heads and over queries. In the soft phase
each state behind a layer is multiplied by ``sigmoid((score - threshold) / T)``, and the mean factors are pushed down:
weights and thresholds learn together. In the hard phase the thresholds are fixed, and tokens below them are dropped
between attention and feed-forward network.

What differs from the released code (kssteven418/LTP):

* A score is multiplied by the tokens in play, so that 1 is the attention of an average token and a threshold means the
  same at every length. The original's mean is over queries padded to 128 tokens, and what a threshold means depends on
  the padding. Its settings are multiplied by 128 here.
* Each sequence's first token stays, because heads of classifiers read it. The original does not force that.
* Thresholds begin at ``start * j / L`` in layer j of L. The original counts j from 0, so that its last layer begins at
  11/12 of what is set.
* Tokens are really dropped in the hard phase, and read by their last states where the task reads every token. The
  released code only masks them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from baselines.aiming import nearest_factor
from baselines.base import Phase, Reference
from baselines.lesson import Lesson
from baselines.options import SystemOptions
from baselines.retention import RetentionSystem, check_within_reach
from trbert_env.encoder.packing import Layout, PackedTokens
from trbert_env.encoder.sequences import Recorder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.ranges import Items, Range
from trbert_env.tasks.base import Task

#: Batches of texts that the found thresholds are scaled on.
SCALING_LESSONS = 8
#: How far a threshold can move in the soft phase, in beginnings of the last one.
_TRAVEL = 2.0
#: Factors of the thresholds are two to the power of minus these.
_POWERS = (-20.0, 20.0)
#: Halvings of that interval; each costs a pass over the batches.
_HALVINGS = 16
#: Least threshold that is learned, of which a factor can still make any: the original's 1e-5.
_LEAST = 128e-5


@dataclass(frozen=True)
class LtpOptions(SystemOptions):
    """Options of learned token pruning.

    Attributes:
        start: Threshold of the last layer at the beginning, in attention of an average token; the original's 0.01.
        temperature: T of the soft phase, in the same measure; the original's 0.001.
        regularizer: Lambda, the weight of the factors' means, summed over layers.
        threshold_rate: Peak learning rate of the thresholds; None for one by which they can move twice as far as the
            last one begins above 0, however long the soft phase is. The original's 2e-5 lets them move up to six times
            as far.
        soft_share: Share of the texts that the soft phase takes; the rest is for the hard one.
        thresholds: Threshold of each layer; None where the soft phase is to find them. Where the head reads first
            tokens, behind the last layer these are left, whatever its threshold.
        speedup: FLOPs speed-up that the found thresholds are scaled to before and behind the hard phase, by one factor
            for all, which the original does not do; None for the thresholds as they are found.
    """

    start: Annotated[float, Range(above=0)] = 1.28
    temperature: Annotated[float, Range(above=0)] = 0.128
    regularizer: Annotated[float, Range(0)] = 0.1
    threshold_rate: Annotated[float, Range(0)] | None = None
    soft_share: Annotated[float, Range(0, 1)] = 0.5
    thresholds: Annotated[tuple[Annotated[float, Range(0)], ...], Items(1)] | None = None
    speedup: Annotated[float, Range(above=1)] | None = None

    def idle(self, speedup: float | None) -> tuple[tuple[str, ...], str]:
        """Return what thresholds are found by, where they are given; see :meth:`SystemOptions.idle`."""
        if self.thresholds is None:
            return (), ""
        found_by = ("start", "temperature", "regularizer", "threshold_rate", "soft_share")
        return found_by, "thresholds are given, and not learned"


class Ltp(RetentionSystem[LtpOptions]):
    """Learned token pruning; see the module's page and :class:`~baselines.base.ComparedSystem`.

    Raises:
        ValueError: ``thresholds`` are not one for each layer.
    """

    title = "ltp"
    options_class = LtpOptions

    def __init__(
        self, model: PreTrainedModel, task: Task, options: LtpOptions, reference: Reference | None = None
    ) -> None:
        super().__init__(model, task, options, reference)
        number = self.encoder.num_layers
        if options.thresholds is not None and len(options.thresholds) != number:
            raise ValueError(f"thresholds {options.thresholds}: the encoder has {number} layers, give one for each")
        rising = options.start * torch.arange(1, number + 1, device=model.device) / number
        #: Thresholds that the soft phase learns, ``(num_layers,)``.
        self.thresholds = nn.Parameter(rising)
        self._learns = options.thresholds is None

    # -- in use ------------------------------------------------------------------------------------------------

    def keep(self, layer: int, layout: Layout, scores: Tensor, full: Layout) -> Tensor:
        """Return first tokens and those whose score reaches the threshold; see :class:`RetentionSystem`."""
        return (self._scores(scores) >= self._applied[layer]) | layout.first_tokens

    def _scores(self, received: Tensor) -> Tensor:
        """Attention in that of an average token: the mean over heads and queries, times the queries."""
        return received / float(self.model.config.num_attention_heads)

    @property
    def _applied(self) -> Sequence[float]:
        found = self.options.thresholds
        return self.thresholds.tolist() if found is None else found

    # -- in training -------------------------------------------------------------------------------------------

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The soft phase, unless the thresholds are given, and the hard one."""
        if not self._learns:
            return (Phase("hard", 1.0),)
        share = self.options.soft_share
        return Phase("soft", share), Phase("hard", 1.0 - share)

    def extra_parameters(self, updates: int) -> Sequence[tuple[nn.Parameter, float]]:
        """Return the thresholds, in the soft phase; see :meth:`ComparedSystem.extra_parameters`."""
        options = self.options
        if options.thresholds is not None:
            return ()
        # AdamW moves a threshold by about its rate a step, and the mean rate is half of the peak.
        rate = 2.0 * _TRAVEL * options.start / updates if options.threshold_rate is None else options.threshold_rate
        return ((self.thresholds, rate),)

    def begin(self, phase: int, lessons: Iterator[Lesson]) -> None:
        """Fix the thresholds, once the soft phase is over.

        They are scaled to the wanted speed-up then, and once more behind the hard phase, which moves the scores.
        """
        if phase == 0 or not self._learns:
            return
        if phase == 1:
            self.options = replace(self.options, thresholds=tuple(self.thresholds.detach().double().tolist()))
        if self.options.speedup is not None:
            batches = [lesson.batch for lesson in itertools.islice(lessons, SCALING_LESSONS)]
            self.options = replace(self.options, thresholds=self._scaled(self.options.speedup, batches))

    def losses(self, phase: int, lesson: Lesson) -> Iterator[Tensor]:
        """Yield the task's loss: with factors and their price in the soft phase, with tokens dropped in the hard."""
        if self.options.thresholds is not None:
            yield lesson.loss(self(lesson.batch).logits)
            return
        logits, means = self.soft(lesson.batch)
        yield lesson.loss(logits) + self.options.regularizer * means.sum()

    def constrain(self) -> None:
        """Keep the thresholds above 0, where hardly anything is dropped."""
        with torch.no_grad():
            self.thresholds.clamp_(min=_LEAST)

    def soft(self, batch: TextBatch) -> tuple[Tensor, Tensor]:
        """Return logits with no token dropped and each state multiplied by its factor, and the mean factors.

        Args:
            batch: Texts on the system's device.

        Returns:
            Logits as the task gives them, and ``(num_layers,)`` float32; gradients reach :attr:`thresholds` by both.
        """
        tokens = self.encoder.embed(batch)
        means = []
        for layer in range(self.encoder.num_layers):
            recorder = Recorder(diagonal=self.diagonal, once=True)
            tokens = self.encoder.run_attention(tokens, layer, recorder)
            tokens = self.encoder.run_feed_forward(tokens, layer)
            above = self._scores(recorder.found[0]) - self.thresholds[layer]
            factors = torch.sigmoid(above / self.options.temperature).masked_fill(tokens.layout.first_tokens, 1.0)
            means.append(factors.mean())
            tokens = PackedTokens(tokens.states * factors[:, None].to(tokens.states.dtype), tokens.layout)
        return self.read(tokens.states, batch.layout), torch.stack(means)

    @classmethod
    def aimed(
        cls, options: LtpOptions, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
    ) -> LtpOptions:
        """Return options by which the found thresholds are scaled; see :meth:`ComparedSystem.aimed`."""
        if options.thresholds is not None:
            raise ValueError("thresholds settle the speed-up: leave --target-speedup out")
        check_within_reach(cls.title, speedup, model, task, texts)
        return replace(options, speedup=speedup)

    def _scaled(self, speedup: float, batches: Sequence[TextBatch]) -> tuple[float, ...]:
        """The thresholds times one factor, by which they give the speed-up on these texts."""
        assert self.options.thresholds is not None
        found = self.options.thresholds

        def at(power: float) -> tuple[float, ...]:
            return tuple(threshold * 2.0**-power for threshold in found)

        def speed(power: float) -> float:
            self.options = replace(self.options, thresholds=at(power))
            return self._speed(batches)

        try:
            return at(nearest_factor(speedup, speed, _POWERS, self.title, _HALVINGS))
        finally:
            self.options = replace(self.options, thresholds=found)

    @torch.no_grad()
    def _speed(self, batches: Sequence[TextBatch]) -> float:
        """FLOPs speed-up on these texts."""
        outputs = [self.run(batch) for batch in batches]
        full = sum(float(output.full_flops.sum()) for output in outputs)
        return full / sum(float(output.flops.sum()) for output in outputs)
