"""Cloning the residual ranking before reinforcement learning (the released code's ``train_init``)."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from agents.base import Rollout
from agents.heuristics import ImportanceTokens
from agents.reinforce import Reinforce, padded_logits


class CentredAgent(Protocol):
    """An agent that tells the log-odds of its choices."""

    def centred_logits(self, rollout: Rollout, reduction: int) -> Tensor:
        """``(rows, max_tokens)``, with gradients."""
        ...


def keep_answers(agent: CentredAgent, rollout: Rollout, answers: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy of keeping the gold answer's tokens, at every reduction that they reach.

    A token of the answer that stops early costs nats, and its likelihood teaches the policy so by trial;
    where it stands, is known. Nothing is said of all other tokens: the budget keeps the balance.

    Args:
        agent: Whose choices are guided.
        rollout: What it did.
        answers: ``(rows, max_tokens)`` bool, the tokens of the gold answer.

    Returns:
        The loss, averaged over the tokens of the answers and summed over reductions; and the share of
        answer tokens that went on after the last reduction.
    """
    loss, alive = torch.zeros((), device=answers.device), answers
    for reduction, keep in enumerate(rollout.actions):
        if bool(alive.any()):
            loss = loss - logsigmoid(agent.centred_logits(rollout, reduction)[alive]).mean()
        alive = alive & keep
    total = int(answers.sum())
    return loss, float(alive.sum()) / total if total else 1.0


class ResidualCloning:
    """Teaches a REINFORCE agent's policy to keep what the residual importance ranks first.

    Args:
        agent: Whose policy is taught; its keep fractions say how many tokens are shown as kept.
        learning_rate: Of AdamW; constant.
    """

    info_scores: Literal["residual"] = "residual"

    def __init__(self, agent: Reinforce, learning_rate: float = 1e-3) -> None:
        self._agent = agent
        self._optimizer = torch.optim.AdamW(agent.policy.parameters(), lr=learning_rate, weight_decay=0.0)
        self._teacher = ImportanceTokens(agent.keep_fractions, len(agent.keep_fractions))

    def act(self, observation: dict[str, Tensor], infos: dict[str, Any], *, deterministic: bool = False) -> Tensor:
        """The residual top K."""
        return self._teacher.act(observation, infos)

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """One step of cross-entropy towards the masks shown."""
        losses = []
        for observation, infos, keep in zip(rollout.observations, rollout.infos, rollout.actions, strict=True):
            free = observation["token_mask"].bool() & ~infos["forced_tokens"]
            logits = padded_logits(self._agent.policy, observation, infos)[free]
            losses.append(binary_cross_entropy_with_logits(logits, keep[free].float()))
        loss = torch.stack(losses).sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return {"losses/cloning_loss": float(loss.detach())}

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser."""
        return {"agent": self._agent.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._agent.load_state_dict(state["agent"])
        self._optimizer.load_state_dict(state["optimizer"])
