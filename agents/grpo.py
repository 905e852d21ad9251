"""GRPO: a clipped policy gradient on returns that are normalised within each text's samples (Shao et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from agents.base import Rollout
from agents.policy_gradient import Choices, PolicyGradient, PolicyGradientOptions, check_samples
from trbert_env.ranges import Range

#: Deviation of returns that are equal but for rounding, as a share of them.
_EQUAL = 1e-5


@dataclass(frozen=True)
class GrpoOptions(PolicyGradientOptions):
    """Options of GRPO."""

    clip: Annotated[float, Range(above=0, below=1)] = 0.2
    """Clipping range of the probability ratio of a token (epsilon), which is 1 in the first step on a rollout."""

    steps_per_rollout: Annotated[int, Range(1)] = 2
    """Steps on each rollout, which share its learning rate; from the second on, ratios differ from 1."""


class Grpo(PolicyGradient):
    """Group-relative policy optimisation, without a value network and without a reference policy.

    The ratio is each token's own and clipped there: a product over hundreds of tokens would leave the
    clip range at once.
    """

    options_class = GrpoOptions
    options: GrpoOptions

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Several clipped steps on one rollout; see :class:`agents.base.Agent`.

        Raises:
            ValueError: There is one sample a text, which no other can be compared with: all advantages would be 0.
        """
        check_samples("group-relative optimisation", rollout.samples_per_text)
        with torch.no_grad():
            before = [self.choices(rollout, reduction) for reduction in range(len(rollout.actions))]
        for _ in range(self.options.steps_per_rollout):
            loss, metrics = self.loss(rollout, before)
            self.clear_gradients()
            loss.backward()
            metrics |= self.step(1.0 / self.options.steps_per_rollout)
        self.finish(rollout)
        return metrics

    def loss(self, rollout: Rollout, before: list[Choices] | None = None) -> tuple[Tensor, dict[str, float]]:
        """Minus the clipped surrogate, and metrics to log.

        Args:
            rollout: Episode that was played.
            before: The choices as the policy was that made them; as it is now where None.
        """
        advantages = self.advantages(rollout.returns, rollout.samples_per_text)[:, None]
        surrogate = torch.zeros_like(rollout.returns)
        entropies, clipped = [], []
        for reduction in range(len(rollout.actions)):
            now = self.choices(rollout, reduction)
            then = now.log_probabilities.detach() if before is None else before[reduction].log_probabilities
            ratio = torch.exp(now.log_probabilities - then)
            limited = ratio.clamp(1.0 - self.options.clip, 1.0 + self.options.clip)
            gain = torch.minimum(ratio * advantages, limited * advantages)
            surrogate = surrogate + self.over_tokens(torch.where(now.free, gain, 0.0), now.free)
            entropies.append(now.entropy)
            # Of the choices; there may be none, and the mean of nothing is NaN.
            clipped.append((ratio != limited)[now.free].float().sum() / now.free.sum().clamp(min=1))
        loss = -surrogate.mean()
        return loss, {
            "losses/policy_loss": float(loss.detach()),
            "losses/entropy": float(torch.stack(entropies).mean()),
            "losses/clipped_share": float(torch.stack(clipped).mean()),
        }

    def advantages(self, returns: Tensor, samples: int) -> Tensor:
        """``(rows,)``: returns in units of their deviation within the text; 0 where all samples earn the same."""
        grouped = returns.view(-1, samples)
        mean = grouped.mean(1, keepdim=True)
        deviation = grouped.std(1, correction=0, keepdim=True)
        # Equal returns differ from their mean by its rounding, which their deviation would blow up.
        differ = deviation > _EQUAL * (1.0 + mean.abs())
        return torch.where(differ, (grouped - mean) / (deviation + 1e-6), 0.0).flatten()
