"""Options of stage 3."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from agents.joint import JointOptions
from agents.learning import ENCODER_RATE
from agents.reinforce import ReinforceOptions
from runners.cli.flags import changed_options, flag, option_paths, refuse_given
from runners.cli.options import DataOptions, EncoderOptions, Group, Part, RunOptions, resolve_device
from runners.cli.run import UserError
from runners.evaluation.speed_table import check_target
from runners.runs.earlier import data_of_run
from runners.training.loop import default_texts
from runners.training.start import check_budget, check_loaded
from trbert_env.envs.reward import Penalty
from trbert_env.ranges import Range

#: Texts of a run by kind of device, where no number is given.
DEFAULT_TEXTS = {"cpu": 20_000, "cuda": 280_000}
#: Peak learning rate of the encoder in a run of so many texts.
ENCODER_RATES = {"cpu": ENCODER_RATE, "cuda": 6e-4}


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
            JointOptions(distillation=1.0),
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
#: Options of how the policy learns.
LEARNED_BY = (
    *("--learning-rate", "--max-gradient-norm", "--log-probability"),
    *("--policy-weight", "--reward", "--length-penalty", "--penalty"),
)


@dataclass(frozen=True)
class JointStageOptions:
    """Options of stage 3."""

    joint: Part[JointOptions] = field(default_factory=JointOptions)
    agent: Part[JointAgentOptions] = field(default_factory=JointAgentOptions)
    training: Part[JointTrainingOptions] = field(default_factory=JointTrainingOptions)


#: Learning rates that say nothing of how a policy is to learn: those of defaults, on any device, and that of none.
UNTOLD_RATES = (0.0, *(measured_defaults(device, has_policy=True).agent.learning_rate for device in DEFAULT_TEXTS))


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
        if self.training.samples_per_text == 1 and not self.unreduced:
            self._check_single_sample()
        if not self.joint.needs_teacher:
            refuse_given(self, ("--teacher", "--remember-teacher", "--temperature"), "--distillation 0 has no teacher")
        elif not self.joint.needs_teacher_logits:
            refuse_given(self, ("--temperature",), "--distillation 0 learns nothing from the teacher's logits")
        if self.training.length_penalty == 0.0:
            refuse_given(self, ("--penalty",), "--length-penalty 0 is no price")
        if self.training.watch and self.training.holdout_texts == 0:
            refuse_given(self, ("--watch",), "--holdout-texts 0 leaves nothing to watch")

    def _check_single_sample(self) -> None:
        """Refuse what needs several samples of a text: with one, which is its own mean, the policy learns nothing."""
        if self.agent.baseline == "none":
            return
        fix = "--samples-per-text 1, the default behind --policy on a CPU, teaches the policy nothing"
        if self.agent.baseline == "leave-one-out":
            raise UserError(f"{fix}: give --samples-per-text 2 for --baseline leave-one-out")
        free = self.agent.sampler == "bernoulli"
        if (free or self.agent.budgeted_share < 1) and self.target_speedup is not None:
            raise UserError(
                f"{fix}, by which it reaches --target-speedup without a budget: give --samples-per-text 2, or leave "
                "--sampler and --budgeted-share out"
            )
        read = {
            "--learning-rate": self.agent.learning_rate in UNTOLD_RATES,
            "--length-penalty": free,  # where a data set has no price, one must be named
        }
        if given := [name for name in changed_options(self) if name in LEARNED_BY and not read.get(name)]:
            raise UserError(f"{fix}, and {' '.join(given)} is for that: give --samples-per-text 2, or leave it out")


def stage3_texts(training: JointTrainingOptions, device: str, split: int) -> int:
    """Return the texts of a run of stage 3.

    Args:
        training: Options of the training.
        device: Kind of device, ``"cpu"`` or ``"cuda"``.
        split: Texts of the training split.
    """
    return training.total_texts or default_texts(DEFAULT_TEXTS[device], split, training.texts_per_step)


def stage3_rate(joint: JointOptions, device: str, texts: int) -> float:
    """Return the encoder's peak learning rate of a run of stage 3: lower for few texts (RESULTS.md, section 3).

    Args:
        joint: Options of joint training.
        device: Kind of device, ``"cpu"`` or ``"cuda"``.
        texts: Texts of the run.

    Example:
        >>> [stage3_rate(JointOptions(), "cpu", texts) for texts in (1_250, 5_000, 20_000, 40_000)]
        [2.5e-05, 5e-05, 0.0001, 0.0001]
    """
    if joint.encoder_rate is not None:
        return joint.encoder_rate
    return ENCODER_RATES[device] * min(1.0, math.sqrt(texts / DEFAULT_TEXTS[device]))


def settled_stage3(options: JointFinetuneOptions, split: int) -> JointFinetuneOptions:
    """Return the options with the number of texts and the encoder's rate, whose defaults depend on the device.

    Args:
        options: Options of the run.
        split: Texts of the training split.
    """
    device = resolve_device(options.run.device).type
    texts = stage3_texts(options.training, device, split)
    joint = replace(options.joint, encoder_rate=stage3_rate(options.joint, device, texts))
    return replace(options, joint=joint, training=replace(options.training, total_texts=texts))
