"""Actors that learn nothing: keep-all, random, overlap, attention and residual."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from agents.base import Actor
from trbert_env.envs.packed import PackedObservation
from trbert_env.envs.settings import InfoScores
from trbert_env.reduction.decision import check_keep_fractions, keep_counts, keep_top


class KeepAll:
    """Skips nothing: the unreduced encoder."""

    info_scores = None

    def act(self, observation: PackedObservation, *, deterministic: bool = False) -> Tensor:
        """Return True for every token in play; see :class:`~agents.base.Actor`."""
        return torch.ones_like(observation.layout.first_tokens)


class KeepTop(ABC):
    """Keeps a fixed fraction of every text, by some score.

    Args:
        keep_fractions: Fractions of the full length, one a reduction.
        num_reductions: T.

    Raises:
        ValueError: The fractions do not fit.
    """

    info_scores: InfoScores | None = None

    def __init__(self, keep_fractions: Sequence[float], num_reductions: int) -> None:
        self.keep_fractions = check_keep_fractions(keep_fractions, num_reductions)

    @abstractmethod
    def scores(self, observation: PackedObservation) -> Tensor:
        """Return a score of every token, ``(rows, width)`` float; the highest are kept."""

    def act(self, observation: PackedObservation, *, deterministic: bool = False) -> Tensor:
        """Return the top of each row; see :class:`~agents.base.Actor`."""
        in_play = observation.in_play
        fraction = self.keep_fractions[observation.reduction]
        counts = keep_counts(fraction, observation.full_lengths, in_play.sum(1))
        return observation.gather(keep_top(self.scores(observation), in_play, observation.forced, counts))


class RandomTokens(KeepTop):
    """Keeps tokens at random.

    Args:
        keep_fractions: See :class:`KeepTop`.
        num_reductions: T.
        seed: Seed of its own generator.
    """

    def __init__(self, keep_fractions: Sequence[float], num_reductions: int, seed: int = 0) -> None:
        super().__init__(keep_fractions, num_reductions)
        self._generator = torch.Generator().manual_seed(seed)

    def scores(self, observation: PackedObservation) -> Tensor:
        """Return uniform noise; see :class:`KeepTop`."""
        in_play = observation.in_play
        return torch.rand(in_play.shape, generator=self._generator).to(in_play.device)


class ImportanceTokens(KeepTop):
    """Keeps the highest importance: attention or residual, as the environment gives it.

    The attention score is what PoWER-BERT ranks tokens by; the residual score sees the gold answer,
    so it is a teacher or an upper line, never a method to ship.

    Args:
        keep_fractions: See :class:`KeepTop`.
        num_reductions: T.
        info_scores: ``"residual"`` or ``"attention"``.
    """

    def __init__(self, keep_fractions: Sequence[float], num_reductions: int, info_scores: InfoScores) -> None:
        super().__init__(keep_fractions, num_reductions)
        self.info_scores = info_scores

    def scores(self, observation: PackedObservation) -> Tensor:
        """Return the environment's scores; see :class:`KeepTop`.

        Raises:
            ValueError: The observation brings none.
        """
        if observation.importance is None:
            raise ValueError(f"the observation has no importance: set info_scores={self.info_scores!r}")
        return observation.pad(observation.importance)


class OverlapTokens(KeepTop):
    """Keeps the question, and the places of the passage that share the most words with it.

    No state and no gold answer is looked at: what a policy that sees the overlap has to beat.
    """

    def scores(self, observation: PackedObservation) -> Tensor:
        """Return the first segment and separators, then the wide neighbourhoods by their overlap."""
        overlap = observation.overlap
        return observation.pad(2 * overlap[..., 0] + overlap[..., -1])


#: Heuristics by their names on the command line.
HEURISTICS = ("keep-all", "random", "overlap", "attention", "residual")


def make_heuristic(name: str, keep_fractions: Sequence[float], num_reductions: int, seed: int = 0) -> Actor:
    """Make a heuristic by its name on the command line.

    Args:
        name: One of :data:`HEURISTICS`.
        keep_fractions: Fractions of the full length, one a reduction; keep-all has no use for them.
        num_reductions: T.
        seed: Seed of the random one.

    Raises:
        ValueError: The name is unknown, or the fractions do not fit.
    """
    if name == "keep-all":
        return KeepAll()
    if name == "random":
        return RandomTokens(keep_fractions, num_reductions, seed)
    if name == "overlap":
        return OverlapTokens(keep_fractions, num_reductions)
    if name == "attention":
        return ImportanceTokens(keep_fractions, num_reductions, "attention")
    if name == "residual":
        return ImportanceTokens(keep_fractions, num_reductions, "residual")
    raise ValueError(f"agent '{name}' is unknown: use one of {', '.join(HEURISTICS)}")
