"""Length-Adaptive Transformer: one model for all numbers of tokens, and a search for the best (Kim and Cho 2021).

Training with LengthDrop runs each batch several times: the whole model learns the task, and its logits teach the model
with the fewest tokens and some with random numbers of them. Afterwards, an evolutionary search finds the numbers that
answer best at a wanted cost. Tokens are dropped by the attention that they receive, that of their own included, and
those that were dropped are read by their last states.

What differs from the released code (clovaai/length-adaptive-transformer):

* Numbers of tokens are shares of each sequence. The original's are counts of a sequence padded to 384 tokens, by which
  a short text loses nothing.
* The whole model is the target of the divergence, KL(whole || reduced), as the paper says. The released code hands the
  arguments over the wrong way round and minimises KL(reduced || whole).
* The search reads held-out training texts. The original's reads the texts that the result is reported on.
* The search aims at one cost, so that each candidate is brought to it by a power of its shares, and is then judged by
  its mean log-likelihood. The original keeps a Pareto front of cost and F1.
* A token that is dropped in layer j is read by its state behind the attention of that layer. The original reads what
  entered the layer.
* LayerDrop is off. The original skips each layer with probability 0.2, in the whole model too; of six layers all run in
  a quarter of the steps only, so that most of the time the teacher lacks layers. It saves nothing in use.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.aiming import factor_for
from baselines.base import Reference, speedup_of
from baselines.lesson import Lesson
from baselines.options import SystemOptions
from baselines.retention import PlannedRetention
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText, TextBatch, full_layout
from trbert_env.ranges import Items, Range
from trbert_env.tasks.base import Task

#: Tokens behind each layer, as shares of the sequence.
Shares = tuple[float, ...]

#: Fewest tokens that a layer leaves of a sequence that has as many, as in the original.
FEWEST = 2
#: How far from the wanted speed-up a candidate of the search may be, as a share of it.
TOLERANCE = 0.02
#: Drop of the smallest configuration over that of the uniform one at the wanted speed-up, and the most that it may be.
HEADROOM, MOST_DROP = 1.5, 0.9
#: Powers that a candidate's shares are raised to are one over these.
_SLACKS = (0.02, 50.0)
#: Halvings of that interval.
_HALVINGS = 20


@dataclass(frozen=True)
class LengthAdaptiveOptions(SystemOptions):
    """Options of Length-Adaptive Transformer.

    Attributes:
        drop: Most that a layer drops in training, as a share of the tokens that the layer before left.
        random_configurations: Passes of random numbers of tokens in each step.
        layer_drop: Probability that a layer is skipped in training; the original's is 0.2.
        shares: Tokens behind each layer, as shares of the sequence; None for ``drop`` in every layer. Where the head
            reads first tokens, behind the last layer these are left, whatever its share.
        speedup: FLOPs speed-up that the search aims at; None for no search.
        population: Configurations that the search begins with, and that each round goes on with.
        rounds: Rounds of the search.
        mutations: New configurations of a round in which some layers of an old one are drawn anew.
        crossovers: New configurations of a round that are the mean of two old ones.
        search_lessons: Batches of training texts that the search reads.
    """

    drop: Annotated[float, Range(above=0, below=1)] = 0.2
    random_configurations: Annotated[int, Range(0)] = 2
    layer_drop: Annotated[float, Range(0, below=1)] = 0.0
    shares: Annotated[tuple[Annotated[float, Range(above=0, most=1)], ...], Items(1, order="falling")] | None = None
    speedup: Annotated[float, Range(above=1)] | None = None
    population: Annotated[int, Range(1)] = 8
    rounds: Annotated[int, Range(0)] = 10
    mutations: Annotated[int, Range(0)] = 4
    crossovers: Annotated[int, Range(0)] = 4
    search_lessons: Annotated[int, Range(1)] = 16

    def idle(self, speedup: float | None) -> tuple[tuple[str, ...], str]:
        """Return what a search is made by, where there is none; see :meth:`SystemOptions.idle`."""
        if speedup is not None:
            return (), ""
        searched_by = ("population", "rounds", "mutations", "crossovers", "search_lessons")
        return searched_by, "without --target-speedup nothing is searched for"


class LengthAdaptive(PlannedRetention[LengthAdaptiveOptions]):
    """Length-Adaptive Transformer; see the module's page and :class:`~baselines.base.ComparedSystem`.

    Raises:
        ValueError: ``shares`` are not one for each layer.
    """

    title = "length-adaptive"
    options_class = LengthAdaptiveOptions

    def __init__(
        self, model: PreTrainedModel, task: Task, options: LengthAdaptiveOptions, reference: Reference | None = None
    ) -> None:
        super().__init__(model, task, options, reference)
        number = self.encoder.num_layers
        if options.shares is not None and len(options.shares) != number:
            raise ValueError(f"shares {options.shares}: the encoder has {number} layers, give one for each")

    # -- in use ------------------------------------------------------------------------------------------------

    @property
    def shares(self) -> Shares:
        """Tokens behind each layer, as shares of the sequence."""
        return self.options.shares or uniform_shares(self.options.drop, self.encoder.num_layers)

    def counts(self, layer: int, lengths: Tensor) -> Tensor:
        """Return the share of the sequences, rounded up; see :class:`~baselines.retention.PlannedRetention`."""
        return torch.ceil(lengths.double() * self.shares[layer] - 1e-9).long().clamp(min=FEWEST)

    @contextmanager
    def configured(self, shares: Shares) -> Iterator[None]:
        """Run with other numbers of tokens for a while.

        Args:
            shares: Tokens behind each layer, as shares of the sequence.
        """
        before = self.options
        self.options = replace(before, shares=shares)
        try:
            yield
        finally:
            self.options = before

    # -- in training -------------------------------------------------------------------------------------------

    def running_layers(self) -> Sequence[int]:
        """Return all layers, or in training those that LayerDrop leaves; see :class:`RetentionSystem`."""
        layers, skipped = super().running_layers(), self.options.layer_drop
        if not self.training or skipped == 0.0:
            return layers
        return [
            layer for layer, drawn in zip(layers, torch.rand(len(layers)).tolist(), strict=True) if drawn >= skipped
        ]

    def losses(self, phase: int, lesson: Lesson) -> Iterator[Tensor]:
        """Yield the loss of the whole model, then the divergence of each reduced one from it, as parts of a mean."""
        number, drop = self.encoder.num_layers, self.options.drop
        drawn = [drawn_shares(drop, number) for _ in range(self.options.random_configurations)]
        reduced = [uniform_shares(drop, number), *drawn]
        whole = self._logits(lesson.batch, (1.0,) * number)
        taught = whole.detach()
        yield lesson.loss(whole) / (1 + len(reduced))
        for shares in reduced:
            logits = self._logits(lesson.batch, shares)
            yield lesson.soft_loss(logits, taught, temperature=1.0) / (1 + len(reduced))

    @property
    def search_size(self) -> int:
        """Configurations of the search, where a speed-up is wanted; see :attr:`ComparedSystem.search_size`."""
        options = self.options
        if options.speedup is None:
            return 0
        return options.population + options.rounds * (options.mutations + options.crossovers)

    def search(self, lessons: Iterator[Lesson], advance: Callable[[], object]) -> None:
        """Search for the numbers of tokens that answer best at the speed-up."""
        if self.options.speedup is not None:
            judged_by = list(itertools.islice(lessons, self.options.search_lessons))
            self.options = replace(self.options, shares=self._searched(self.options.speedup, judged_by, advance))

    def _logits(self, batch: TextBatch, shares: Shares) -> Tensor:
        with self.configured(shares):
            return self(batch).logits

    @classmethod
    def aimed(
        cls,
        options: LengthAdaptiveOptions,
        speedup: float,
        model: PreTrainedModel,
        task: Task,
        texts: Sequence[EncodedText],
    ) -> LengthAdaptiveOptions:
        """Return the equal drop of all layers that gives the speed-up, for the search to begin with.

        Training drops more than that at most, so that the search can drop unequally; see
        :meth:`ComparedSystem.aimed`.
        """
        if options.shares is not None:
            raise ValueError("shares settle the speed-up: leave --target-speedup out")
        system, full = cls(model, task, options), full_layout(texts)
        number = system.encoder.num_layers

        def speed(kept: float) -> float:
            with system.configured(uniform_shares(1.0 - kept, number)):
                return speedup_of(system, full)

        needed = 1.0 - factor_for(speedup, speed, (0.01, 1.0), cls.title)
        drop = max(options.drop, needed, min(MOST_DROP, HEADROOM * needed))
        return replace(options, drop=drop, shares=uniform_shares(needed, number), speedup=speedup)

    def _searched(self, speedup: float, lessons: Sequence[Lesson], advance: Callable[[], object]) -> Shares:
        """The configuration that answers these lessons best at a speed-up."""
        full = Layout.joined([lesson.batch.layout for lesson in lessons])
        return evolved(
            self.shares,
            lambda shares: self._at_speed(shares, speedup, full),
            lambda shares: self._quality(shares, lessons),
            self.options,
            advance,
        )

    def _at_speed(self, shares: Shares, speedup: float, full: Layout) -> Shares | None:
        """A power of shares that gives a speed-up; None where none does."""

        def at(slack: float) -> Shares:
            return tuple(share ** (1.0 / slack) for share in shares)

        def speed(slack: float) -> float:
            with self.configured(at(slack)):
                return speedup_of(self, full)

        try:
            slack = factor_for(speedup, speed, _SLACKS, self.title, _HALVINGS)
        except ValueError:
            return None
        return at(slack) if abs(speed(slack) / speedup - 1.0) <= TOLERANCE else None

    @torch.no_grad()
    def _quality(self, shares: Shares, lessons: Sequence[Lesson]) -> float:
        """Mean log-likelihood of the gold answers, nats."""
        found = [-float(lesson.gold_loss(self._logits(lesson.batch, shares))) for lesson in lessons]
        return sum(found) / len(found)


def uniform_shares(drop: float, num_layers: int) -> Shares:
    """Return the shares by which every layer drops as much of what the layer before left.

    Args:
        drop: Share that a layer drops.
        num_layers: Number of layers.

    Example:
        >>> uniform_shares(0.5, 3)
        (0.5, 0.25, 0.125)
    """
    return tuple((1.0 - drop) ** layer for layer in range(1, num_layers + 1))


def drawn_shares(drop: float, num_layers: int) -> Shares:
    """Return random shares: each layer drops uniformly up to a share of what the layer before left.

    Args:
        drop: Most that a layer drops.
        num_layers: Number of layers.
    """
    kept = 1.0 - drop * torch.rand(num_layers, dtype=torch.float64)
    return tuple(kept.cumprod(0).tolist())


def mutated(shares: Shares) -> Shares:
    """Return shares of which each is drawn anew between its neighbours, with probability one half.

    Args:
        shares: Shares that do not rise.
    """
    changed = list(shares)
    for layer, (chance, place) in enumerate(torch.rand(len(shares), 2, dtype=torch.float64).tolist()):
        if chance < 0.5:
            most = changed[layer - 1] if layer else 1.0
            least = changed[layer + 1] if layer + 1 < len(changed) else 0.0
            changed[layer] = most - place * (most - least)
    return tuple(changed)


def crossed(one: Shares, other: Shares) -> Shares:
    """Return the mean of two configurations.

    Args:
        one: Shares of the one.
        other: Shares of the other.
    """
    return tuple((first + second) / 2 for first, second in zip(one, other, strict=True))


def evolved(
    first: Shares,
    fit: Callable[[Shares], Shares | None],
    quality: Callable[[Shares], float],
    options: LengthAdaptiveOptions,
    advance: Callable[[], object],
) -> Shares:
    """Return the best configuration that an evolutionary search finds; the first where none can be fitted.

    Args:
        first: Configuration to begin with.
        fit: Function that brings a configuration to the wanted cost; None where it cannot.
        quality: Function that judges a configuration, the greater the better.
        options: Sizes of the search.
        advance: Function to call after each configuration.
    """
    found = dict[Shares, float]()

    def add(shares: Shares) -> None:
        fitted = fit(shares)
        if fitted is not None and fitted not in found:
            found[fitted] = quality(fitted)
        advance()

    add(first)
    for _ in range(options.population - 1):
        add(mutated(first))
    for _ in range(options.rounds):
        parents = sorted(found, key=lambda shares: -found[shares])[: options.population] or [first]
        for _ in range(options.mutations):
            add(mutated(_one_of(parents)))
        for _ in range(options.crossovers):
            add(crossed(_one_of(parents), _one_of(parents)))
    return max(found, key=lambda shares: found[shares], default=first)


def _one_of(parents: Sequence[Shares]) -> Shares:
    return parents[int(torch.randint(len(parents), ()))]
