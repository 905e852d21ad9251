"""Agents on padded observations, as Gymnasium gives them: what a plug-in is unless it derives from ``Agent``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from agents.base import Learner, Rollout, ShippableAgent
from trbert_env.envs.packed import PackedObservation
from trbert_env.envs.settings import InfoScores
from trbert_env.validation import check_action


@dataclass(frozen=True)
class PaddedRollout:
    """One episode of all rows, padded: ``rows`` = texts times samples, copies of a text as neighbours.

    Attributes:
        observations: The T observations that were acted on; tensors.
        infos: The T infos that came with them: ``forced_tokens``, ``overlap``, ``text_id``, ``importance``.
        actions: Keep masks, ``(rows, max_tokens)`` bool, T of them.
        rewards: ``(T, rows)`` float32.
        final_info: ``log_likelihood``, ``has_gold``, ``kept_tokens``, ``full_flops``, ``reduced_flops`` of the rows.
        samples_per_text: Rows of each text.
        progress: Share of the run that is done once this rollout is learned from, in [0, 1].
    """

    observations: list[dict[str, Tensor]]
    infos: list[dict[str, Any]]
    actions: list[Tensor]
    rewards: Tensor
    final_info: dict[str, Tensor]
    samples_per_text: int
    progress: float

    @classmethod
    def of(cls, rollout: Rollout) -> PaddedRollout:
        """Pad a rollout."""
        pairs = list(zip(rollout.observations, rollout.actions, strict=True))
        return cls(
            [observation.padded() for observation, _ in pairs],
            [observation.padded_infos() for observation, _ in pairs],
            [observation.pad(action) for observation, action in pairs],
            rollout.rewards,
            rollout.final_info,
            rollout.samples_per_text,
            rollout.progress,
        )

    @property
    def returns(self) -> Tensor:
        """``(rows,)`` float32: R of eq. 4."""
        return self.rewards.sum(0)


@runtime_checkable
class PaddedAgent(Protocol):
    """An algorithm on padded observations; see :mod:`agents.base` for how it is made."""

    def act(self, observation: dict[str, Tensor], infos: dict[str, Any], *, deterministic: bool = False) -> Tensor:
        """Return keep masks, ``(rows, max_tokens)`` bool.

        Args:
            observation: The environment's, as tensors.
            infos: The infos that came with it.
            deterministic: True in evaluation.
        """
        ...

    def learn(self, rollout: PaddedRollout) -> dict[str, float]:
        """Update from one rollout; returns metrics to log, such as ``losses/policy_loss``."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: tensors, numbers, strings, lists and dicts of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


@runtime_checkable
class WantsScores(Protocol):
    """An agent whose infos must bring ``importance``."""

    @property
    def info_scores(self) -> InfoScores | None:
        """The scores that are wanted; None for none."""
        ...


class PaddedLearner:
    """Lets an agent on padded observations act and learn where packed ones are used.

    Args:
        agent: Acts and learns.
    """

    def __init__(self, agent: PaddedAgent) -> None:
        self.agent = agent

    @property
    def info_scores(self) -> InfoScores | None:
        """The importance that the next observation must bring; see :class:`agents.base.Actor`."""
        return self.agent.info_scores if isinstance(self.agent, WantsScores) else None

    def act(self, observation: PackedObservation, *, deterministic: bool = False) -> Tensor:
        """Return the keep mask of the tokens in play; see :class:`agents.base.Actor`.

        Raises:
            ValueError: The agent gave something else than one mask of 0 and 1 a row.
        """
        padded, infos = observation.padded(), observation.padded_infos()
        keep = torch.as_tensor(self.agent.act(padded, infos, deterministic=deterministic))
        rows, width = observation.in_play.shape
        if keep.shape != (rows, width):
            raise ValueError(f"act() gave masks of shape {tuple(keep.shape)}: give {(rows, width)}, (rows, max_tokens)")
        return observation.gather(check_action(keep, (rows, width), observation.in_play.device))

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Update from one rollout; see :class:`agents.base.Learner`."""
        return self.agent.learn(PaddedRollout.of(rollout))

    def state_dict(self) -> dict[str, Any]:
        """Return the agent's state."""
        return self.agent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.agent.load_state_dict(state)


def shippable(learner: Learner) -> ShippableAgent | None:
    """Return what of a learner ends in a model to ship; None where it is evaluated as it acts."""
    agent: object = learner.agent if isinstance(learner, PaddedLearner) else learner
    return agent if isinstance(agent, ShippableAgent) else None
