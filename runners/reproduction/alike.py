"""One recipe for all systems of a reproduction: what compared ones learn by, and where it differs from ours."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import TypeVar

from agents.learning import LearningOptions
from runners.cli.flags import flag
from runners.training.options.baseline import BaselineStageOptions, BaselineTrainingOptions
from runners.training.options.joint import ENCODER_RATES, JointStageOptions

OptionsT = TypeVar("OptionsT", LearningOptions, BaselineTrainingOptions)


def trained_alike(joint: JointStageOptions, device: str) -> BaselineStageOptions:
    """Return the options by which compared systems learn as ours does in stage 3.

    Their encoders change more than one that skips tokens, so their rate does not fall where texts are few.

    Args:
        joint: Options of stage 3.
        device: Kind of device, ``"cpu"`` or ``"cuda"``.
    """
    shared = {one.name: getattr(joint.joint, one.name) for one in fields(LearningOptions)}
    if joint.joint.encoder_rate is None:
        shared["encoder_rate"] = ENCODER_RATES[device]
    training = BaselineTrainingOptions(texts_per_step=joint.training.texts_per_step)
    return BaselineStageOptions(LearningOptions(**shared), training)


def differences(own: JointStageOptions, theirs: BaselineStageOptions) -> tuple[str, ...]:
    """Return the lines that say what compared systems learn by differently from ours.

    Args:
        own: Options of our stage 3.
        theirs: Options of compared systems.
    """
    learning = replace(theirs.learning, encoder_rate=theirs.learning.peak_rate)
    names = [one.name for one in fields(LearningOptions)]
    pairs = [(name, getattr(learning, name), getattr(own.joint, name)) for name in names]
    pairs.append(("texts_per_step", theirs.training.texts_per_step, own.training.texts_per_step))
    told = [
        f"{flag(f'baseline.{name}')} {_told(value)} (ours {_told(ours)})"
        for name, value, ours in pairs
        if value != ours
    ]
    lines = [f"Compared systems learn by {', '.join(told)}."] if told else []
    if own.joint.states_weight:
        lines.append(f"Ours learns the teacher's states too, by --joint.states-weight {own.joint.states_weight:g}.")
    return tuple(lines)


def _told(value: float | None) -> str:
    return "by its number of texts" if value is None else f"{value:g}"


def with_defaults_for(options: OptionsT, unread: Collection[str]) -> OptionsT:
    """Return the same with the defaults of what a system does not read, which it refuses otherwise.

    Args:
        options: Options of a group.
        unread: Names of what the system does not read, of this group and of others.
    """
    defaults = type(options)()
    names = [one.name for one in fields(options) if one.name in unread]
    return replace(options, **{name: getattr(defaults, name) for name in names})
