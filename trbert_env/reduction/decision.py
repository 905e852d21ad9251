"""The decision rule: how the policy's logits become a keep mask outside of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trbert_env.reduction.float64 import in_float64


def keep_counts(fractions: float | Tensor, full_lengths: Tensor, token_counts: Tensor) -> Tensor:
    """K = max(1, round(fraction x n)), at most the tokens left; n is the full length, [CLS] included.

    Example:
        >>> keep_counts(0.25, torch.tensor([100, 2]), torch.tensor([60, 2])).tolist()
        [25, 1]
    """
    lengths = in_float64(full_lengths)
    factors = fractions.to(lengths.device) if isinstance(fractions, Tensor) else fractions
    wanted = torch.as_tensor(factors * lengths).round().long()
    return torch.minimum(wanted.clamp(min=1).to(token_counts.device), token_counts)


def keep_top(scores: Tensor, token_mask: Tensor, forced: Tensor, counts: Tensor) -> Tensor:
    """Keep the ``counts`` highest scores of each row, forced tokens first; ties go to the earlier token.

    Args:
        scores: ``(rows, width)`` float.
        token_mask: ``(rows, width)`` bool, True for tokens in play.
        forced: ``(rows, width)`` bool, True for tokens that are kept in any case.
        counts: ``(rows,)`` int64.

    Returns:
        ``(rows, width)`` bool.
    """
    ranked = scores.float().masked_fill(~token_mask, -torch.inf).masked_fill(forced & token_mask, torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return ((ranks < counts[:, None]) | forced) & token_mask


def keep_above(logits: Tensor, token_mask: Tensor, forced: Tensor, threshold: float) -> Tensor:
    """Keep the tokens whose probability is at least ``threshold``; ``(rows, width)`` bool.

    Compared as logits: probabilities near 1 are too coarse in float32 to tell sure tokens apart.
    """
    return ((logits >= logit(threshold)) | forced) & token_mask


def logit(probability: float) -> float:
    """Log-odds; infinite at 0 and 1."""
    if probability in (0.0, 1.0):
        return math.inf if probability else -math.inf
    return math.log(probability / (1.0 - probability))


def check_keep_fractions(fractions: Sequence[float], num_reductions: int) -> tuple[float, ...]:
    """Return ``fractions`` as a tuple, or say what is wrong with them.

    Raises:
        ValueError: Not one for each reduction, or not falling within (0, 1].
    """
    fractions = tuple(float(fraction) for fraction in fractions)
    if len(fractions) != num_reductions:
        raise ValueError(f"keep_fractions {fractions}: there are {num_reductions} reductions, give one for each")
    if not all(0.0 < fraction <= 1.0 for fraction in fractions):
        raise ValueError(f"keep_fractions {fractions}: each must lie in (0, 1], of the full length")
    if list(fractions) != sorted(fractions, reverse=True):
        raise ValueError(f"keep_fractions {fractions}: tokens once skipped stay out, so they cannot rise")
    return fractions


@dataclass(frozen=True)
class DecisionRule:
    """How logits become a keep mask outside of training: the deployed model and evaluation share it.

    Attributes:
        threshold: Keep a token whose probability is at least this; the count adapts to the text.
        keep_fractions: If given, keep exactly these fractions of every text instead, best tokens first.
    """

    threshold: float = 0.5
    keep_fractions: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            ValueError: The threshold is no probability, or the keep fractions do not fall within (0, 1].
        """
        if self.keep_fractions is not None:
            check_keep_fractions(self.keep_fractions, len(self.keep_fractions))
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold {self.threshold}: it is a probability, so give 0 to 1")

    def check(self, num_reductions: int) -> None:
        """Refuse keep fractions that are not one for each reduction.

        Args:
            num_reductions: T.

        Raises:
            ValueError: They are not, or do not fall within (0, 1].
        """
        if self.keep_fractions is not None:
            check_keep_fractions(self.keep_fractions, num_reductions)

    def __call__(
        self, logits: Tensor, token_mask: Tensor, forced: Tensor, full_lengths: Tensor, reduction: int
    ) -> Tensor:
        """``(rows, width)`` bool.

        Args:
            logits: ``(rows, width)`` of keeping.
            token_mask: ``(rows, width)`` bool, tokens in play.
            forced: ``(rows, width)`` bool, tokens kept in any case.
            full_lengths: ``(rows,)`` int64 tokens of the whole texts.
            reduction: 0-based.
        """
        if self.keep_fractions is None:
            return keep_above(logits, token_mask, forced, self.threshold)
        counts = keep_counts(self.keep_fractions[reduction], full_lengths, token_mask.sum(1))
        return keep_top(logits, token_mask, forced, counts)
