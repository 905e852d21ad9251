"""What acts, what learns, and what it learns from.

====================  ===========================================================================
:class:`Actor`        acts on packed observations: a heuristic, a trained policy
:class:`Learner`      an actor that also learns from rollouts and can be saved: what a run trains
:class:`Agent`        a learner made by ``Class(spec, options)``: an algorithm
``PaddedAgent``       the same on padded observations; see :mod:`agents.padded`
:class:`ShippableAgent`  what a run ends in a model of
====================  ===========================================================================

An algorithm of one's own (``--agent package.module:Class``) is a class with ``act``, ``learn``, ``state_dict`` and
``load_state_dict``, made by ``Class(spec, options)`` as the project's own are. ``spec`` is an :class:`AgentSpec`.
``options`` is an instance of ``Class.options_class``, a dataclass of what ``--agent-options`` may set, with ranges
declared as in :mod:`trbert_env.ranges`; of :class:`NoOptions` where the class declares none. A class that derives from
:class:`Agent` acts on packed observations; any other on padded ones, as Gymnasium gives them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from trbert_env.envs.packed import PackedObservation
from trbert_env.envs.settings import InfoScores
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy


@dataclass(frozen=True)
class Rollout:
    """One episode of all rows: ``rows`` = texts times samples, copies of a text as neighbours.

    Attributes:
        observations: The T observations that were acted on.
        actions: Keep masks of the tokens in play, ``(total,)`` bool, T of them; packed as the observations are.
        rewards: ``(T, rows)`` float32.
        final_info: ``log_likelihood``, ``has_gold``, ``kept_tokens``, ``full_flops``, ``reduced_flops`` of the rows.
        samples_per_text: Rows of each text.
        progress: Share of the run that is done once this rollout is learned from, in [0, 1].
    """

    observations: list[PackedObservation]
    actions: list[Tensor]
    rewards: Tensor
    final_info: dict[str, Tensor]
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
        max_tokens: Width of padded observations.
        samples_per_text: Rows of each text; copies are neighbours.
        seed: Seed of its weights and its choices.
        device: Device of the tensors.
    """

    hidden_size: int
    num_reductions: int
    max_tokens: int
    samples_per_text: int
    seed: int
    device: str

    @classmethod
    def of_env(cls, env: TokenReductionVectorEnv, seed: int = 0) -> AgentSpec:
        """Describe an environment to an agent."""
        samples, device = env.samples_per_text, str(env.device)
        return cls(env.hidden_size, env.num_reductions, env.max_tokens, samples, seed, device)


class Actor(Protocol):
    """Chooses which tokens go on."""

    @property
    def info_scores(self) -> InfoScores | None:
        """The importance that the next observation must bring; None for none."""
        ...

    def act(self, observation: PackedObservation, *, deterministic: bool = False) -> Tensor:
        """Return the keep mask of the tokens in play, ``(total,)`` bool.

        Args:
            observation: The tokens in play, packed.
            deterministic: True in evaluation.
        """
        ...


class Learner(Actor, Protocol):
    """An actor that learns from rollouts."""

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Update from one rollout; returns metrics to log, such as ``losses/policy_loss``."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: tensors, numbers, strings, lists and dicts of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


@dataclass(frozen=True)
class NoOptions:
    """Options of an agent that has none."""


class Agent(ABC):
    """An algorithm on packed observations; see the module for how it is made.

    Args:
        spec: Environment that it is made for.
        options: An instance of :attr:`options_class`.
    """

    #: The dataclass of its options.
    options_class: ClassVar[type[Any]] = NoOptions

    @abstractmethod
    def __init__(self, spec: AgentSpec, options: Any) -> None:
        """Make one; see the class."""

    @property
    def info_scores(self) -> InfoScores | None:
        """The importance that the next observation must bring; see :class:`Actor`."""
        return None

    @abstractmethod
    def act(self, observation: PackedObservation, *, deterministic: bool = False) -> Tensor:
        """Return the keep mask of the tokens in play; see :class:`Actor`."""

    @abstractmethod
    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Update from one rollout; see :class:`Learner`."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs; see :class:`Learner`."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""


@runtime_checkable
class ShippableAgent(Protocol):
    """An agent whose run ends in a model to ship; any other is evaluated as it acts."""

    @property
    def policy(self) -> TokenPolicy:
        """The network that is shipped."""
        ...

    @property
    def decision(self) -> DecisionRule:
        """How the shipped model turns logits into masks."""
        ...
