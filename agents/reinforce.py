"""REINFORCE with several samples of each text (eq. 6), after an imitation warm-up (section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from agents.base import Rollout
from agents.policy_agent import PolicyAgentOptions
from agents.policy_gradient import PolicyGradient


@dataclass(frozen=True)
class ReinforceOptions(PolicyAgentOptions):
    """What REINFORCE can be told."""

    baseline: Literal["mean", "leave-one-out", "none"] = "mean"
    """What a return is compared with: the mean of the text's samples, or of the other samples, or nothing."""


class Reinforce(PolicyGradient):
    """The policy-gradient agent of the paper; see :class:`PolicyGradient`."""

    options_class = ReinforceOptions
    options: ReinforceOptions

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, float]]:
        """Minus the surrogate whose gradient is eq. 6, and figures to log."""
        advantages = self.advantages(rollout.returns, rollout.samples_per_text)
        log_probability, entropy = self.log_probability(rollout)
        loss = -(advantages * log_probability).mean()
        return loss, {
            "losses/policy_loss": float(loss.detach()),
            "losses/entropy": float(entropy),
            "losses/advantage_deviation": float(advantages.std()),
        }

    def advantages(self, returns: Tensor, samples: int) -> Tensor:
        """``(rows,)``: each return less its baseline, within the samples of a text (eq. 6)."""
        if self.options.baseline == "none":
            return returns
        grouped = returns.view(-1, samples)
        advantages = grouped - grouped.mean(1, keepdim=True)
        if self.options.baseline == "leave-one-out" and samples > 1:
            advantages = advantages * (samples / (samples - 1))
        return advantages.flatten()
