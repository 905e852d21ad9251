"""Options of the training of a compared system."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from agents.learning import LearningOptions
from baselines.registry import system_class, system_options
from runners.cli.flags import flag, refuse_given, refuse_unused
from runners.cli.items import named_values
from runners.cli.options import DataOptions, EncoderOptions, Group, Part, RunOptions
from runners.cli.run import UserError
from trbert_env.ranges import Range


@dataclass(frozen=True)
class BaselineTrainingOptions:
    """The training."""

    teacher: str | None = None
    """Folder of a model or of a run, or hub name, to distil from; the encoder itself when not given."""

    remember_teacher: bool = False
    """Compute the teacher's logits of all training texts beforehand, and keep them for other runs and epochs."""

    total_texts: Annotated[int, Range(1)] | None = None
    """Texts to train on, repeats counted, over all phases; when not given, 24,000, or four passes over a small training
    split (but 200 updates)."""

    texts_per_step: Annotated[int, Range(1)] = 32
    """Texts of one update."""

    holdout_texts: Annotated[int, Range(0)] | None = None
    """Training examples that are set aside, to watch the quality on along the way and to make the system's last choices
    by, such as its thresholds; 500 when not given, and at most a tenth of them."""

    watch: Annotated[int, Range(0)] = 4
    """Times along the way to measure the quality on them; 0 for never."""

    checkpoint_every: Annotated[int, Range(1)] = 100
    """Updates between two checkpoints."""


@dataclass(frozen=True)
class BaselineStageOptions:
    """Options of the training of compared systems."""

    learning: Part[LearningOptions] = field(default_factory=LearningOptions)
    training: Part[BaselineTrainingOptions] = field(default_factory=BaselineTrainingOptions)


@dataclass(frozen=True)
class TrainBaselineOptions:
    """Options of the runner of compared systems."""

    system: str = "distilled"
    """The compared system: distilled, power-bert, power-bert-restored, length-adaptive, ltp, pooled, dynabert, deformer
    or early-exit."""

    system_options: tuple[str, ...] = ()
    """Options of this system, as name=value (layers=[1,3,6] of distilled), or a YAML file of names and values."""

    layers: tuple[Annotated[int, Range(1)], ...] | None = None
    """Layers of the teacher that the student keeps, counted from 1, for distilled alone; by default half of them."""

    target_speedup: Annotated[float, Range(above=1)] | None = None
    """FLOPs speed-up to reach, by the system's own means."""

    full_from: Path | None = None
    """A run's folder to take the unreduced encoder's metrics from, instead of running it again."""

    resume: Path | None = None
    """Go on with this run, with the options that it was begun with."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    learning: Group[LearningOptions] = field(default_factory=LearningOptions)
    training: Group[BaselineTrainingOptions] = field(default_factory=BaselineTrainingOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        own, kind = self.own_options(), system_class(self.system)
        refuse_given(self, [flag(name) for name in kind.unread(own)], f"--system {self.system} {kind.unread_because}")
        refuse_unused(self, reduction_layers="compared systems have no reduction layers, leave it out")
        if self.learning.distillation == 0.0:
            refuse_given(self, ("--temperature",), "--distillation 0 softens nothing")
        if not own.learns_from_teacher(self.learning.distillation):
            weights = "--distillation 0" if "distillation" not in kind.unread(own) else "the weights of its losses"
            refuse_given(self, ("--teacher", "--remember-teacher"), f"with {weights} nothing is learned from a teacher")
        if self.training.watch and self.training.holdout_texts == 0:
            refuse_given(self, ("--watch",), "--holdout-texts 0 leaves nothing to watch")

    def own_options(self) -> Any:
        """Return the options of the system, checked.

        Raises:
            ValueError: The system or an option is unknown, or a value is of another type or out of its range.
            UserError: An option is given twice, or is another system's.
        """
        values = named_values("--system-options", self.system_options)
        if "speedup" in values:
            raise UserError("--system-options has speedup, which --target-speedup settles: give that instead")
        if self.layers is not None:
            if self.system != "distilled":
                raise UserError(f"--layers is of --system distilled; {self.system} has its own options: leave it out")
            if "layers" in values:
                raise UserError("--layers and layers of --system-options say the same: leave one out")
            values["layers"] = list(self.layers)
        options = system_options(self.system, values)
        idle, reason = options.idle(self.target_speedup)
        if given := [name for name in idle if name in values]:
            raise UserError(f"--system-options has {' and '.join(given)}, but {reason}: leave {' '.join(given)} out")
        return options
