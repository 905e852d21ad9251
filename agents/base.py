"""What every agent does, and what it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """One episode of all rows: ``rows`` = texts times samples, copies of a text as neighbours.

    Attributes:
        observations: The T observations that were acted on; tensors.
        infos: The T infos that came with them.
        actions: ``(rows, max_tokens)`` bool keep masks, T of them.
        rewards: ``(T, rows)`` float32.
        final_info: ``log_likelihood``, ``kept_tokens``, ``full_flops``, ``reduced_flops`` of the rows.
        samples_per_text: Rows of each text.
        progress: How much of the run is done, in [0, 1].
    """

    observations: list[dict[str, Tensor]]
    infos: list[dict[str, Any]]
    actions: list[Tensor]
    rewards: Tensor
    final_info: dict[str, Any]
    samples_per_text: int
    progress: float

    @property
    def returns(self) -> Tensor:
        """``(rows,)`` float32: R of eq. 4."""
        return self.rewards.sum(0)


@dataclass(frozen=True)
class AgentSpec:
    """What an agent is made for.

    Attributes:
        hidden_size: Width of the hidden states.
        num_reductions: T: actions of an episode.
        max_tokens: Width of the observations.
        samples_per_text: Rows of each text; copies are neighbours.
        seed: Of its weights and its choices.
        device: Where tensors are.
    """

    hidden_size: int
    num_reductions: int
    max_tokens: int
    samples_per_text: int
    seed: int
    device: str


@runtime_checkable
class Agent(Protocol):
    """An algorithm: acts on observations and learns from rollouts.

    A class of one's own (``--agent package.module:Class``) is made by ``Class(spec, **options)``, with an
    :class:`AgentSpec` and what ``--agent-options`` says. Where it has attributes ``policy`` (a
    :class:`~trbert_env.reduction.policy.TokenPolicy`) and ``decision``, a run ends in a model to ship; else it is
    evaluated as it acts. With an attribute ``info_scores``, infos bring those scores.
    """

    def act(self, observation: dict[str, Tensor], infos: dict[str, Any], *, deterministic: bool = False) -> Tensor:
        """Keep masks, ``(rows, max_tokens)`` bool.

        Args:
            observation: The environment's, as tensors.
            infos: The infos that came with it.
            deterministic: True in evaluation.
        """
        ...

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Update from one rollout; returns figures to log, such as ``losses/policy_loss``."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs: tensors, numbers, strings, lists and dicts of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


class Heuristic:
    """An agent with nothing to learn and no state."""

    def act(self, observation: dict[str, Tensor], infos: dict[str, Any], *, deterministic: bool = False) -> Tensor:
        """Keep masks; see :class:`Agent`."""
        raise NotImplementedError

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


class FullLengths:
    """Remembers every row's full length from the first observation of an episode on."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._lengths = torch.zeros(0)

    def of(self, observation: dict[str, Tensor]) -> Tensor:
        """``(rows,)`` int64 tokens of each row's whole text."""
        if int(observation["reduction"][0]) == 0:
            self._lengths = observation["token_mask"].sum(1)
        return self._lengths
