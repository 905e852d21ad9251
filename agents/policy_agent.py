"""What every agent with a policy of eq. 2 shares: its options, phases and samplers, acting, and its biases."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from agents.base import Agent, AgentSpec, Rollout
from agents.samplers import BernoulliSampler, BudgetedSampler, Sampler
from trbert_env.encoder.cuts import MOST_CUTS
from trbert_env.envs.packed import PackedObservation
from trbert_env.ranges import Items, Range, check_ranges
from trbert_env.reduction.decision import DecisionRule, check_keep_fractions, keep_top
from trbert_env.reduction.policy import DEFAULT_POLICY_SIZE, TokenPolicy

#: About 2.07x fewer FLOPs in an encoder of 6 layers that is cut before layers 2 and 5.
DEFAULT_KEEP_FRACTIONS: tuple[float, ...] = (0.5, 0.2)
#: About 2x in one that is cut within each layer but the last; about what PoWER-BERT keeps of reviews (RESULTS.md).
GRADED_KEEP_FRACTIONS: tuple[float, ...] = (0.95, 0.8, 0.55, 0.16, 0.06)
#: Of the full length, one a reduction; tokens once skipped stay out, so they cannot rise.
KeepFractions = Annotated[tuple[Annotated[float, Range(above=0, most=1)], ...], Items(1, MOST_CUTS, order="falling")]


@dataclass(frozen=True)
class PolicyAgentOptions:
    """Options of every agent with a policy of eq. 2.

    Attributes:
        shares_budgets: False if the agent learns from minibatches, in which there are other texts than were played.
    """

    shares_budgets: ClassVar[bool] = True

    learning_rate: Annotated[float, Range(0)] = 3e-3
    """Peak learning rate of a rollout, shared out where an agent takes several steps on it; it falls linearly to 0."""

    sampler: Literal["bernoulli", "budgeted"] = "budgeted"
    """bernoulli: every token for itself, as in the paper; budgeted: exactly the keep fractions of every text."""

    keep_fractions: KeepFractions | None = None
    """Kept fractions of the budgeted sampler, one a reduction; 0.5 0.2 by default (0.5 for one reduction,
    0.5 0.2 0.2 for three, 0.95 0.8 0.55 0.16 0.06 for five), 0.89 0.12 in the demo."""

    exploration: tuple[Annotated[float, Range(above=0)], Annotated[float, Range(above=0)]] = (0.5, 0.2)
    """Noise of the budgeted sampler in units of the logits' deviation: at its start, and at its end."""

    budgeted_share: Annotated[float, Range(0, 1)] = 1.0
    """With the budgeted sampler: after this share of the run, go on with the Bernoulli sampler."""

    budget_scope: Literal["text", "batch"] | None = None
    """text: a budget for each text; batch: one for all texts of a batch, so that the count adapts to the text. By
    default batch where the task head reads first tokens alone, as of classes, else text."""

    imitation_fraction: Annotated[float, Range(0, 1)] | None = None
    """Share of the run in which one sample of each text keeps the residual top K; 0.2 for bernoulli, else 0."""

    policy_size: Annotated[int, Range(1)] = DEFAULT_POLICY_SIZE
    """Width of the policy heads."""

    overlap: bool = True
    """Lexical overlap of passage and question as an input of the policy; the paper's policy has none."""

    initial_keep_probability: Annotated[float, Range(above=0, below=1)] = 0.5
    """Keep probability of every token at the start."""

    max_gradient_norm: Annotated[float, Range(above=0)] = 1.0
    """Largest norm of the policy's gradient, which is scaled down to it."""

    def fractions(self, num_reductions: int) -> tuple[float, ...]:
        """Return the keep fractions, or their default, which fits any number of reductions.

        Raises:
            ValueError: Fractions were given, and not one for each reduction.

        Example:
            >>> PolicyAgentOptions().fractions(1), PolicyAgentOptions().fractions(3)
            ((0.5,), (0.5, 0.2, 0.2))
            >>> PolicyAgentOptions().fractions(4)
            (0.92, 0.7, 0.316, 0.08)
        """
        return check_keep_fractions(self.keep_fractions or _default_fractions(num_reductions), num_reductions)

    @property
    def resolved_imitation_fraction(self) -> float:
        """The paper's 20 % for its own sampler; under a budget it was measured to harm (RESULTS.md)."""
        if self.imitation_fraction is not None:
            return self.imitation_fraction
        return 0.2 if self.sampler == "bernoulli" else 0.0


def _default_fractions(num_reductions: int) -> tuple[float, ...]:
    """:data:`DEFAULT_KEEP_FRACTIONS` for up to three reductions, else :data:`GRADED_KEEP_FRACTIONS`, stretched."""
    if num_reductions <= 3:
        return (*DEFAULT_KEEP_FRACTIONS, DEFAULT_KEEP_FRACTIONS[-1])[:num_reductions]
    count = len(GRADED_KEEP_FRACTIONS)
    known = np.arange(1, count + 1) / (count + 1)
    places = np.arange(1, num_reductions + 1) / (num_reductions + 1)
    found = np.interp(places, known, GRADED_KEEP_FRACTIONS)
    return tuple(round(float(fraction), 4) for fraction in found)


class PolicyAgent(Agent):
    """A policy of eq. 2 and its sampler; what it learns from a rollout is a subclass's own.

    Args:
        spec: Environment that it is made for.
        options: See :class:`PolicyAgentOptions`.

    Raises:
        ValueError: Options that do not fit.
    """

    options_class: ClassVar[type[PolicyAgentOptions]] = PolicyAgentOptions

    def __init__(self, spec: AgentSpec, options: PolicyAgentOptions) -> None:
        check_ranges(options)
        self.options = options
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            self.policy = TokenPolicy(
                spec.hidden_size,
                spec.num_reductions,
                options.policy_size,
                options.initial_keep_probability,
                options.overlap,
            ).to(spec.device)
        self._generator = torch.Generator().manual_seed(spec.seed)
        self.keep_fractions = options.fractions(spec.num_reductions)
        self.samples_per_text = spec.samples_per_text
        self._progress = 0.0

    # -- what it does now ------------------------------------------------------------------------------

    @property
    def budgeted(self) -> bool:
        """Whether it samples under a budget now, so that no price changes what it costs."""
        return self.options.sampler == "budgeted" and self._progress < self.options.budgeted_share

    @property
    def ends_budgeted(self) -> bool:
        """Whether it samples under a budget to the end of its run."""
        return self.options.sampler == "budgeted" and self.options.budgeted_share >= 1.0

    @property
    def sampler(self) -> Sampler:
        """The sampler of the present phase."""
        if self.budgeted:
            start, end = self.options.exploration
            exploration = start + (end - start) * self._progress / self.options.budgeted_share
            return BudgetedSampler(self.keep_fractions, exploration, self.options.budget_scope or "text")
        return BernoulliSampler()

    @property
    def imitates(self) -> bool:
        """Whether one sample of each text follows the residual importance now."""
        return self._progress < self.options.resolved_imitation_fraction

    @property
    def info_scores(self) -> Literal["residual"] | None:
        """What the environment's infos must bring for the next action."""
        return "residual" if self.imitates else None

    @property
    def decision(self) -> DecisionRule:
        """How it decides when it is deterministic."""
        by_fractions = self.ends_budgeted and self.options.budget_scope != "batch"
        return DecisionRule(keep_fractions=self.keep_fractions if by_fractions else None)

    # -- acting ----------------------------------------------------------------------------------------

    def act(self, observation: PackedObservation, *, deterministic: bool = False) -> Tensor:
        """Return the keep mask of the tokens in play; see :class:`agents.base.Actor`."""
        in_play, forced = observation.in_play, observation.forced
        lengths, reduction = observation.full_lengths, observation.reduction
        with torch.no_grad():
            logits = observation.pad(policy_logits(self.policy, observation))
        if deterministic:
            return observation.gather(self.decision(logits, in_play, forced, lengths, reduction))
        noise = torch.rand(logits.shape, generator=self._generator).to(logits.device)
        keep = self.sampler.sample(logits, in_play, forced, lengths, reduction, noise)
        if self.imitates:
            counts = self.sampler.expected_counts(logits, in_play, forced, lengths, reduction)
            shown = keep_top(self._importance(observation), in_play, forced, counts)
            keep[:: self.samples_per_text] = shown[:: self.samples_per_text]
        return observation.gather(keep)

    def _importance(self, observation: PackedObservation) -> Tensor:
        """``(rows, width)`` residual scores.

        Raises:
            ValueError: The observation brings none.
        """
        if observation.importance is None:
            raise ValueError("the observation has no importance to imitate: set info_scores='residual'")
        return observation.pad(observation.importance)

    # -- learning --------------------------------------------------------------------------------------

    @abstractmethod
    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Update from one rollout and :meth:`finish` it; see :class:`agents.base.Agent`."""

    def finish(self, rollout: Rollout) -> None:
        """Move on behind the last step on a rollout: biases, phase and rates."""
        sampler = self.sampler
        if isinstance(sampler, BudgetedSampler):
            hands_over = self.options.budgeted_share < 1.0 and rollout.progress >= self.options.budgeted_share
            self._centre_biases(rollout, sampler, rate=1.0 if hands_over else 0.1, sharpen=hands_over)
        self._progress = rollout.progress

    def _centre_biases(self, rollout: Rollout, sampler: BudgetedSampler, rate: float, sharpen: bool) -> None:
        """Shift the biases so that probability 1/2 stands at the budget; a budgeted choice does not see it.

        What is learned is then ready for a threshold of 0.5 and, once the logits are divided by the
        temperature that they were sampled at, for the Bernoulli sampler.

        Args:
            rollout: Episode that says where the budget stands.
            sampler: Sampler, which knows the temperature.
            rate: Share of the way that the biases go.
            sharpen: True to divide the logits by their temperature.
        """
        with torch.no_grad():
            for reduction, (observation, keep) in enumerate(zip(rollout.observations, rollout.actions, strict=True)):
                free = observation.free
                if not bool(free.any()):
                    continue
                logits = policy_logits(self.policy, observation)
                shift = rate * float(torch.quantile(logits[free], 1.0 - keep[free].float().mean()))
                scale = float(sampler.temperature(logits, free)) if sharpen else 1.0
                self.policy.rescale(reduction, shift, scale)

    # -- going on later --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Weights, generator and progress."""
        return {
            "policy": self.policy.state_dict(),
            "generator": self._generator.get_state(),
            "progress": self._progress,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.policy.load_state_dict(state["policy"])
        self._generator.set_state(state["generator"])
        self._progress = state["progress"]


def policy_logits(policy: TokenPolicy, observation: PackedObservation) -> Tensor:
    """Return a policy's logits of keeping the tokens in play, ``(total,)`` float32."""
    logits: Tensor = policy(observation.states, observation.reduction, observation.overlap)
    return logits
