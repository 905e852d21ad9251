"""Options of ``make_faster.py``, and those of the stages that it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from runners.cli.display import announce
from runners.cli.flags import check_options
from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions, resolve_device
from runners.cli.run import UserError
from runners.faster.plan import UNPLANNED, Plan
from runners.finetune import FinetuneOptions
from runners.runs.models import is_token_reduced
from runners.training.options.joint import JointFinetuneOptions, measured_defaults
from runners.training.options.policy import PolicyTrainingOptions, TrainPolicyOptions
from trbert_env.data.checkpoints import load_config
from trbert_env.presets import OWN, get_preset
from trbert_env.ranges import Range
from trbert_env.tasks import task_class
from trbert_env.tasks.labels import has_head

#: Default of ``--env``: the kind of task follows from the checkpoint's head.
AUTO = "auto"
#: FLOPs speed-up that is trained for where none is asked for.
USUAL_SPEEDUP = 2.0
#: Weight of the distance to the unreduced states in stage 3, where the head reads first tokens alone: on IMDB the
#: accuracy is better by it (RESULTS.md, section 3).
STATES_WEIGHT = 1.0
#: Texts of stage 2 beyond which more bring nothing: on SQuAD 2.0, 20,000 were no better (RESULTS.md, section 3).
MOST_POLICY_TEXTS = 6_400
#: Evaluation texts of the records that the stages themselves keep; the final measurement takes all.
GLANCE = 32


@dataclass(frozen=True)
class MakeFasterOptions:
    """Options of making a model faster."""

    model: str | None = None
    """Your checkpoint: a folder or a hub name. One without a fitting task head is fine-tuned first."""

    target_speedup: Annotated[float, Range(above=1)] | None = None
    """FLOPs speed-up to reach; 2 where neither this nor --max-loss is given. With --max-loss, the most."""

    max_loss: Annotated[float, Range(0, below=100)] | None = None
    """Points of the main metric that may be lost: ends in the fastest model that loses no more on held-out texts, with
    95 % confidence where these are enough to show it."""

    minutes: Annotated[float, Range(above=0)] | None = None
    """Time to spend: the pace of this machine is measured, and the number of texts to train on follows from it."""

    holdout_texts: Annotated[int, Range(1)] | None = None
    """Training texts that are held out to choose the speed by; when not given, a tenth of them, 20 to 2,000."""

    total_texts: Annotated[int, Range(1)] | None = None
    """Texts to train on in each of the two stages behind fine-tuning, repeats counted, of the first of them 6,400 at
    most; when not given, 20,000, or four passes over a small training split, more of the last stage on a GPU, or what
    --minutes allows."""

    resume: Path | None = None
    """Go on with this run, with the options that it was begun with."""

    data: Group[DataOptions] = field(default_factory=lambda: DataOptions(env=AUTO))
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        if self.resume is not None:
            return  # read from the folder, and checked there
        if self.model is None:
            raise UserError("give --model: the folder or the hub name of your checkpoint")
        if self.minutes is not None and self.total_texts is not None:
            raise UserError("--minutes chooses the number of texts to train on: leave --total-texts out")
        if self.data.env != AUTO:
            for options in (
                self.stage1(1, self.run),
                self.stage2(UNPLANNED, 1, self.run, self.model),
                self.stage3(UNPLANNED, 1, self.run, Path()),
            ):
                check_options(options)
        elif self.data.own.train_file is None and self.data.own.dataset is None:
            raise UserError("give your texts, by --train-file or --dataset, or name a data set by --env")

    def settled(self) -> MakeFasterOptions:
        """Return the same with the kind of task named, found from the checkpoint's head where it is not.

        Raises:
            UserError: The checkpoint has no task head, or is a faster model already.
            ValueError: It is of an unsupported kind.
        """
        assert self.model is not None
        if is_token_reduced(self.model):
            raise UserError(f"--model {self.model} is a faster model already: give the checkpoint that it was made of")
        if self.data.env != AUTO:
            return self
        config = load_config(self.model)
        for env in OWN:
            if has_head(config, task_class(get_preset(env).task).auto_model):
                head = ", ".join(config.architectures or [])
                announce(f"--env {env}: the checkpoint {self.model} is a {head}")
                return replace(self, data=replace(self.data, env=env))
        raise UserError(
            f"{self.model} has no task head that tells the kind of task: give --env, one of {', '.join(OWN)}"
        )

    @property
    def trained_speedup(self) -> float:
        """FLOPs speed-up that the stages train for."""
        return USUAL_SPEEDUP if self.target_speedup is None else self.target_speedup

    # -- the stages ----------------------------------------------------------------------------------------------

    def stage1(self, train_texts: int, run: RunOptions) -> FinetuneOptions:
        """Return the options of fine-tuning.

        Args:
            train_texts: Records to train on: all but those that are held out.
            run: Folder of the runs.
        """
        return FinetuneOptions(data=self._texts(train_texts), encoder=EncoderOptions(self.model), run=run)

    def stage2(self, plan: Plan, train_texts: int, run: RunOptions, encoder: str) -> TrainPolicyOptions:
        """Return the options of learning which tokens to skip.

        Args:
            plan: Numbers of texts.
            train_texts: Records to train on.
            run: Folder of the runs.
            encoder: Folder or hub name of the fine-tuned encoder.
        """
        return TrainPolicyOptions(
            data=self._texts(train_texts),
            encoder=EncoderOptions(encoder),
            run=run,
            training=PolicyTrainingOptions(total_texts=plan.policy_texts),
            target_speedup=self.trained_speedup,
        )

    def stage3(self, plan: Plan, train_texts: int, run: RunOptions, policy: Path) -> JointFinetuneOptions:
        """Return the options of training the encoder to do with fewer tokens.

        Args:
            plan: Numbers of texts.
            train_texts: Records to train on.
            run: Folder of the runs.
            policy: Run of stage 2.
        """
        stage = measured_defaults(resolve_device(self.run.device).type, has_policy=True)
        reads = task_class(get_preset(self.data.env).task).reads
        joint = replace(stage.joint, states_weight=STATES_WEIGHT) if reads == "first_tokens" else stage.joint
        return JointFinetuneOptions(
            data=replace(self._texts(train_texts), task_options=(), max_length=None),  # the policy's run settles them
            run=run,
            joint=joint,
            agent=stage.agent,
            training=replace(stage.training, total_texts=plan.joint_texts, holdout_texts=plan.holdout_texts, watch=0),
            target_speedup=self.trained_speedup,
            policy=policy,
        )

    def _texts(self, train_texts: int) -> DataOptions:
        """The texts of a stage: none that is held out."""
        return replace(self.data, max_train_texts=train_texts)
