"""A trained policy as an agent: what the deployed model decides, inside the environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.base import FullLengths, Heuristic
from agents.policy_agent import padded_logits
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy


class TrainedPolicy(Heuristic):
    """Decides by a fixed policy and a decision rule.

    Args:
        policy: The network.
        decision: Threshold or fractions.
    """

    def __init__(self, policy: TokenPolicy, decision: DecisionRule) -> None:
        self.policy, self.decision = policy, decision
        self._lengths = FullLengths()

    def act(self, observation: dict[str, Tensor], infos: dict[str, Any], *, deterministic: bool = False) -> Tensor:
        """The same mask every time."""
        lengths, reduction = self._lengths.of(observation), int(observation["reduction"][0])
        with torch.no_grad():
            logits = padded_logits(self.policy, observation, infos)
        return self.decision(logits, observation["token_mask"].bool(), infos["forced_tokens"], lengths, reduction)
