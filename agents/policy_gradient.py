"""What policy-gradient agents share: log-probabilities of what was chosen, and the step along a gradient."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agents.base import Rollout
from agents.policy_agent import PolicyAgent, PolicyAgentOptions, policy_logits
from agents.samplers import mean_entropy


@dataclass(frozen=True)
class PolicyGradientOptions(PolicyAgentOptions):
    """Options of every policy-gradient agent."""

    log_probability: Literal["sum", "mean"] = "sum"
    """Log-probability of a mask: the sum over its tokens (eq. 6), or the mean over those of a reduction."""


def check_samples(what: str, samples: int) -> None:
    """Refuse one sample a text where samples of a text are compared: all advantages would be 0.

    Args:
        what: Name of what compares them, for the message.
        samples: Samples of a text.

    Raises:
        ValueError: There is one.
    """
    if samples < 2:
        raise ValueError(
            f"{what} compares samples of a text, and there is {samples}: raise --samples-per-text (samples_per_text)"
        )


@dataclass(frozen=True)
class Choices:
    """What was chosen at one reduction.

    Attributes:
        log_probabilities: ``(rows, max_tokens)``, with gradients; 0 where there was no choice.
        free: ``(rows, max_tokens)`` bool: where there was one.
        entropy: Mean entropy of a choice, nats.
    """

    log_probabilities: Tensor
    free: Tensor
    entropy: Tensor


class PolicyGradient(PolicyAgent):
    """Descends on a loss that a subclass works out of a rollout; made as :class:`PolicyAgent` says."""

    options_class: ClassVar[type[PolicyAgentOptions]] = PolicyGradientOptions
    options: PolicyGradientOptions

    @cached_property
    def _optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.policy.parameters(), lr=self.options.learning_rate, weight_decay=0.0)

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """One step along the gradient of :meth:`loss`; see :class:`agents.base.Agent`."""
        loss, metrics = self.loss(rollout)
        self.clear_gradients()
        loss.backward()
        return metrics | self.update(rollout)

    @abstractmethod
    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, float]]:
        """What a step descends on, and metrics to log.

        Where the observations carry gradients, as in joint training, it reaches the encoder too.
        """

    def clear_gradients(self) -> None:
        """Forget the gradients of the last step."""
        self._optimizer.zero_grad(set_to_none=True)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Step along the gradients that the policy's parameters hold; returns metrics to log.

        Args:
            rollout: The last that they came from.
        """
        metrics = self.step()
        self.finish(rollout)
        return metrics

    def step(self, share: float = 1.0) -> dict[str, float]:
        """One step of the optimiser; returns metrics to log.

        Args:
            share: Share of the learning rate that a rollout has.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.options.learning_rate * (1.0 - self._progress) * share
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.options.max_gradient_norm)
        self._optimizer.step()
        return {"losses/gradient_norm": float(norm)}

    def log_probability(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Log-probability of each row's masks, ``(rows,)`` with gradients, and the mean entropy of a choice.

        Forced and padded tokens contribute 0.
        """
        choices = [self.choices(rollout, reduction) for reduction in range(len(rollout.actions))]
        total = torch.stack([self.over_tokens(choice.log_probabilities, choice.free) for choice in choices]).sum(0)
        return total, torch.stack([choice.entropy for choice in choices]).mean()

    def choices(self, rollout: Rollout, reduction: int) -> Choices:
        """What was chosen at a reduction, as the policy now is; with gradients."""
        observation = rollout.observations[reduction]
        in_play, forced = observation.in_play, observation.forced
        logits = observation.pad(policy_logits(self.policy, observation))
        logits = self.sampler.log_odds(logits, in_play, forced, observation.full_lengths, reduction)
        free = in_play & ~forced
        signed = torch.where(observation.pad(rollout.actions[reduction]), logits, -logits)
        log_probabilities = torch.where(free, logsigmoid(signed), 0.0)
        return Choices(log_probabilities, free, mean_entropy(logits.detach()[free]))

    def over_tokens(self, values: Tensor, free: Tensor) -> Tensor:
        """``(rows,)``: values of tokens summed or averaged over those that could be chosen, as the options say."""
        row = values.sum(1)
        return row if self.options.log_probability == "sum" else row / free.sum(1).clamp(min=1)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, generator and progress."""
        return super().state_dict() | {"optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        super().load_state_dict(state)
        self._optimizer.load_state_dict(state["optimizer"])
