"""REINFORCE with several samples of each text (eq. 6), after an imitation warm-up (section 3.3).

With the leave-one-out baseline it is RLOO (Kool et al. 2019; Ahmadian et al. 2024), ``--agent rloo``: the mean of all
samples shrinks the gradient by (K - 1) / K; the mean of the other samples leaves it unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from agents.base import AgentSpec, Rollout
from agents.policy_gradient import PolicyGradient, PolicyGradientOptions, check_samples


@dataclass(frozen=True)
class ReinforceOptions(PolicyGradientOptions):
    """Options of REINFORCE."""

    baseline: Literal["mean", "leave-one-out", "none"] = "mean"
    """Value that a return is compared with: the mean of the text's samples, or of the other samples, or none."""


class Reinforce(PolicyGradient):
    """The policy-gradient agent of the paper; see :class:`PolicyGradient`.

    Args:
        spec: Environment that it is made for.
        options: See :class:`ReinforceOptions`.

    Raises:
        ValueError: Options that do not fit, or one sample a text, which no other can be compared with.
    """

    options_class = ReinforceOptions
    options: ReinforceOptions

    def __init__(self, spec: AgentSpec, options: ReinforceOptions) -> None:
        super().__init__(spec, options)
        if options.baseline == "leave-one-out":
            check_samples(f"baseline {options.baseline!r}", spec.samples_per_text)

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Take one step on a rollout; see :class:`agents.base.Agent`.

        Raises:
            ValueError: There is one sample a text, which no other can be compared with: all advantages would be 0.
        """
        if self.options.baseline != "none":
            check_samples(f"baseline {self.options.baseline!r}", rollout.samples_per_text)
        return super().learn(rollout)

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, float]]:
        """Return minus the surrogate whose gradient is eq. 6, and metrics to log."""
        advantages = self.advantages(rollout.returns, rollout.samples_per_text)
        log_probability, entropy = self.log_probability(rollout)
        loss = -(advantages * log_probability).mean()
        return loss, {
            "losses/policy_loss": float(loss.detach()),
            "losses/entropy": float(entropy),
            "losses/advantage_deviation": float(advantages.std()) if len(advantages) > 1 else 0.0,
        }

    def advantages(self, returns: Tensor, samples: int) -> Tensor:
        """Return ``(rows,)``: each return less its baseline, within the samples of a text (eq. 6)."""
        if self.options.baseline == "none":
            return returns
        grouped = returns.view(-1, samples)
        if self.options.baseline == "mean":
            return (grouped - grouped.mean(1, keepdim=True)).flatten()
        others = (grouped.sum(1, keepdim=True) - grouped) / (samples - 1)
        return (grouped - others).flatten()
