"""Agents that learn nothing: keep-all, random, overlap, attention and residual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from agents.base import FullLengths, Heuristic
from trbert_env.envs.settings import InfoScores
from trbert_env.reduction.decision import check_keep_fractions, keep_counts, keep_top


class KeepAll(Heuristic):
    """Skips nothing: the unreduced encoder."""

    def act(self, observation: dict[str, Tensor], infos: dict[str, Any], *, deterministic: bool = False) -> Tensor:
        """Every token in play."""
        return observation["token_mask"].bool()


class KeepTop(Heuristic):
    """Keeps a fixed fraction of every text, by some score.

    Args:
        keep_fractions: One a reduction, of the full length.
        num_reductions: T.

    Raises:
        ValueError: The fractions do not fit.
    """

    def __init__(self, keep_fractions: Sequence[float], num_reductions: int) -> None:
        self.keep_fractions = check_keep_fractions(keep_fractions, num_reductions)
        self._lengths = FullLengths()

    def scores(self, observation: dict[str, Tensor], infos: dict[str, Any]) -> Tensor:
        """``(rows, max_tokens)``; the highest are kept."""
        raise NotImplementedError

    def act(self, observation: dict[str, Tensor], infos: dict[str, Any], *, deterministic: bool = False) -> Tensor:
        """The top of each row."""
        lengths = self._lengths.of(observation)
        mask = observation["token_mask"].bool()
        fraction = self.keep_fractions[int(observation["reduction"][0])]
        counts = keep_counts(fraction, lengths, mask.sum(1))
        return keep_top(self.scores(observation, infos), mask, infos["forced_tokens"], counts)


class RandomTokens(KeepTop):
    """Keeps tokens at random.

    Args:
        keep_fractions: See :class:`KeepTop`.
        num_reductions: T.
        seed: Of its own generator.
    """

    def __init__(self, keep_fractions: Sequence[float], num_reductions: int, seed: int = 0) -> None:
        super().__init__(keep_fractions, num_reductions)
        self._generator = torch.Generator().manual_seed(seed)

    def scores(self, observation: dict[str, Tensor], infos: dict[str, Any]) -> Tensor:
        """Uniform noise."""
        mask = observation["token_mask"]
        return torch.rand(mask.shape, generator=self._generator).to(mask.device)


class ImportanceTokens(KeepTop):
    """Keeps the highest ``infos["importance"]``: attention or residual, as the environment gives it.

    The attention score is what PoWER-BERT ranks tokens by; the residual score sees the gold answer,
    so it is a teacher or an upper line, never a method to ship.
    """

    def scores(self, observation: dict[str, Tensor], infos: dict[str, Any]) -> Tensor:
        """The environment's scores."""
        importance: Tensor = infos["importance"]
        return importance


class OverlapTokens(KeepTop):
    """Keeps the question, and the places of the passage that share the most words with it.

    No state and no gold answer is looked at: what a policy that sees the overlap has to beat.
    """

    def scores(self, observation: dict[str, Tensor], infos: dict[str, Any]) -> Tensor:
        """The first segment and separators, then the wide neighbourhoods by their overlap."""
        overlap: Tensor = infos["overlap"]
        return 2 * overlap[..., 0] + overlap[..., -1]


#: Heuristic name -> the ``info_scores`` that the environment must give it.
HEURISTIC_SCORES: dict[str, InfoScores | None] = {
    "keep-all": None,
    "random": None,
    "overlap": None,
    "attention": "attention",
    "residual": "residual",
}


def make_heuristic(name: str, keep_fractions: Sequence[float], num_reductions: int, seed: int = 0) -> Heuristic:
    """Make a heuristic agent by its name on the command line.

    Raises:
        ValueError: The name is unknown, or the fractions do not fit.
    """
    if name not in HEURISTIC_SCORES:
        raise ValueError(f"agent '{name}' is unknown: use one of {', '.join(HEURISTIC_SCORES)}")
    if name == "keep-all":
        return KeepAll()
    if name == "random":
        return RandomTokens(keep_fractions, num_reductions, seed)
    if name == "overlap":
        return OverlapTokens(keep_fractions, num_reductions)
    return ImportanceTokens(keep_fractions, num_reductions)
