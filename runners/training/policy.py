"""Stage 2: its phases and its updates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.base import AgentSpec, Learner, Rollout
from agents.exit_offset_fit import ExitOffsetFit
from agents.imitation import RankingCloning
from agents.padded import shippable
from agents.policy_agent import PolicyAgent
from agents.registry import (
    make_agent,
)
from agents.rollouts import RolloutCollector, rollout_metrics
from runners.cli.options import resolve_device
from runners.cli.run import UserError
from runners.evaluation.speed_table import settle_speed
from runners.evaluation.text_rendering import text_sample
from runners.runs.tracking import Tracker
from runners.runs.tree import decode_tree, encode_tree, floating_tensors
from runners.training.budgets import Budgets, check_price
from runners.training.loading import Splits
from runners.training.loop import milestones
from runners.training.options.policy import TrainPolicyOptions
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.start import Start
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.cost import CostModel, policy_flops_per_token
from trbert_env.reduction.exit_offsets import ExitOffsets

#: Times along a run that a text is shown as the agent reduces it.
SAMPLES_PER_RUN = 4


@dataclass(frozen=True)
class Phase:
    """One part of a run.

    Attributes:
        name: Shown in the progress bar.
        env: Environment to act in.
        agent: Agent that learns.
        updates: Number of updates.
        texts_per_update: Texts of one update.
    """

    name: str
    env: TokenReductionVectorEnv
    agent: Learner
    updates: int
    texts_per_update: int


class PolicyTraining:
    """A run of stage 2: its phases, how far it is, and its checkpoints.

    Args:
        start: Start of the run, and its options.
        splits: The texts; those of :attr:`~runners.training.loading.Splits.practice` are learned from. Budgets, and
            the speeds of the model, are of the training texts; a price holds the former to a speed-up.
        device: Device to compute on.
    """

    def __init__(self, start: Start[TrainPolicyOptions], splits: Splits, device: str) -> None:
        self.options = options = start.options.for_workload(splits.train, splits.practice)
        self.workload = workload = splits.train
        self._practice = splits.practice
        training, run = options.training, options.run
        self._device, self._dtype = device, training_dtype(run.dtype, resolve_device(run.device))
        env = self._make_env(training.texts_per_step, training.samples_per_text)
        self.encoder, self.exit_offsets = env.encoder, env.exit_offsets
        rate = training.calibration_rate
        self._exit_offset_fit = ExitOffsetFit(self.exit_offsets, workload.task, rate) if rate else None
        spec = AgentSpec.of_env(env, run.seed)
        name = options.algorithm.agent
        self.agent = make_agent(name, spec, options.agent, options.algorithm.own_options())
        if ":" in name:
            check_state(name, self.agent)
        if isinstance(self.agent, PolicyAgent):
            start.hand_over(self.agent.policy, self.exit_offsets)
        cost = CostModel.of(env.encoder, policy_flops_per_token(env.hidden_size, options.agent.policy_size))
        self._budgets = Budgets(self.agent, cost, workload.texts, env.length_penalty, options.target_speedup)
        check_price(self._budgets, workload.preset, training.length_penalty)
        assert training.total_texts is not None  # for_workload() filled it in
        updates = max(1, round(training.total_texts / training.texts_per_step))
        self.phases = [Phase(name, env, self.agent, updates, training.texts_per_step)]
        if training.cloning_texts and isinstance(self.agent, PolicyAgent):
            rows = training.texts_per_step
            cloning = RankingCloning(self.agent, options.agent.learning_rate, training.cloning_scores)
            updates = max(1, round(training.cloning_texts / rows))
            self.phases.insert(0, Phase("cloning", self._make_env(rows, 1, self.exit_offsets), cloning, updates, rows))
        self.phase_index, self.update = 0, 0
        self._collector: RolloutCollector | None = None

    def _make_env(self, texts: int, samples: int, exit_offsets: ExitOffsets | None = None) -> TokenReductionVectorEnv:
        options = self.options
        settings = EnvSettings(
            num_envs=texts * samples,
            samples_per_text=samples,
            reduction_layers=options.encoder.layers,
            reward=options.training.reward,
            reward_temperature=options.training.reward_temperature,
            length_penalty=options.training.length_penalty,
            penalty=options.training.penalty if options.target_speedup is None else "flops",
            policy_size=options.agent.policy_size,
            dtype=self._dtype,
            device=self._device,
            array_type="torch",
        )
        return TokenReductionVectorEnv(self._practice, settings, exit_offsets)

    @property
    def texts_seen(self) -> int:
        """Texts over all phases, repeats counted: the x axis of every curve."""
        before = sum(phase.updates * phase.texts_per_update for phase in self.phases[: self.phase_index])
        return before + self.update * self.phases[self.phase_index].texts_per_update

    @property
    def total_texts(self) -> int:
        """Texts of the whole run."""
        return sum(phase.updates * phase.texts_per_update for phase in self.phases)

    @property
    def updates(self) -> int:
        """Updates so far, over all phases."""
        return sum(phase.updates for phase in self.phases[: self.phase_index]) + self.update

    def step(self) -> dict[str, float]:
        """One update of the phase that is due: a rollout, and what is learned from it."""
        if self.update == self.phases[self.phase_index].updates:
            self.phase_index, self.update, self._collector = self.phase_index + 1, 0, None
        phase = self.phases[self.phase_index]
        if self._collector is None:
            self._collector = RolloutCollector(phase.env, phase.agent)
            self._collector.reset(seed=self.options.run.seed)
        progress_after = (self.update + 1) / phase.updates
        phase.env.length_penalty = self._price(progress_after)
        rollout = self._collector.collect(progress_after)
        metrics = rollout_metrics(rollout)
        if phase.agent is self.agent and self._budgets.priced:
            metrics |= self._budgets.account(metrics["charts/flops_speedup"])
        metrics |= _learned(phase, rollout)
        if self._exit_offset_fit is not None:
            assert phase.env.last_outcome is not None
            metrics |= self._exit_offset_fit.learn(phase.env.last_outcome, self.update / phase.updates)
        self.update += 1
        return metrics | {"charts/length_penalty": phase.env.length_penalty}

    def watch(self, tracker: Tracker) -> None:
        """A few times along the way, a training text as the agent reduces it."""
        if self.updates not in milestones(self._total_updates, SAMPLES_PER_RUN):
            return
        env, tokenizer = self.phases[-1].env, self.workload.backbone.tokenizer
        sample = text_sample(self.agent, env.staged, self.workload.texts[0], tokenizer, env.max_tokens)
        tracker.log_text("sample/text", sample, self.texts_seen)

    @property
    def _total_updates(self) -> int:
        return sum(phase.updates for phase in self.phases)

    def _price(self, progress_after: float) -> float:
        """Lambda of the coming rollout."""
        rise = self.options.training.penalty_rise
        return self._budgets.price * (min(1.0, progress_after / rise) if rise else 1.0)

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """All tensors of the agent's state, a critic's and an optimiser's too, and the exit offsets."""
        yield from self.exit_offsets.named_parameters("exit_offsets")
        yield from floating_tensors(self.agent.state_dict(), "agent")

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs."""
        phase = self.phases[self.phase_index]
        return {
            "phase": self.phase_index,
            "update": self.update,
            "agent": phase.agent.state_dict(),
            "calibration": None if self._exit_offset_fit is None else self._exit_offset_fit.state_dict(),
            "env": phase.env.state_dict(),
            "budgets": self._budgets.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.phase_index, self.update = state["phase"], state["update"]
        phase = self.phases[self.phase_index]
        phase.agent.load_state_dict(state["agent"])
        if self._exit_offset_fit is not None:
            self._exit_offset_fit.load_state_dict(state["calibration"])
        self._budgets.load_state_dict(state["budgets"])
        self._collector = RolloutCollector(phase.env, phase.agent)
        self._collector.resume(state["env"])

    def model(self) -> TokenReducedModel | None:
        """What came out, ready for its speed; None where the agent's policy is not of the kind that is shipped."""
        shipped = shippable(self.agent)
        if shipped is None:
            return None
        model = TokenReducedModel.from_parts(
            self.workload.backbone.model,
            shipped.policy,
            env=self.workload.preset.name,
            task=self.workload.task,
            reduction_layers=self.encoder.reduction_layers,
            decision=shipped.decision,
            exit_offsets=self.exit_offsets,
            backbone_name=self.workload.backbone.name,
            trained_fractions=self._budgets.fractions if self.options.agent.sampler == "budgeted" else None,
        )
        dtype = getattr(torch, evaluation_dtype(self.options.run.dtype))
        settle_speed(model, self.workload.texts, dtype, self._device, self._budgets.target_speedup)
        return model


def _learned(phase: Phase, rollout: Rollout) -> Mapping[str, float]:
    """What an agent tells of an update.

    Raises:
        UserError: It tells something else than metrics.
    """
    told: object = phase.agent.learn(rollout)
    if not isinstance(told, Mapping):
        raise UserError(
            f"learn() of agent {phase.name!r} gave {type(told).__name__}: give a dict of metrics to log, which may be "
            "empty"
        )
    return told


def check_state(name: str, agent: Learner) -> None:
    """Refuse a plug-in whose state a checkpoint could not hold, before it has learned anything.

    Args:
        name: Name of the agent.
        agent: The agent.

    Raises:
        UserError: Its state cannot be saved, or what was saved cannot be loaded.
    """
    try:
        text, tensors = encode_tree(agent.state_dict())
        agent.load_state_dict(decode_tree(json.loads(text), tensors))
    # What states of other types make JSON, and the agent's own code, raise.
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"the state_dict() of agent {name!r} cannot be saved and loaded again ({type(error).__name__}: {error}): "
            "give dicts, lists (a tuple comes back as one), tensors, arrays, numbers, strings and None"
        ) from error
