"""Options of a reproduction, and those of the runs that it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from agents.heuristics import HEURISTICS as ALL_HEURISTICS
from agents.policy_agent import DEFAULT_KEEP_FRACTIONS
from baselines.registry import SYSTEMS, system_class
from runners.cli.flags import check_options, flag, option_paths, refuse_given
from runners.cli.options import DataOptions, EncoderOptions, Group, RunnerOptions, RunOptions, resolve_device
from runners.cli.run import UserError
from runners.evaluation.nested_runs import trained_agent
from runners.finetune import FinetuneOptions
from runners.reproduction.alike import trained_alike, with_defaults_for
from runners.reproduction.data_options import ReproducedDataOptions
from runners.reproduction.published import LONG_TEXTS, OURS, usual_speedup
from runners.training.options.baseline import BaselineStageOptions, TrainBaselineOptions
from runners.training.options.joint import JointFinetuneOptions, JointStageOptions, measured_defaults
from runners.training.options.policy import PolicyStageOptions, TrainPolicyOptions
from trbert_env.presets import OWN, get_preset
from trbert_env.ranges import LARGEST_SEED, Items, Range
from trbert_env.suggestions import suggestion

#: Heuristics that can stand beside the systems; residual sees the gold answer.
HEURISTICS = tuple(name for name in ALL_HEURISTICS if name != "keep-all")
#: Rows of table 2 where none are named: those of them that fit a data set.
DEFAULT_SYSTEMS = (OURS, *SYSTEMS, "random", "attention", "residual")
#: Options of a system that a reproduction sets: the published speed-ups of DeFormer are with passages cached, and the
#: encoder of early exit is to learn as those of others do, from half of the texts.
SYSTEM_OPTIONS = {"deformer": ("cached=true",), "early-exit": ("encoder_share=0.5",)}

#: Depth up to which an encoder has at most the two cuts that there are fractions for.
SHALLOW = 3
#: Tables and figures that train ours.
TRAINED = ("table 2", "table 3", "table 4", "figure 3")
#: Options that not every table and figure reads, by the beginning of their names -> those that do.
READERS = {
    "systems": ("table 2",),
    "target_speedup": ("table 2", "table 3", "table 4"),
    "speedups": ("figure 3",),
    "num_texts": ("table 4",),
    "max_length": ("table 3",),
    "slices": ("table 3",),
    "reduction_layers": TRAINED,
    "seeds": ("table 2", "table 3", "figure 3"),
    "policy.": TRAINED,
    "joint.": TRAINED,
    "baseline.": ("table 2", "figure 3"),
}


#: Options of stages that concern all systems: numbers of texts, the teacher, and the shape of heuristics' budgets.
SHARED = frozenset(
    ("policy.total_texts", "policy.cloning_texts", "policy.keep_fractions", "baseline.total_texts", "baseline.teacher")
)


@dataclass(frozen=True)
class ReproduceOptions:
    """Options of a reproduction."""

    table: Literal[2, 3, 4] | None = None
    """The table: 2, systems at one speed; 3, FLOPs of long texts against slices; 4, texts with their tokens marked."""

    figure: Literal[2, 3] | None = None
    """The figure: 2, the cost of one elimination; 3, quality against speed."""

    plan: bool = False
    """Print the runs to do, with an estimate of their hours, and end without training."""

    systems: Annotated[tuple[str, ...], Items(distinct=True)] = ()
    """Rows of table 2: ours, compared systems and heuristics; those that fit each data set when not given."""

    seeds: Annotated[int, Range(1)] = 3
    """Number of seeds to train each with, from --seed on: 0, 1, 2 ..."""

    target_speedup: Annotated[float, Range(above=1)] | None = None
    """FLOPs speed-up to train for and to compare at; the paper's of ours on each data set when not given, or 2."""

    speedups: Annotated[tuple[Annotated[float, Range(above=1)], ...], Items(1, distinct=True)] = (1.5, 2.0, 3.0)
    """FLOPs speed-ups of ours in figure 3, over the encoder that its tokens are reduced of."""

    num_texts: Annotated[int, Range(1)] = 3
    """Evaluation texts that table 4 shows of each data set."""

    max_length: Annotated[int, Range(1)] = 1024
    """Tokens of a text in table 3, read in one sequence; an encoder that has learned fewer positions is extended."""

    slices: Annotated[int, Range(16)] = 512
    """Tokens of the slices that table 3 compares FLOPs with."""

    resume: Path | None = None
    """Go on with this reproduction: what is done is not done again."""

    data: Group[ReproducedDataOptions] = field(default_factory=ReproducedDataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    policy: PolicyStageOptions = field(default_factory=PolicyStageOptions)
    joint: JointStageOptions = field(default_factory=JointStageOptions)
    baseline: BaselineStageOptions = field(default_factory=BaselineStageOptions)

    #: See :class:`~runners.training.options.joint.JointFinetuneOptions`.
    withdrawn: ClassVar[dict[str, str]] = {
        "--joint.imitation-fraction": "there is no imitation in joint training: leave --joint.imitation-fraction out",
        **dict.fromkeys(
            ("--policy.unlabelled-file", "--policy.unlabelled-columns"),
            "all systems learn from the same training texts: leave --policy.unlabelled-file out",
        ),
    }

    @property
    def product(self) -> str:
        """Name of what is reproduced: ``"table 2"``."""
        return f"table {self.table}" if self.table is not None else f"figure {self.figure}"

    def defaults(self) -> ReproduceOptions:
        """Return the defaults on this device; those of long texts for table 3."""
        data = ReproducedDataOptions(env=LONG_TEXTS) if self.table == 3 else ReproducedDataOptions()
        device = resolve_device(self.run.device).type
        joint = measured_defaults(device, has_policy=True)
        return ReproduceOptions(data=data, joint=joint, baseline=trained_alike(joint, device))

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        if self.resume is not None and self.table is None and self.figure is None:
            return  # read from the folder, and checked there
        if (self.table is None) == (self.figure is None):
            raise UserError("give either --table 2, 3 or 4, or --figure 2 or 3")
        unread = tuple(name for name, readers in READERS.items() if self.product not in readers)
        flags = [flag(name) for name in option_paths(ReproduceOptions) if name.startswith(unread)]
        refuse_given(self, flags, f"{self.product} is made without them")
        self._check_names()
        self._check_read_by_systems()
        if self.run.seed + self.seeds - 1 > LARGEST_SEED:
            raise UserError(
                f"--seed {self.run.seed} and --seeds {self.seeds} go beyond the largest seed, {LARGEST_SEED}"
            )
        if len({f"{speedup:g}" for speedup in self.speedups}) < len(self.speedups):
            raise UserError(f"--speedups is {' '.join(map(str, self.speedups))}; two of them are alike in six digits")
        if self.joint.training.teacher != self.baseline.training.teacher and self.product in ("table 2", "figure 3"):
            raise UserError("all systems have one teacher: give --joint.teacher and --baseline.teacher the same")
        for env in self.data.env:
            self._check_stages(env)

    @property
    def compared_alone(self) -> bool:
        """True if compared systems are named, and ours is not among them."""
        return OURS not in self.systems and any(name in SYSTEMS for name in self.systems)

    def _check_read_by_systems(self) -> None:
        """Refuse options of systems that are not among those that are named, but those that all have in common."""
        if not self.systems:
            return
        of_ours, of_compared = OURS in self.systems, any(name in SYSTEMS for name in self.systems)
        unread = (*(() if of_ours else ("policy.",)), *(() if of_compared else ("baseline.",)))
        names = [name for name in option_paths(ReproduceOptions) if name.startswith(unread) and name not in SHARED]
        refuse_given(self, [flag(name) for name in names], f"none of --systems {' '.join(self.systems)} reads them")

    def _check_names(self) -> None:
        for env in self.data.env:
            get_preset(env)
            if env in OWN:
                raise UserError(f"--env {env} is a user's own data, of which the paper has none: name a data set")
        known = (OURS, *SYSTEMS, *HEURISTICS)
        every = f"use {', '.join(known)}"
        for name in self.systems:
            if name not in known:
                raise UserError(f"--systems has {name!r}: {suggestion(name, known, every)}")

    def _check_stages(self, env: str) -> None:
        """Check the options behind prefixes as those of the runs that they become."""
        run = replace(self.run, output_dir=Path())
        stages: dict[str, RunnerOptions] = {
            "--policy.": self.stage2(env, 2.0, run),
            "--joint.": self.stage3(env, 2.0, run, Path(), 1),
            "--joint. for the control": self.control(env, run, 1),
            "--baseline.": self.compared(env, "distilled", None, run, 1),
        }
        for group, options in stages.items():
            try:
                check_options(options)
            except (ValueError, UserError) as error:
                raise UserError(f"in the options behind {group}: {error}") from error

    @property
    def all_seeds(self) -> range:
        """The seeds."""
        return range(self.run.seed, self.run.seed + self.seeds)

    def texts_of(self, env: str) -> DataOptions:
        """Return the options of the texts of a data set, where no model settles how they are read.

        Args:
            env: Name of the data set.
        """
        data = self.data.of(env)
        return replace(data, max_length=self.max_length, task_options=("max_slices=1",)) if self.table == 3 else data

    def target(self, env: str) -> float:
        """Return the FLOPs speed-up that is aimed at on a data set.

        Args:
            env: Name of the data set.
        """
        return usual_speedup(OURS, env) if self.target_speedup is None else self.target_speedup

    def fastest(self, env: str) -> float:
        """Return the greatest FLOPs speed-up that ours is trained for on a data set; the cuts of all runs serve it.

        Args:
            env: Name of the data set.
        """
        return max(self.speedups) if self.figure == 3 else self.target(env)

    # -- the runs ----------------------------------------------------------------------------------------------

    def stage1(self, env: str, run: RunOptions) -> FinetuneOptions:
        """Return the options of fine-tuning, where the encoder is not fine-tuned yet.

        Args:
            env: Name of the data set.
            run: Seed and folder of the run.
        """
        return FinetuneOptions(data=self.texts_of(env), encoder=EncoderOptions(self.encoder.backbone), run=run)

    def stage2(self, env: str, speedup: float, run: RunOptions) -> TrainPolicyOptions:
        """Return the options of a run of stage 2.

        Args:
            env: Name of the data set.
            speedup: FLOPs speed-up to train for.
            run: Seed and folder of the run.
        """
        return TrainPolicyOptions(
            data=self.texts_of(env),
            encoder=self.encoder,
            run=run,
            algorithm=self.policy.algorithm,
            agent=trained_agent(self.policy.agent, self.policy.training.cloning_texts, HEURISTICS),
            training=self.policy.training,
            target_speedup=speedup,
        )

    def stage3(self, env: str, speedup: float, run: RunOptions, policy: Path, texts: int) -> JointFinetuneOptions:
        """Return the options of a run of stage 3; its policy's run settles its encoder, cuts and settings of the task.

        Args:
            env: Name of the data set.
            speedup: FLOPs speed-up to train for.
            run: Seed and folder of the run.
            policy: Folder of the run of stage 2.
            texts: Texts to train on.
        """
        return JointFinetuneOptions(
            data=self.data.of(env),
            run=run,
            joint=self.joint.joint,
            agent=self.joint.agent,
            training=replace(self.joint.training, total_texts=texts),
            target_speedup=speedup,
            policy=policy,
        )

    def control(self, env: str, run: RunOptions, texts: int) -> JointFinetuneOptions:
        """Return the options of the unreduced control: those of stage 3 that do not skip.

        Args:
            env: Name of the data set.
            run: Seed and folder of the run.
            texts: Texts to train on.
        """
        default = JointFinetuneOptions(run=run, unreduced=True).defaults()
        training = replace(
            self.joint.training,
            total_texts=texts,
            samples_per_text=default.training.samples_per_text,
            length_penalty=default.training.length_penalty,
            penalty=default.training.penalty,
            calibration_rate=default.training.calibration_rate,
        )
        learning = replace(self.joint.joint, policy_weight=default.joint.policy_weight, reward=default.joint.reward)
        return replace(
            default,
            data=self.texts_of(env),
            encoder=self.encoder,
            run=run,
            unreduced=True,
            joint=learning,
            training=training,
        )

    def on_student(self, student: str, depth: int, teacher: str) -> ReproduceOptions:
        """Return the options by which ours runs on a student, with cuts of its own and the teacher of all.

        Args:
            student: Folder of the student's run.
            depth: Layers of the student; up to three, it is cut before each but the first.
            teacher: Folder or hub name of the fine-tuned encoder, where no other is named.
        """
        # Before each layer but the first, where there is nothing to choose.
        cuts: tuple[int, ...] | Literal["auto"] = "auto" if depth > SHALLOW else tuple(range(2, depth + 1))
        fractions = DEFAULT_KEEP_FRACTIONS[-len(cuts) :] if depth <= SHALLOW else None
        taught = self.joint.training
        if self.joint.joint.needs_teacher and taught.teacher is None:
            taught = replace(taught, teacher=teacher)
        return replace(
            self,
            encoder=EncoderOptions(student, cuts),
            policy=replace(self.policy, agent=replace(self.policy.agent, keep_fractions=fractions)),
            joint=replace(self.joint, training=taught),
        )

    def compared(
        self, env: str, system: str, speedup: float | None, run: RunOptions, texts: int
    ) -> TrainBaselineOptions:
        """Return the options of a run of a compared system.

        Args:
            env: Name of the data set.
            system: Name of the system.
            speedup: FLOPs speed-up to aim at; None for the system's own.
            run: Seed and folder of the run.
            texts: Texts to train on.
        """
        unread = self.unread_by(system)
        return TrainBaselineOptions(
            system=system,
            system_options=SYSTEM_OPTIONS.get(system, ()),
            target_speedup=speedup,
            data=self.texts_of(env),
            encoder=EncoderOptions(self.encoder.backbone),
            run=run,
            learning=with_defaults_for(self.baseline.learning, unread),
            training=replace(with_defaults_for(self.baseline.training, unread), total_texts=texts),
        )

    def unread_by(self, system: str) -> tuple[str, ...]:
        """Return the names of options of training that a compared system does not read.

        Args:
            system: Name of the system.
        """
        own = TrainBaselineOptions(system, SYSTEM_OPTIONS.get(system, ())).own_options()
        return system_class(system).unread(own)
