"""Stage 3: the encoder and the agent learn together, on masks that the agent samples."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from agents.base import Actor, Learner, Rollout
from agents.distillation import Teacher, computing_in
from agents.heuristics import KeepAll
from agents.learning import LearningOptions, warmup_decay
from agents.rollouts import rollout_metrics
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText
from trbert_env.envs.episode import Episode, Outcome, repeat_texts
from trbert_env.envs.reward import LengthPrice, Reward
from trbert_env.ranges import Range
from trbert_env.staged_model import StagedModel


@dataclass(frozen=True)
class JointOptions(LearningOptions):
    """Options of joint training."""

    states_weight: Annotated[float, Range(0)] = 0.0
    """Weight of the squared distance between the last states that the task head reads and the teacher's."""

    policy_weight: Annotated[float, Range(0, 1)] = 0.0
    """Share of the policy loss's gradient that reaches the encoder through the states; 1 is the paper's."""

    reward: Reward = "likelihood"
    """likelihood: of the gold answer, as in stage 2 (eq. 4); distillation: minus the distance to the teacher."""

    @property
    def needs_teacher(self) -> bool:
        """Whether anything is learned from the teacher."""
        return self.states_weight > 0 or self.needs_teacher_logits

    @property
    def needs_teacher_logits(self) -> bool:
        """Whether anything is learned from what the teacher answers, and not from its states alone."""
        return self.distillation > 0 or self.reward == "distillation"


@dataclass(frozen=True)
class JointLearnerOptions(JointOptions):
    """Options of joint training, with those that a run works out from its task and device."""

    exit_offset_rate: float = 0.01
    """Learning rate of the exit offsets; 0 leaves them as they are."""

    autocast: str = "float32"
    """Number format that the encoder computes in: float32 or bfloat16."""


class JointAgent(Learner, Protocol):
    """An agent whose loss can be added to another's: what joint training needs beyond :class:`~agents.base.Learner`."""

    @property
    def samples_per_text(self) -> int:
        """Rows of each text."""
        ...

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, float]]:
        """What it descends on, with gradients, and metrics to log."""
        ...

    def clear_gradients(self) -> None:
        """Forget the gradients of the last step."""
        ...

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Step along the gradients that its parameters hold; returns metrics to log."""
        ...


class JointLearner:
    """Trains an encoder, its task head, exit offsets and an agent on one loss.

    One step plays the texts with gradients, exactly as the environment plays them without: the agent
    sees the observations and samples masks, the encoder runs on what they keep, and every token's last
    state goes to the task head, those of stopped tokens too. The loss is the task's (gold answer,
    teacher, or a mix) plus the agent's own.

    Args:
        staged: The model; trained in place, in float32, with the offsets on its logits.
        agent: Agent that acts and learns; None skips nothing (the unreduced control).
        options: See :class:`JointLearnerOptions`.
        teacher: Source of the soft targets; needed unless ``distillation`` is 0 and the
            reward is the likelihood.
        price: Price of kept tokens.

    Raises:
        ValueError: A teacher is needed and missing, or its states are compared and of another size or other tokens.
    """

    def __init__(
        self,
        staged: StagedModel,
        agent: JointAgent | None,
        options: JointLearnerOptions,
        teacher: Teacher | None,
        price: LengthPrice,
    ) -> None:
        if options.needs_teacher and teacher is None:
            raise ValueError("distillation needs a teacher: give one, or set distillation 0 and reward 'likelihood'")
        if options.states_weight and teacher is not None:
            _check_states(teacher, staged)
        self.staged, self.agent = staged, agent
        self.options, self.price = options, price
        self.samples = 1 if agent is None else agent.samples_per_text
        self._actor: Actor = KeepAll() if agent is None else agent
        self._teacher = teacher
        staged.model.requires_grad_(True)
        groups: list[dict[str, Any]] = [{"params": list(staged.model.parameters()), "weight_decay": 0.01}]
        self._rates = [options.peak_rate]
        if options.exit_offset_rate and agent is not None:
            for parameter, rate in staged.exit_offsets.learning_rates(options.exit_offset_rate):
                groups.append({"params": [parameter], "weight_decay": 0.0})
                self._rates.append(rate)
        self._optimizer = torch.optim.AdamW(groups, lr=options.peak_rate, fused=True)

    def step(self, parts: Sequence[Sequence[EncodedText]], progress: tuple[float, float]) -> dict[str, float]:
        """One update on several parts of a batch, whose gradients are averaged.

        Args:
            parts: The texts, in parts that fit the memory one after the other; of equal size.
            progress: Share of the run that is done before and after this step, in [0, 1].

        Returns:
            Metrics to log, averaged over the parts.
        """
        self._optimizer.zero_grad(set_to_none=True)
        if self.agent is not None:
            self.agent.clear_gradients()
        sums: dict[str, float] = {}
        for texts in parts:
            rollout, loss, metrics = self.loss(texts, progress[1])
            (loss / len(parts)).backward()
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value / len(parts)
        return sums | self._update(rollout, progress)

    def loss(self, texts: Sequence[EncodedText], progress: float) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Play texts with gradients; returns the rollout, the whole loss and metrics to log."""
        with torch.enable_grad():
            rollout, outcome = self._play(texts, progress)
            gold = -outcome.log_likelihood.mean()
            metrics = {"losses/task_loss": float(gold.detach())}
            share = self.options.distillation
            loss = (1.0 - share) * gold
            if self.options.needs_teacher:
                teacher_logits, states = self._taught(texts, outcome.layout)
                distances = self.staged.task.divergence(
                    outcome.logits,
                    teacher_logits,
                    outcome.layout,
                    self.staged.task.targets(outcome.texts),
                    self.options.temperature,
                )
                loss = loss + share * distances.mean()
                metrics["losses/distillation_loss"] = float(distances.detach().mean())
                if self.options.reward == "distillation":
                    rollout.rewards[-1] -= (distances + outcome.log_likelihood).detach()
                if states is not None:
                    distance = self._state_distance(states, outcome)
                    loss = loss + self.options.states_weight * distance
                    metrics["losses/state_distance"] = float(distance.detach())
            if self.agent is not None:
                policy_loss, policy_metrics = self.agent.loss(rollout)
                loss, metrics = loss + policy_loss, metrics | policy_metrics
        return rollout, loss, metrics | rollout_metrics(rollout)

    def _play(self, texts: Sequence[EncodedText], progress: float) -> tuple[Rollout, Outcome]:
        device = self.staged.device
        width = max(len(text) for text in texts)
        with self._computing():
            episode = Episode(self.staged, texts, self.samples, gradients=True)
        observations, actions, rewards = [], [], []
        while not episode.forward.done:
            observation = episode.observation(width)
            observation = replace(observation, states=scale_gradient(observation.states, self.options.policy_weight))
            keep = self._actor.act(observation)
            with self._computing():
                reward = episode.step(keep, self.price)
            observations.append(observation)
            actions.append(keep)
            rewards.append(reward.float().to(device))
        with self._computing():
            outcome = episode.outcome()
        rewards[-1] = rewards[-1] + outcome.log_likelihood.detach()
        final = {name: value.detach() for name, value in outcome.metrics().items()}
        return Rollout(observations, actions, torch.stack(rewards), final, self.samples, progress), outcome

    def _taught(self, texts: Sequence[EncodedText], layout: Layout) -> tuple[Tensor, Tensor | None]:
        """The teacher's logits, and the states that the head reads where they are learned from, float32.

        Each text's come as often as it has samples, which ``layout`` counts.
        """
        assert self._teacher is not None
        counts = self.staged.task.row_counts(layout)[:: self.samples]
        if not self.options.states_weight:
            return repeat_texts(self._teacher.logits(texts), counts, self.samples), None
        logits, states = self._teacher.logits_and_read_states(texts)
        read = counts if self._teacher.reads_first_tokens else layout.text_lengths.cpu()[:: self.samples]
        return repeat_texts(logits, counts, self.samples), repeat_texts(states, read, self.samples)

    def _state_distance(self, states: Tensor, outcome: Outcome) -> Tensor:
        """Mean squared distance to the teacher's states of what the head reads, of the tokens that went to the end."""
        assert self._teacher is not None
        if self._teacher.reads_first_tokens:
            return mse_loss(outcome.states[outcome.layout.first_tokens].float(), states)
        read = outcome.stops == self.staged.num_reductions
        return mse_loss(outcome.states[read].float(), states[read])

    def _update(self, rollout: Rollout, progress: tuple[float, float]) -> dict[str, float]:
        factor = warmup_decay(*progress, self.options.warmup)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        norm = torch.nn.utils.clip_grad_norm_(self.staged.model.parameters(), self.options.max_encoder_norm)
        self._optimizer.step()
        metrics = {"losses/encoder_gradient_norm": float(norm), "charts/learning_rate": self._rates[0] * factor}
        return metrics if self.agent is None else metrics | self.agent.update(rollout)

    def _computing(self) -> AbstractContextManager[object]:
        return computing_in(self.options.autocast, self.staged.device)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimisers and the agent's state."""
        return {
            "model": self.staged.model.state_dict(),
            "calibration": self.staged.exit_offsets.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "agent": None if self.agent is None else self.agent.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.staged.model.load_state_dict(state["model"])
        self.staged.exit_offsets.load_state_dict(state["calibration"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self.agent is not None:
            self.agent.load_state_dict(state["agent"])


def scale_gradient(values: Tensor, factor: float) -> Tensor:
    """The same values, whose gradient is multiplied by ``factor``.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> scale_gradient(3 * x, 0.5).sum().backward()
        >>> x.grad.tolist()
        [1.5, 1.5]
    """
    if factor == 1.0:
        return values
    fixed = values.detach()
    return fixed if factor == 0.0 else fixed + factor * (values - fixed)


def _check_states(teacher: Teacher, staged: StagedModel) -> None:
    """Refuse to compare states of another size, or of tokens that only one of the two heads reads."""
    taught, own = teacher.encoder.hidden_size, staged.encoder.hidden_size
    if taught != own:
        raise ValueError(
            f"the teacher's states have {taught} numbers, the encoder's {own}: give a teacher of the same size, or "
            "leave --states-weight out"
        )
    if teacher.reads_first_tokens != staged.reads_first_tokens:
        theirs, ours = ("first tokens" if one.reads_first_tokens else "all tokens" for one in (teacher, staged))
        raise ValueError(
            f"the teacher's head reads {theirs}, the encoder's {ours}: give a teacher that pools alike, or leave "
            "--states-weight out"
        )
