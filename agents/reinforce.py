"""REINFORCE with several samples of each text (eq. 6), after an imitation warm-up (section 3.3)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from agents.base import Rollout
from agents.policy_gradient import PolicyGradient, PolicyGradientOptions


@dataclass(frozen=True)
class ReinforceOptions(PolicyGradientOptions):
    """Options of REINFORCE."""

    baseline: Literal["mean", "leave-one-out", "none"] = "mean"
    """Value that a return is compared with: the mean of the text's samples, or of the other samples, or none."""


class ReturnGradient(PolicyGradient):
    """The policy gradient of eq. 6; what a return is compared with is a subclass's own."""

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

    @abstractmethod
    def advantages(self, returns: Tensor, samples: int) -> Tensor:
        """Return ``(rows,)``: each return less its baseline, within the samples of a text."""


class Reinforce(ReturnGradient):
    """The policy-gradient agent of the paper; see :class:`PolicyGradient`."""

    options_class = ReinforceOptions
    options: ReinforceOptions

    def advantages(self, returns: Tensor, samples: int) -> Tensor:
        """``(rows,)``: each return less its baseline, within the samples of a text (eq. 6)."""
        if self.options.baseline == "none":
            return returns
        grouped = returns.view(-1, samples)
        advantages = grouped - grouped.mean(1, keepdim=True)
        if self.options.baseline == "leave-one-out" and samples > 1:
            advantages = advantages * (samples / (samples - 1))
        return advantages.flatten()
