"""The policy network (eq. 2) and the ways to turn its logits into a decision. Nothing here learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from trbert_env.cost import policy_flops_per_token
from trbert_env.overlap import NUM_FEATURES

#: Four times the width of the released code's heads: it learns faster, for 1 % more FLOPs (RESULTS.md).
DEFAULT_POLICY_SIZE = 128
#: Logits between no overlap and the most, at the start.
PRIOR_SCALE = 3.0


class TokenPolicy(nn.Module):
    """pi(a_t | s_t) of eq. 2: every token for itself, one head a reduction.

    A head is LayerNorm (without parameters), Linear(d, h), GELU, Linear(h, 1). States of different
    depths differ in scale by far, so they are normalised first. With ``overlap``, s_t is the state and
    the token's lexical overlap: the first layer sees both, and a linear prior, learned from there on,
    starts as the ``overlap`` heuristic.

    Args:
        hidden_size: d, of the encoder.
        num_reductions: T.
        policy_size: h.
        initial_keep_probability: What every token's probability starts at, for each head.
        overlap: Whether it sees :func:`~trbert_env.overlap.lexical_overlap`; the paper's does not.

    Raises:
        ValueError: The probability is not strictly between 0 and 1.
    """

    def __init__(
        self,
        hidden_size: int,
        num_reductions: int,
        policy_size: int = DEFAULT_POLICY_SIZE,
        initial_keep_probability: float = 0.5,
        overlap: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 < initial_keep_probability < 1.0:
            raise ValueError(f"initial_keep_probability {initial_keep_probability} must lie strictly between 0 and 1")
        self.hidden_size = hidden_size
        self.policy_size = policy_size
        self.overlap = overlap
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden_size, elementwise_affine=False),
                nn.Linear(hidden_size, policy_size),
                nn.GELU(),
                nn.Linear(policy_size, 1),
            )
            for _ in range(num_reductions)
        )
        # Not by tensors: from_pretrained() builds models on the meta device, where they have no values.
        bias = math.log(initial_keep_probability / (1.0 - initial_keep_probability))
        for head in self.heads:
            output = head[-1]  # type: ignore[index]
            nn.init.normal_(output.weight, std=0.02)
            nn.init.constant_(output.bias, bias)
        self.priors = nn.ModuleList(
            nn.ModuleDict(
                {
                    "hidden": nn.Linear(NUM_FEATURES, policy_size, bias=False),
                    "logit": nn.Linear(NUM_FEATURES, 1, bias=False),
                }
            )
            for _ in range(num_reductions if overlap else 0)
        )
        for prior in self.priors:
            nn.init.zeros_(prior["logit"].weight)  # type: ignore[index]
            for column in (0, -1):
                nn.init.constant_(prior["logit"].weight[:, column], PRIOR_SCALE)  # type: ignore[index]

    @property
    def flops_per_token(self) -> int:
        """FLOPs of one head on one token; like biases, the few features of the overlap are not counted."""
        return policy_flops_per_token(self.hidden_size, self.policy_size)

    def forward(self, states: Tensor, reduction: int, overlap: Tensor | None = None) -> Tensor:
        """Logits of keeping, ``(num_tokens,)`` float32.

        Args:
            states: ``(num_tokens, hidden)``, of any float type.
            reduction: 0-based index of the reduction.
            overlap: ``(num_tokens, NUM_FEATURES)``; only heads with ``overlap`` look at it.

        Raises:
            ValueError: ``overlap`` is needed and missing.
        """
        head = cast(nn.Sequential, self.heads[reduction])
        dtype = next(head.parameters()).dtype
        if not self.overlap:
            logits: Tensor = head(states.to(dtype))
            return logits.squeeze(-1).float()
        if overlap is None:
            raise ValueError("this policy sees lexical overlap: hand infos['overlap'] of the tokens to it")
        prior, features = cast(nn.ModuleDict, self.priors[reduction]), overlap.to(dtype)
        hidden = head[:2](states.to(dtype)) + prior["hidden"](features)
        logits = head[2:](hidden) + prior["logit"](features)
        return logits.squeeze(-1).float()

    @torch.no_grad()
    def rescale(self, reduction: int, shift: float, scale: float = 1.0) -> None:
        """Make a head's logits ``(logits - shift) / scale``: probabilities move, the ranking does not."""
        output = self.heads[reduction][-1]  # type: ignore[index]
        output.bias.sub_(shift).div_(scale)
        output.weight.div_(scale)
        if self.overlap:
            self.priors[reduction]["logit"].weight.div_(scale)  # type: ignore[index]


def keep_counts(fractions: float | Tensor, full_lengths: Tensor, token_counts: Tensor) -> Tensor:
    """K = max(1, round(fraction x n)), at most the tokens left; n is the full length, [CLS] included.

    Example:
        >>> keep_counts(0.25, torch.tensor([100, 2]), torch.tensor([60, 2])).tolist()
        [25, 1]
    """
    wanted = torch.as_tensor(fractions * full_lengths.double()).round().long()
    return torch.minimum(wanted.clamp(min=1), token_counts)


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


@dataclass(frozen=True)
class SpeedTable:
    """Which threshold gives which FLOPs speed-up, as measured on training texts.

    Attributes:
        speedups: Rising.
        thresholds: One each, rising.
    """

    speedups: tuple[float, ...]
    thresholds: tuple[float, ...]

    def threshold(self, speedup: float) -> float:
        """The threshold for a wanted speed-up, interpolated between neighbours: log speed-up against log-odds.

        Raises:
            ValueError: The table does not reach so far.

        Example:
            >>> SpeedTable(speedups=(1.0, 4.0), thresholds=(0.2, 0.8)).threshold(2.0)
            0.5
        """
        if len(self.speedups) < 2 or not self.speedups[0] <= speedup <= self.speedups[-1]:
            known = f"{self.speedups[0]:.2f} to {self.speedups[-1]:.2f}" if self.speedups else "none"
            raise ValueError(f"speed-up {speedup} is not among those that this model was calibrated for: {known}")
        right = max(1, next(i for i, value in enumerate(self.speedups) if value >= speedup))
        low, high = self.speedups[right - 1], self.speedups[right]
        share = math.log(speedup / low) / math.log(high / low)
        odds = [logit(value) for value in self.thresholds[right - 1 : right + 1]]
        return 1.0 / (1.0 + math.exp(-(odds[0] + share * (odds[1] - odds[0]))))


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
