"""Field of systems on a data set: which of them fit it, the speed-up of each, and the texts that all are trained on."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from baselines.power_bert import PowerBert, RestoringPowerBert
from baselines.registry import SYSTEMS
from runners.cli.display import announce
from runners.cli.flags import changed_options, check_options, flag
from runners.cli.options import resolve_device
from runners.cli.run import UserError
from runners.reproduction.options import HEURISTICS, ReproduceOptions
from runners.reproduction.published import OURS, usual_speedup
from runners.training.baseline import make_system
from runners.training.loading import RunExamples
from runners.training.options.joint import stage3_texts
from runners.training.options.policy import stage2_texts
from runners.training.reach import check_reach
from runners.training.teaching import load_teacher
from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.encoder.staged import StagedEncoder

#: Factors of the target speed-up that systems of few speed-ups are tried at, where they have neither the target nor
#: their published one: DeFormer has one for each layer.
NEAR = (0.9, 1.1, 0.8, 1.25)


@dataclass(frozen=True)
class Entrant:
    """A system of a field.

    Attributes:
        name: Name of the system.
        target: FLOPs speed-up that it aims at.
    """

    name: str
    target: float

    @property
    def is_heuristic(self) -> bool:
        """Tell whether it needs no training."""
        return self.name in HEURISTICS


@dataclass(frozen=True)
class StageTexts:
    """Texts to train on, repeats counted.

    Attributes:
        policy: Texts of stage 2.
        joint: Texts of stage 3.
        baseline: Texts of a compared system.
        control: Texts of the unreduced control: as many as both stages of ours, or as many as the compared systems
            where these are compared alone.
    """

    policy: int
    joint: int
    baseline: int
    control: int

    @property
    def both(self) -> int:
        """Texts of stages 2 and 3."""
        return self.policy + self.joint


@dataclass(frozen=True)
class Field:
    """The systems of a data set.

    Attributes:
        env: Name of the data set.
        entrants: The systems that fit it.
        texts: Texts that they are trained on.
        examples: All records of the data set.
        some: The first training texts, with the encoder, which may not be fine-tuned yet.
    """

    env: str
    entrants: tuple[Entrant, ...]
    texts: StageTexts
    examples: RunExamples
    some: Workload

    @property
    def needs_stage1(self) -> bool:
        """Tell whether the encoder is still to be fine-tuned."""
        return not self.some.backbone.fine_tuned

    @property
    def depth(self) -> int:
        """Layers of the encoder."""
        return StagedEncoder(self.some.backbone.model).num_layers

    @property
    def train_texts(self) -> int:
        """Texts of the training split, about: counted on the first."""
        return round(len(self.examples.train) * self._texts_per_record)

    @property
    def evaluation_texts(self) -> int:
        """Texts of the evaluation split, about."""
        return round(len(self.examples.validation) * self._texts_per_record)

    @property
    def _texts_per_record(self) -> float:
        return len(self.some.texts) / len(self.some.examples)


def load_field(options: ReproduceOptions, env: str, systems: Iterable[str]) -> Field:
    """Load a data set and find out what fits it, so that a fault of any is known before the work begins.

    Args:
        options: Options of the reproduction.
        env: Name of the data set.
        systems: Names of the systems.

    Raises:
        ValueError: The data or the encoder cannot be loaded, or the speed-up is out of reach of ours.
        UserError: No system fits.
    """
    examples = RunExamples.load(options.texts_of(env))
    some = examples.encode_some(examples.load_encoder(options.encoder))
    names = tuple(systems)
    named = options.baseline.training.teacher
    teacher = None if named is None else load_teacher(named, env, some.backbone, examples)
    entrants = tuple(found for name in names if (found := _entrant(options, some, name, names, teacher)) is not None)
    for one in entrants:
        tell_unread(options, one.name)
    if names and not entrants:
        raise UserError(f"none of --systems fits {env}: name others, or leave {env} out")
    field = Field(env, entrants, StageTexts(0, 0, 0, 0), examples, some)
    return replace(field, texts=_stage_texts(options, field))


def half_depth(field: Field) -> int:
    """Return the layers of a student of half depth.

    Args:
        field: The data set, with the encoder.
    """
    return max(1, field.depth // 2)


def _stage_texts(options: ReproduceOptions, field: Field) -> StageTexts:
    split, embedded = field.train_texts, field.some.data_source == "embedded"
    policy, joint = options.policy.training, options.joint.training
    first = stage2_texts(policy, embedded, split) + policy.cloning_texts
    second = stage3_texts(joint, resolve_device(options.run.device).type, split)
    baseline = options.baseline.training.total_texts or first + second
    return StageTexts(first, second, baseline, baseline if options.compared_alone else first + second)


def tell_unread(options: ReproduceOptions, name: str) -> None:
    """Say which of the options that were given a system does not read.

    Args:
        options: Options of the reproduction.
        name: Name of the system.
    """
    kind = SYSTEMS.get(name)
    given = [] if kind is None else [flag(f"baseline.{unread}") for unread in options.unread_by(name)]
    if kind is not None and (told := [one for one in given if one in changed_options(options)]):
        announce(f"{name} {kind.unread_because}: {' '.join(told)} is not for it")


def _entrant(
    options: ReproduceOptions, some: Workload, name: str, names: tuple[str, ...], teacher: Backbone | None
) -> Entrant | None:
    """Return a system with the speed-up that it aims at, None where it does not fit; that is announced."""
    env = some.preset.name
    target = options.target(env)
    if name == OURS or name in HEURISTICS:
        check_reach(options.stage2(env, target, options.run), some)
        return Entrant(name, target)
    unnamed = not options.systems
    if unnamed and name == RestoringPowerBert.title and some.task.reads != "tokens":
        return None  # PoWER-BERT itself runs there
    reasons: list[str] = []
    for speedup in dict.fromkeys((target, usual_speedup(name, env), *(target * factor for factor in NEAR))):
        if (reason := _misfit(options, some, name, speedup, teacher)) is None:
            if reasons:
                announce(f"{env}: {name} has no {target:g}x, and aims at {speedup:.3g}x ({reasons[0]})")
            return Entrant(name, speedup)
        reasons.append(reason)
    if unnamed and name == PowerBert.title and RestoringPowerBert.title in names:
        return None  # which stands for it
    announce(f"{env}: {name} is left out: {reasons[0]}")
    return None


def _misfit(
    options: ReproduceOptions, some: Workload, name: str, speedup: float, teacher: Backbone | None
) -> str | None:
    """Return why a system cannot be made for a task and a speed-up; None where it can."""
    own = replace(some, backbone=replace(some.backbone, model=copy.deepcopy(some.backbone.model)))
    run = replace(options.run, output_dir=Path())
    try:
        run_options = options.compared(some.preset.name, name, speedup, run, 1)
        check_options(run_options)
        system = make_system(run_options, own)
        if teacher is not None:
            system.check_teacher(teacher.model)
    except (ValueError, UserError) as error:
        return " ".join(str(error).split())
    return None
