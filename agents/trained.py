"""A trained policy as an actor: what the deployed model decides, inside the environment."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.policy_agent import policy_logits
from trbert_env.envs.packed import PackedObservation
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy


class TrainedPolicy:
    """Decides by a fixed policy and a decision rule; an :class:`~agents.base.Actor`.

    Args:
        policy: The network.
        decision: Threshold or fractions.
    """

    info_scores = None

    def __init__(self, policy: TokenPolicy, decision: DecisionRule) -> None:
        self.policy, self.decision = policy, decision

    def act(self, observation: PackedObservation, *, deterministic: bool = False) -> Tensor:
        """Return the same mask every time; see :class:`~agents.base.Actor`."""
        with torch.no_grad():
            logits = observation.pad(policy_logits(self.policy, observation))
        in_play, forced = observation.in_play, observation.forced
        keep = self.decision(logits, in_play, forced, observation.full_lengths, observation.reduction)
        return observation.gather(keep)
