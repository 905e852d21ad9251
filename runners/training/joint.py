"""Stage 3: its updates."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.base import AgentSpec
from agents.distillation import Teacher
from agents.joint import JointLearner, JointLearnerOptions
from agents.reinforce import Reinforce
from agents.trained import TrainedPolicy
from runners.evaluation.passes import measure_model, measure_unreduced, run_policy_pass
from runners.evaluation.record import Measured, watched_curves
from runners.evaluation.speed_table import settle_speed
from runners.evaluation.text_rendering import text_sample
from runners.runs.tracking import Tracker
from runners.training.budgets import Budgets, check_price
from runners.training.loading import Splits
from runners.training.loop import milestones
from runners.training.options.joint import JointFinetuneOptions
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.start import Start
from trbert_env.data.backbones import move
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText
from trbert_env.envs.reward import LengthPrice
from trbert_env.envs.text_order import TextOrder
from trbert_env.reduction.cost import policy_flops_per_token
from trbert_env.reduction.decision import DecisionRule
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.varied import drawn_text


class JointTraining:
    """A run of stage 3: what is trained, how far it is, and its checkpoints.

    Args:
        start: Start of the run.
        splits: Its texts.
        teacher: Teacher to distil from.
        device: Device to compute on.
    """

    def __init__(
        self, start: Start[JointFinetuneOptions], splits: Splits, teacher: Teacher, device: torch.device
    ) -> None:
        self.options = options = start.options
        training, run = options.training, options.run
        self._original = start.backbone
        self.workload, self.holdout, self.device = splits.train, splits.holdout, device
        workload = splits.train
        workload.require_labels("joint training")
        model = move(copy.deepcopy(start.backbone.model), device, torch.float32).eval()
        size = 0 if options.unreduced else options.agent.policy_size  # nothing decides in the control
        policy_flops = policy_flops_per_token(model.config.hidden_size, size)
        self.staged = StagedModel(model, workload.task, options.encoder.layers, policy_flops=policy_flops)
        sizes = (self.staged.encoder.hidden_size, self.staged.num_reductions, workload.task.max_text_tokens)
        spec = AgentSpec(*sizes, training.samples_per_text, run.seed, str(device))
        self.agent = Reinforce(spec, options.agent)
        start.hand_over(self.agent.policy, self.staged.exit_offsets)
        given = training.length_penalty
        self.price = LengthPrice(
            workload.preset.joint_length_penalty if given is None else given,
            training.penalty if options.target_speedup is None else "flops",
            self.staged.cost,
        )
        self.budgets = Budgets(
            self.agent,
            self.price.cost,
            workload.texts,
            self.price.length_penalty,
            options.target_speedup,
            options.speedup_range,
        )
        if not options.unreduced:
            check_price(self.budgets, workload.preset, given)
        self._decision = self.agent.decision
        self.learner = JointLearner(
            self.staged,
            None if options.unreduced else self.agent,
            JointLearnerOptions(
                **vars(options.joint),
                exit_offset_rate=training.calibration_rate,
                autocast=training_dtype(run.dtype, device),
            ),
            teacher,
            self.price,
        )
        self._order = TextOrder(len(workload.texts), "shuffle")
        self._generator = np.random.default_rng(run.seed)
        self.updates = 0
        assert training.total_texts is not None, "settled_stage3() settles it"
        self._total_updates = max(1, round(training.total_texts / training.texts_per_step))

    @property
    def texts_seen(self) -> int:
        """Texts so far, repeats counted."""
        return self.updates * self.options.training.texts_per_step

    @property
    def total_texts(self) -> int:
        """Texts of the whole run."""
        return self._total_updates * self.options.training.texts_per_step

    def step(self) -> dict[str, float]:
        """One update."""
        progress = (self.updates / self._total_updates, (self.updates + 1) / self._total_updates)
        self.budgets.draw(self._generator)
        self.price.length_penalty, priced = self.budgets.price, self.budgets.priced
        metrics = self.learner.step(self._parts(), progress)
        if priced and not self.options.unreduced:
            metrics |= self.budgets.account(metrics["charts/flops_speedup"])
        self.updates += 1
        return metrics

    def _parts(self) -> list[list[EncodedText]]:
        training = self.options.training
        numbers, _ = self._order.draw(training.texts_per_step, self._generator)
        texts = [drawn_text(self.workload.texts, number) for number in numbers]
        size = training.texts_per_step // training.accumulate
        return [texts[first : first + size] for first in range(0, len(texts), size)]

    def watch(self, tracker: Tracker) -> None:
        """Quality on the held-out texts, now and then, and one of them as the policy reduces it."""
        if self.holdout is None or self.updates not in milestones(self._total_updates, self.options.training.watch):
            return
        curves = self._watched(self.holdout)
        tracker.log(curves, self.texts_seen)
        shown = "  ".join(f"{key.partition('/')[2]} {value:.2f}" for key, value in curves.items())
        print(f"held out, after {self.texts_seen:,} texts: {shown}", flush=True)
        if not self.options.unreduced:
            policy = TrainedPolicy(self.agent.policy, self._decision)
            tokenizer, text = self.workload.backbone.tokenizer, self.holdout.texts[0]
            sample = text_sample(policy, self.staged, text, tokenizer, self.workload.task.max_text_tokens)
            tracker.log_text("sample/text", sample, self.texts_seen)

    def _watched(self, holdout: Workload) -> dict[str, float]:
        """Return the curves of the encoder as it now is with keep-all, and of its reduced self."""
        workload = replace(holdout, backbone=replace(holdout.backbone, model=self.staged.model))
        dtype, device = training_dtype(self.options.run.dtype, self.device), str(self.device)
        keep_all, reduced = measure_unreduced(workload, dtype, device), None
        if not self.options.unreduced:
            policy, layers = TrainedPolicy(self.agent.policy, self._decision), self.staged.encoder.reduction_layers
            reduced = run_policy_pass(policy, workload, layers, self.staged.exit_offsets, dtype, device)
        return watched_curves(keep_all, reduced)

    def measure_holdout(self, model: TokenReducedModel) -> Measured | None:
        """Measure the trained model on the held-out texts, to choose settings by; None where none were held out.

        Args:
            model: Model that came out, which decides as when it is used.
        """
        if self.holdout is None:
            return None
        return measure_model(model, self.holdout, evaluation_dtype(self.options.run.dtype), str(self.device))

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """The parameters of encoder, task head, exit offsets and policy."""
        yield from self.staged.named_parameters()
        yield from self.agent.policy.named_parameters("policy")

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs."""
        return {
            "updates": self.updates,
            "learner": self.learner.state_dict(),
            "order": self._order.state_dict(),
            "generator": self._generator.bit_generator.state,
            "budgets": self.budgets.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.updates = state["updates"]
        self.learner.load_state_dict(state["learner"])
        self._order.load_state_dict(state["order"])
        self._generator.bit_generator.state = state["generator"]
        self.budgets.load_state_dict(state["budgets"])

    def token_reduced_model(self) -> TokenReducedModel:
        """What came out."""
        keep_all = DecisionRule(keep_fractions=(1.0,) * self.staged.num_reductions)
        model = TokenReducedModel.from_parts(
            self.staged.model,
            self.agent.policy,
            env=self.workload.preset.name,
            task=self.workload.task,
            reduction_layers=self.staged.encoder.reduction_layers,
            decision=keep_all if self.options.unreduced else self._decision,
            exit_offsets=self.staged.exit_offsets,
            # Its unreduced metrics are no longer the backbone's.
            backbone_name=f"{self.workload.backbone.name}, joint",
            trained_fractions=self.budgets.fractions if self.options.agent.sampler == "budgeted" else None,
        )
        source = Path(self._original.source)
        model.config.original_backbone = str(source.resolve()) if source.is_dir() else self._original.source
        model.config.original_fingerprint = fingerprint_model(self._original.model)
        if not self.options.unreduced:
            dtype = getattr(torch, evaluation_dtype(self.options.run.dtype))
            settle_speed(model, self.workload.texts, dtype, str(self.device), self.budgets.target_speedup)
        return model
