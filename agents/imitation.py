"""Cloning a ranking of tokens before reinforcement learning.

The released code (``train_init``) clones the residual one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from agents.base import Rollout
from agents.heuristics import ImportanceTokens
from agents.policy_agent import PolicyAgent, policy_logits
from trbert_env.envs.packed import PackedObservation
from trbert_env.envs.settings import InfoScores


class RankingCloning:
    """Teaches an agent's policy to keep what an importance ranks first; a :class:`~agents.base.Learner`.

    Args:
        agent: Agent whose policy is taught; its keep fractions say how many tokens are shown as kept.
        learning_rate: Constant learning rate of AdamW.
        info_scores: Importance, as the environment gives it.
    """

    def __init__(self, agent: PolicyAgent, learning_rate: float = 1e-3, info_scores: InfoScores = "residual") -> None:
        self._agent, self.info_scores = agent, info_scores
        self._optimizer = torch.optim.AdamW(agent.policy.parameters(), lr=learning_rate, weight_decay=0.0)
        self._teacher = ImportanceTokens(agent.keep_fractions, len(agent.keep_fractions), info_scores)

    def act(self, observation: PackedObservation, *, deterministic: bool = False) -> Tensor:
        """Return the top K; see :class:`~agents.base.Actor`."""
        return self._teacher.act(observation)

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Take one step of cross-entropy towards the masks shown; see :class:`~agents.base.Learner`."""
        losses = []
        for observation, keep in zip(rollout.observations, rollout.actions, strict=True):
            free = observation.free
            if not bool(free.any()):  # nothing to show, and the mean of nothing is NaN
                continue
            logits = policy_logits(self._agent.policy, observation)[free]
            losses.append(binary_cross_entropy_with_logits(logits, keep[free].float()))
        if not losses:
            return {"losses/cloning_loss": 0.0}
        loss = torch.stack(losses).sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return {"losses/cloning_loss": float(loss.detach())}

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimiser."""
        return {"agent": self._agent.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._agent.load_state_dict(state["agent"])
        self._optimizer.load_state_dict(state["optimizer"])
