"""How keep masks are drawn from a policy's logits while it learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trbert_env.reduction.decision import keep_counts, keep_top

#: Log-odds, either way, beyond which a choice counts as sure: float32 has exponentials of them.
_SURE = 80.0


class BernoulliSampler:
    """Every token for itself, as in the paper."""

    name = "bernoulli"

    def sample(
        self,
        logits: Tensor,
        mask: Tensor,
        forced: Tensor,
        full_lengths: Tensor,
        reduction: int,
        noise: Tensor,
    ) -> Tensor:
        """Draw keep masks.

        Args:
            logits: ``(rows, width)`` of keeping.
            mask: ``(rows, width)`` bool, tokens in play.
            forced: ``(rows, width)`` bool, tokens kept in any case.
            full_lengths: ``(rows,)`` int64.
            reduction: 0-based.
            noise: ``(rows, width)`` uniform in [0, 1).

        Returns:
            ``(rows, width)`` bool.
        """
        return ((noise < torch.sigmoid(logits)) | forced) & mask

    def expected_counts(
        self, logits: Tensor, mask: Tensor, forced: Tensor, full_lengths: Tensor, reduction: int
    ) -> Tensor:
        """``(rows,)`` int64: how many tokens the policy keeps on average (K of the imitation)."""
        probabilities = torch.where(forced, 1.0, torch.sigmoid(logits)) * mask
        return (probabilities.sum(1) + 0.5).floor().long()

    def log_odds(self, logits: Tensor, mask: Tensor, forced: Tensor, full_lengths: Tensor, reduction: int) -> Tensor:
        """The logits as they are."""
        return logits

    def settled(self, logits: Tensor, free: Tensor) -> BernoulliSampler:
        """Itself: nothing in it depends on other rows."""
        return self


class BudgetedSampler:
    """Exactly K tokens a text and reduction: the top K of logit + Gumbel noise.

    All samples of a text then cost the same, so that their advantages are only about *which* tokens
    were kept. It is sampling without replacement from the softmax of the logits (Kool et al. 2019).

    A ranking does not say how sure it is, and noisy gradients make logits grow until nothing is
    explored any more. So the noise grows with them: once their deviation over the batch exceeds
    ``1 / exploration``, logits are divided by ``exploration`` times it.

    Args:
        keep_fractions: K as a fraction of the full length, one a reduction.
        exploration: Noise in units of the logits' deviation.
        scope: ``"text"``, or ``"batch"`` to keep the sum of the K over all rows: counts then adapt to the
            text as a threshold's do, and samples of a text no longer cost the same.
        temperature: Divisor of the logits, instead of what ``exploration`` makes of them.
    """

    name = "budgeted"

    def __init__(
        self,
        keep_fractions: Sequence[float],
        exploration: float = 0.5,
        scope: Literal["text", "batch"] = "text",
        temperature: float | None = None,
    ) -> None:
        self.keep_fractions = tuple(keep_fractions)
        self.exploration = exploration
        self.scope = scope
        self._temperature = temperature

    def settled(self, logits: Tensor, free: Tensor) -> BudgetedSampler:
        """The same at the temperature that it has on these rows, whatever rows come later."""
        return BudgetedSampler(self.keep_fractions, self.exploration, self.scope, float(self.temperature(logits, free)))

    def temperature(self, logits: Tensor, free: Tensor) -> Tensor:
        """What logits are divided by; a scalar without gradient.

        Args:
            logits: ``(rows, width)``.
            free: ``(rows, width)`` bool, tokens that can be kept or skipped.
        """
        if self._temperature is not None:
            return logits.new_tensor(self._temperature)
        deviation = logits.detach()[free].std() if int(free.sum()) > 1 else logits.new_ones(())
        return (self.exploration * deviation).clamp(min=1.0)

    def sample(
        self, logits: Tensor, mask: Tensor, forced: Tensor, full_lengths: Tensor, reduction: int, noise: Tensor
    ) -> Tensor:
        """Draw keep masks; see :meth:`BernoulliSampler.sample`."""
        gumbel = -torch.log(-torch.log(noise.clamp(1e-9, 1 - 1e-7)))
        scores = logits / self.temperature(logits, mask & ~forced) + gumbel
        if self.scope == "text":
            return keep_top(scores, mask, forced, self.expected_counts(logits, mask, forced, full_lengths, reduction))
        total = self._shared_count(mask, full_lengths, reduction)
        pooled = keep_top(scores.reshape(1, -1), mask.reshape(1, -1), forced.reshape(1, -1), total)
        return pooled.view(mask.shape)

    def _shared_count(self, mask: Tensor, full_lengths: Tensor, reduction: int) -> Tensor:
        """``(1,)`` int64: what all rows may keep together; what one has not left, others may."""
        wanted = keep_counts(self.keep_fractions[reduction], full_lengths, full_lengths).sum()
        return torch.minimum(wanted, mask.sum())[None]

    def expected_counts(
        self, logits: Tensor, mask: Tensor, forced: Tensor, full_lengths: Tensor, reduction: int
    ) -> Tensor:
        """``(rows,)`` int64: K."""
        return keep_counts(self.keep_fractions[reduction], full_lengths, mask.sum(1))

    def log_odds(self, logits: Tensor, mask: Tensor, forced: Tensor, full_lengths: Tensor, reduction: int) -> Tensor:
        """Log-odds that a token is kept, ``(rows, width)``, by which K are expected a row (or in all rows together).

        Of logits ``x`` over their temperature, Gumbel noise lifts a token above a threshold ``c`` with the probability
        ``p = 1 - exp(-exp(x - c))``; c is the same in a row, or in all. A sample of fixed size is nearly one of
        independent choices with these probabilities (conditional Poisson sampling, Hajek 1964).

        The gradient is that of log-odds which move as x does, so that a token's score is ``kept - p``: 0 on average,
        and at most 1. Exactly, it would be ``exp(x - c) / p`` times that, which leads the same way for each token and
        has no bound.
        """
        free = mask & ~forced
        logits = logits / self.temperature(logits, free)
        detached, kept_anyway = logits.detach(), (mask & forced).sum(1)
        counts = self.expected_counts(logits, mask, forced, full_lengths, reduction)
        if self.scope == "batch":
            counts, kept_anyway = self._shared_count(mask, full_lengths, reduction), kept_anyway.sum()[None]
            detached, free = detached.reshape(1, -1), free.reshape(1, -1)
        wanted = (counts - kept_anyway).clamp(min=0).float()
        low, high = detached.new_full((len(detached), 1), -100.0), detached.new_full((len(detached), 1), 100.0)
        for _ in range(30):
            middle = (low + high) / 2
            too_many = (_above_gumbel(detached - middle) * free).sum(1, keepdim=True) > wanted[:, None]
            low, high = torch.where(too_many, middle, low), torch.where(too_many, high, middle)
        above = (detached - (low + high) / 2).clamp(-_SURE, math.log(_SURE))
        odds = _above_gumbel(above).log() + above.exp()
        shift = odds.view(mask.shape) - logits.detach()
        return logits + shift.masked_fill(~free.view(mask.shape), 0.0)


def _above_gumbel(values: Tensor) -> Tensor:
    """Probability that ``values`` plus Gumbel noise is above 0."""
    return -torch.expm1(-values.exp())


Sampler = BernoulliSampler | BudgetedSampler


def mean_entropy(logits: Tensor) -> Tensor:
    """Return the mean of :func:`bernoulli_entropy`, a scalar; 0 where there was nothing to choose.

    Args:
        logits: ``(num_choices,)`` of keeping.
    """
    return bernoulli_entropy(logits).mean() if len(logits) else logits.new_zeros(())


def bernoulli_entropy(logits: Tensor) -> Tensor:
    """Entropy of Bernoulli(sigmoid(logits)) in nats, of the same shape."""
    return -(torch.sigmoid(logits) * logsigmoid(logits) + torch.sigmoid(-logits) * logsigmoid(-logits))
