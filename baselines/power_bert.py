"""PoWER-BERT: a learned number of tokens for each layer, dropped by the attention they receive (Goyal et al. 2020).

Training has two phases behind fine-tuning. In the search, a token's state behind attention is multiplied by a learned
factor of its rank, and the factors are pushed down; their sums are then the numbers of tokens of the layers. In the
retraining, these numbers are kept and the rest is dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from baselines.aiming import nearest_factor
from baselines.base import Phase, Reference, speedup_of
from baselines.lesson import Lesson
from baselines.options import SystemOptions
from baselines.retention import PlannedRetention, check_within_reach, token_ranks
from trbert_env.encoder.packing import Layout, PackedTokens
from trbert_env.encoder.sequences import Recorder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.ranges import Items, Range
from trbert_env.tasks.base import Task

#: Batches of training texts that the found numbers are scaled on.
SCALING_LESSONS = 32
#: How far a factor can move in the search. AdamW moves it by its rate a step, whatever lambda is, and the mean rate is
#: half of the peak.
_TRAVEL = 2.0


@dataclass(frozen=True)
class PowerBertOptions(SystemOptions):
    """Options of PoWER-BERT.

    Attributes:
        regularizer: Lambda, the weight of the factors' sum; layer j counts j times.
        soft_rate: Peak learning rate of the factors; None for one by which a factor can fall from 1 to 0 twice over in
            the search, however long that is. The original's rates let it fall by 0.7 (RTE) to 3.7 (MNLI).
        search_share: Share of the texts that the search takes; the rest is for retraining.
        count: Meaning of a layer's number: tokens of a sequence, as in the original, or the same share of every
            sequence, which is a variant.
        lengths: Tokens behind each layer (or shares of the longest sequence times its length); None where the search
            is to find them. Where the head reads first tokens, behind the last layer these are left, whatever it says.
        speedup: FLOPs speed-up that the found numbers are scaled to, by one factor for all, which the original does
            not do; None for the numbers as they are found.
    """

    regularizer: Annotated[float, Range(0)] = 3e-4
    soft_rate: Annotated[float, Range(0)] | None = None
    search_share: Annotated[float, Range(0, 1)] = 0.5
    count: Literal["tokens", "shares"] = "tokens"
    lengths: Annotated[tuple[Annotated[float, Range(1)], ...], Items(1, order="falling")] | None = None
    speedup: Annotated[float, Range(above=1)] | None = None

    def idle(self, speedup: float | None) -> tuple[tuple[str, ...], str]:
        """Return what lengths are found by, where they are given; see :meth:`SystemOptions.idle`."""
        if self.lengths is None:
            return (), ""
        return ("regularizer", "soft_rate", "search_share"), "lengths are given, and not searched for"


class PowerBert(PlannedRetention[PowerBertOptions]):
    """PoWER-BERT; see the module's page and :class:`~baselines.base.ComparedSystem`.

    Raises:
        ValueError: The task reads every token, of which the original has no last state; or ``lengths`` are not one
            for each layer.
    """

    title = "power-bert"
    options_class = PowerBertOptions
    diagonal = False
    #: Whether dropped tokens are read by their last states, which the original does not do.
    restores: ClassVar[bool] = False

    def __init__(
        self, model: PreTrainedModel, task: Task, options: PowerBertOptions, reference: Reference | None = None
    ) -> None:
        if task.reads == "tokens" and not self.restores:
            raise ValueError(
                f"PoWER-BERT has no last state of dropped tokens, which a {type(task).__name__} reads: "
                f"give --system {RestoringPowerBert.title}"
            )
        super().__init__(model, task, options, reference)
        number = self.encoder.num_layers
        if options.lengths is not None and len(options.lengths) != number:
            raise ValueError(f"lengths {options.lengths}: the encoder has {number} layers, give one for each")
        #: Factors of the ranks in each layer, ``(num_layers, max_tokens)``.
        self.factors = nn.Parameter(torch.ones(number, task.max_tokens, device=model.device))
        self._searches = options.lengths is None

    # -- in use ------------------------------------------------------------------------------------------------

    def counts(self, layer: int, lengths: Tensor) -> Tensor:
        """Return the tokens behind a layer; see :class:`~baselines.retention.PlannedRetention`."""
        kept = self._lengths[layer]
        if self.options.count == "shares":
            return (lengths * kept / self.task.max_tokens).round().long().clamp(min=1)
        return torch.full_like(lengths, int(kept))

    @property
    def _lengths(self) -> tuple[float, ...]:
        every = (float(self.task.max_tokens),) * self.encoder.num_layers
        return every if self.options.lengths is None else self.options.lengths

    # -- in training -------------------------------------------------------------------------------------------

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The search, unless the numbers are given, and the retraining."""
        if not self._searches:
            return (Phase("retraining", 1.0),)
        share = self.options.search_share
        return Phase("search", share), Phase("retraining", 1.0 - share)

    def extra_parameters(self, updates: int) -> Sequence[tuple[nn.Parameter, float]]:
        """Return the factors, in the search; see :meth:`ComparedSystem.extra_parameters`."""
        if self.options.lengths is not None:
            return ()
        rate = 2.0 * _TRAVEL / updates if self.options.soft_rate is None else self.options.soft_rate
        return ((self.factors, rate),)

    def begin(self, phase: int, lessons: Iterator[Lesson]) -> None:
        """Read the numbers of tokens off the factors, once the search is over."""
        if phase == 1 and self._searches:
            self.options = replace(self.options, lengths=found_lengths(self.factors.detach()))
            if self.options.speedup is not None:
                batches = [lesson.batch.layout for lesson in itertools.islice(lessons, SCALING_LESSONS)]
                self.options = replace(self.options, lengths=self._scaled(self.options.speedup, batches))

    def losses(self, phase: int, lesson: Lesson) -> Iterator[Tensor]:
        """Yield the task's loss: with factors and their price in the search, with tokens dropped afterwards."""
        if self.options.lengths is not None:
            yield lesson.loss(self(lesson.batch).logits)
            return
        layers = torch.arange(1, self.encoder.num_layers + 1, device=self.factors.device)
        price = (layers * self.factors.sum(1)).sum()
        yield lesson.loss(self._soft_logits(lesson.batch)) + self.options.regularizer * price

    def constrain(self) -> None:
        """Keep the factors in [0, 1]."""
        with torch.no_grad():
            self.factors.clamp_(0.0, 1.0)

    def _soft_logits(self, batch: TextBatch) -> Tensor:
        """Logits with no token dropped, and each state multiplied by the factor of its rank."""
        tokens = self.encoder.embed(batch)
        for layer in range(self.encoder.num_layers):
            recorder = Recorder(diagonal=False, once=True)
            tokens = self.encoder.run_attention(tokens, layer, recorder)
            ranks = token_ranks(tokens.layout, recorder.found[0].detach(), first_tokens=False)
            factors = self.factors[layer][self._places(ranks, tokens)]
            weighed = PackedTokens(tokens.states * factors[:, None].to(tokens.states.dtype), tokens.layout)
            tokens = self.encoder.run_feed_forward(weighed, layer)
        return self.read(tokens.states, batch.layout)

    def _places(self, ranks: Tensor, tokens: PackedTokens) -> Tensor:
        """Which factor is a rank's: that of the rank, or of its share of the sequence."""
        if self.options.count == "tokens":
            return ranks
        lengths = tokens.layout.sequence_lengths
        of = torch.repeat_interleave(lengths, lengths).to(ranks.device)
        return ranks * self.task.max_tokens // of

    @classmethod
    def aimed(
        cls, options: PowerBertOptions, speedup: float, model: PreTrainedModel, task: Task, texts: Sequence[EncodedText]
    ) -> PowerBertOptions:
        """Return options by which the found numbers are scaled; see :meth:`ComparedSystem.aimed`."""
        if options.lengths is not None:
            raise ValueError("lengths settle the speed-up: leave --target-speedup out")
        check_within_reach(cls.title, speedup, model, task, texts)
        return replace(options, speedup=speedup)

    def _scaled(self, speedup: float, layouts: Sequence[Layout]) -> tuple[float, ...]:
        """The numbers of tokens times one factor, by which they give the speed-up on these texts."""
        assert self.options.lengths is not None
        base, longest = self.options.lengths, float(self.task.max_tokens)
        full = Layout.joined(layouts)

        def at(factor: float) -> tuple[float, ...]:
            return tuple(min(longest, max(1.0, float(int(factor * length)))) for length in base)

        def speed(factor: float) -> float:
            self.options = replace(self.options, lengths=at(factor))
            return speedup_of(self, full)

        try:
            return at(nearest_factor(speedup, speed, (1.0 / longest, longest), self.title))
        finally:
            self.options = replace(self.options, lengths=base)


def found_lengths(factors: Tensor) -> tuple[float, ...]:
    """Return the numbers of tokens that factors stand for: their sums, rounded down, none above the one before.

    Args:
        factors: ``(num_layers, max_tokens)`` factors in [0, 1].

    Example:
        >>> found_lengths(torch.tensor([[1.0, 0.9, 0.3], [1.0, 1.0, 1.0], [0.2, 0.1, 0.0]]))
        (2.0, 2.0, 1.0)
    """
    sums = [max(1.0, float(int(total))) for total in factors.double().sum(1).tolist()]
    return tuple(itertools.accumulate(sums, min))


class RestoringPowerBert(PowerBert):
    """PoWER-BERT for tasks that read every token: those that were dropped are read by their last states."""

    title = "power-bert-restored"
    restores = True
