"""Stage 3: its options and its updates."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from agents.base import AgentSpec
from agents.distillation import Teacher
from agents.joint import JointLearner, JointLearnerOptions, JointOptions
from agents.reinforce import Reinforce, ReinforceOptions
from agents.trained import TrainedPolicy
from runners.cli.flags import flag, option_paths, refuse_given
from runners.cli.options import DataOptions, EncoderOptions, Group, Part, RunOptions, resolve_device
from runners.cli.run import UserError
from runners.evaluation.passes import measure_model, measure_unreduced, run_policy_pass
from runners.evaluation.record import Measured, watched_curves
from runners.evaluation.speed_table import check_target, settle_speed
from runners.evaluation.text_rendering import text_sample
from runners.runs.run_folder import data_of_run
from runners.runs.tracking import Tracker
from runners.training.budgets import Budgets, check_price
from runners.training.loading import Splits
from runners.training.loop import default_texts, milestones
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.start import Start, check_budget, check_loaded
from trbert_env.data.backbones import move
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText
from trbert_env.envs.reward import LengthPrice, Penalty
from trbert_env.envs.text_order import TextOrder
from trbert_env.ranges import Range
from trbert_env.reduction.cost import policy_flops_per_token
from trbert_env.reduction.decision import DecisionRule
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.varied import drawn_text

#: Texts of a run by kind of device, where no number is given.
DEFAULT_TEXTS = {"cpu": 20_000, "cuda": 280_000}


@dataclass(frozen=True)
class JointAgentOptions(ReinforceOptions):
    """The agent, which is REINFORCE, by the defaults of stage 3."""

    budget_scope: Literal["text", "batch"] = "batch"
    """text: a budget for each text; batch: one for all texts of a batch, so that the count adapts to the text."""

    learning_rate: Annotated[float, Range(0)] = 1e-3
    """Peak learning rate of the policy; it falls linearly to 0."""

    imitation_fraction: tyro.conf.Suppress[Annotated[float, Range(0, 0)] | None] = 0.0


@dataclass(frozen=True)
class JointTrainingOptions:
    """The training of stage 3."""

    teacher: str | None = None
    """Folder of a model or of a run, or hub name, to distil from; the encoder as it is now when not given."""

    remember_teacher: bool = False
    """Compute the teacher's logits of all training texts beforehand, and keep them for other runs and epochs."""

    total_texts: Annotated[int, Range(1)] | None = None
    """Texts to train on, repeats counted; when not given, 20,000, or 280,000 on a GPU, or four passes over a small
    training split (but 200 updates)."""

    texts_per_step: Annotated[int, Range(1)] = 32
    """Texts of one update."""

    accumulate: Annotated[int, Range(1)] = 2
    """Parts of an update that go through the encoder one after the other, to save memory."""

    samples_per_text: Annotated[int, Range(1)] = 2
    """Rows that hold the same text, each with masks of its own; the paper has 8. With 1 the policy learns nothing."""

    length_penalty: Annotated[float, Range(0)] | None = None
    """Lambda of eq. 4, in nats per kept token; the data set's own for the joint stage when not given."""

    penalty: Penalty = "tokens"
    """Unit that lambda is the price of: tokens, or FLOPs."""

    calibration_rate: Annotated[float, Range(0)] = 0.01
    """Learning rate of the exit offsets: what the states of skipped tokens add to the logits; 0 for none."""

    holdout_texts: Annotated[int, Range(0)] | None = None
    """Training examples that are set aside, to watch the quality on along the way; 500 when not given, and at most a
    tenth of them."""

    watch: Annotated[int, Range(0)] = 4
    """Times along the way to measure the quality on them, reduced and with keep-all; 0 for never."""

    checkpoint_every: Annotated[int, Range(1)] = 100
    """Updates between two checkpoints."""


def measured_defaults(device: str, has_policy: bool) -> JointStageOptions:
    """Return the options that were measured best (RESULTS.md), for what a machine can train on in some minutes.

    Args:
        device: Kind of device, ``"cpu"`` or ``"cuda"``.
        has_policy: True if the policy was trained before.
    """
    if device == "cuda":
        return JointStageOptions(
            JointOptions(encoder_rate=6e-4, distillation=1.0),
            JointAgentOptions(exploration=(0.3, 0.05), learning_rate=2e-4),
            JointTrainingOptions(texts_per_step=256, samples_per_text=2),
        )
    if has_policy:
        # A second sample of a text costs as much as another text, which teaches the encoder more.
        training = JointTrainingOptions(samples_per_text=1, accumulate=1)
        return JointStageOptions(agent=JointAgentOptions(exploration=(0.2, 0.1)), training=training)
    return JointStageOptions()


#: Options of what skips tokens, which the unreduced control has none of.
SKIPPING = (
    *("--target-speedup", "--speedup-range", *map(flag, option_paths(JointAgentOptions))),
    *("--policy-weight", "--reward", "--samples-per-text", "--length-penalty", "--penalty", "--calibration-rate"),
)


@dataclass(frozen=True)
class JointStageOptions:
    """Options of stage 3."""

    joint: Part[JointOptions] = field(default_factory=JointOptions)
    agent: Part[JointAgentOptions] = field(default_factory=JointAgentOptions)
    training: Part[JointTrainingOptions] = field(default_factory=JointTrainingOptions)


@dataclass(frozen=True)
class JointFinetuneOptions:
    """Options of the runner of stage 3."""

    policy: Path | None = None
    """A run of stage 2 to start from; without one, the policy starts untrained."""

    unreduced: bool = False
    """The control: the same training of the same encoder, with nothing skipped."""

    target_speedup: Annotated[float, Range(above=1)] | None = None
    """FLOPs speed-up to reach; keep fractions and price then follow from it."""

    speedup_range: tuple[Annotated[float, Range(above=1)], Annotated[float, Range(above=1)]] | None = None
    """Train under budgets drawn from this range of FLOPs speed-ups, so that one model serves them all."""

    full_from: Path | None = None
    """A run's folder to take the unreduced backbone's metrics from, instead of running it again."""

    resume: Path | None = None
    """Go on with this run, with the options that it was begun with."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    joint: Group[JointOptions] = field(default_factory=JointOptions)
    agent: Group[JointAgentOptions] = field(default_factory=JointAgentOptions)
    training: Group[JointTrainingOptions] = field(default_factory=JointTrainingOptions)

    #: Stage 2 has it, and scripts may name it.
    withdrawn: ClassVar[dict[str, str]] = {
        "--imitation-fraction": "there is no imitation in joint training: leave --imitation-fraction out"
    }

    def defaults(self) -> JointFinetuneOptions:
        """Return the defaults on this device, with such a start; see :func:`measured_defaults`."""
        stage = measured_defaults(resolve_device(self.run.device).type, self.policy is not None)
        data = data_of_run(self.policy, self.data)
        return JointFinetuneOptions(data=data, joint=stage.joint, agent=stage.agent, training=stage.training)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        texts, parts = self.training.texts_per_step, self.training.accumulate
        if texts % parts:
            raise ValueError(f"--texts-per-step {texts} must be a multiple of --accumulate {parts}")
        if self.policy is not None:
            check_loaded(self)
        if self.unreduced:
            refuse_given(self, SKIPPING, "--unreduced skips nothing")
        if self.target_speedup and self.speedup_range:
            raise UserError("--target-speedup is one budget, --speedup-range many: leave one out")
        if self.target_speedup is not None:
            check_target(self.target_speedup, self.training.length_penalty)
        if self.speedup_range is not None:
            self._check_range(*self.speedup_range)
        check_budget(self)
        self._check_training()

    def _check_range(self, low: float, high: float) -> None:
        if low > high:
            raise ValueError(f"--speedup-range is {low} {high}; it must rise, from above 1")
        if self.agent.sampler != "budgeted" or self.agent.budgeted_share < 1.0:
            raise UserError("--speedup-range draws budgets: leave --sampler and --budgeted-share out")

    def _check_training(self) -> None:
        if not self.joint.needs_teacher:
            refuse_given(self, ("--teacher", "--remember-teacher", "--temperature"), "--distillation 0 has no teacher")
        if self.training.length_penalty == 0.0:
            refuse_given(self, ("--penalty",), "--length-penalty 0 is no price")
        if self.training.watch and self.training.holdout_texts == 0:
            refuse_given(self, ("--watch",), "--holdout-texts 0 leaves nothing to watch")


def stage3_texts(training: JointTrainingOptions, device: str, split: int) -> int:
    """Return the texts of a run of stage 3.

    Args:
        training: Options of the training.
        device: Kind of device, ``"cpu"`` or ``"cuda"``.
        split: Texts of the training split.
    """
    return training.total_texts or default_texts(DEFAULT_TEXTS[device], split, training.texts_per_step)


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
        model = move(copy.deepcopy(start.backbone.model), device, torch.float32).eval()
        policy_flops = policy_flops_per_token(model.config.hidden_size, options.agent.policy_size)
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
        total = stage3_texts(training, device.type, len(workload.texts))
        self._total_updates = max(1, round(total / training.texts_per_step))

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
