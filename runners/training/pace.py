"""Pace of this machine: seconds a text of each kind of work, from a few measured steps; nothing of them is kept."""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from agents.distillation import Teacher
from runners.cli.options import resolve_device
from runners.evaluation.timing import BATCH_SIZE, measure, system_pass
from runners.finetune import Finetuner
from runners.training.joint import JointTraining
from runners.training.loading import Splits
from runners.training.loop import Training
from runners.training.options.joint import JointFinetuneOptions
from runners.training.options.policy import TrainPolicyOptions
from runners.training.policy import PolicyTraining
from runners.training.precision import training_dtype
from runners.training.start import Start
from runners.training.supervised import Schedule
from trbert_env.data.backbones import move
from trbert_env.data.workload import Workload
from trbert_env.staged_model import StagedModel
from trbert_env.system import UnreducedSystem

#: Texts of a measured step on a CPU, at most: more of them only take longer. On a GPU a small step costs as much as a
#: large one, and steps are measured as they are.
STEP_TEXTS = 16
#: Steps of each measurement; the first does not count, and the fastest of the others does.
STEPS = 3


def supervised_pace(schedule: Schedule, some: Workload, device: torch.device, dtype: str) -> float:
    """Return seconds a text of stage 1.

    Args:
        schedule: Its schedule.
        some: Training texts, with an encoder that may be without a trained head; left as it is.
        device: Device to compute on.
        dtype: Number format that autocast computes in.
    """
    own = replace(some, backbone=replace(some.backbone, model=copy.deepcopy(some.backbone.model)))
    small = replace(schedule, steps=STEPS, batch_size=_step_texts(schedule.batch_size, device))
    return _seconds_a_text(Finetuner(own, small, device, dtype, dropout=0.0, seed=0))


def policy_pace(options: TrainPolicyOptions, some: Workload) -> float:
    """Return seconds a text of stage 2.

    Args:
        options: Its options.
        some: Training texts, with the encoder.
    """
    device = resolve_device(options.run.device)
    size = _step_texts(options.training.texts_per_step, device)
    training = replace(options.training, texts_per_step=size, total_texts=STEPS * size, cloning_texts=0)
    start = Start(some.backbone, replace(options, training=training))
    return _seconds_a_text(PolicyTraining(start, Splits(some, some), str(device)))


def joint_pace(options: JointFinetuneOptions, some: Workload, teacher: Teacher) -> float:
    """Return seconds a text of stage 3, or of its unreduced control.

    Args:
        options: Its options, with the cuts in place of a policy to start from.
        some: Training texts, with the encoder.
        teacher: Teacher to distil from.
    """
    device, given = resolve_device(options.run.device), options.training
    size = _step_texts(given.texts_per_step, device)
    parts = 1 if size < given.texts_per_step else given.accumulate
    training = replace(given, texts_per_step=size, accumulate=parts, total_texts=STEPS * size)
    start = Start(some.backbone, replace(options, training=training))
    return _seconds_a_text(JointTraining(start, Splits(some, some), teacher, device))


def forward_pace(model: PreTrainedModel, some: Workload) -> float:
    """Return seconds a text of an evaluation that skips nothing.

    Args:
        model: The task model, where it computes and in its number format.
        some: Texts; the first batch is run.
    """
    texts = [some.texts[index] for index in range(min(BATCH_SIZE, len(some.texts)))]
    one_pass = system_pass(UnreducedSystem(StagedModel(model, some.task)), texts, BATCH_SIZE)
    return measure({"forward": one_pass}, 1, str(model.device))["forward"].median / len(texts)


def own_teacher(some: Workload, dtype: str, device: torch.device) -> Teacher:
    """Return the encoder as its own teacher, in float32 on a device: a copy.

    Args:
        some: Texts with the encoder.
        dtype: ``--dtype``.
        device: Device to compute on.
    """
    model = move(copy.deepcopy(some.backbone.model), device, torch.float32).eval()
    return Teacher(model, some.task, training_dtype(dtype, device))


def _step_texts(texts_per_step: int, device: torch.device) -> int:
    return min(STEP_TEXTS, texts_per_step) if device.type == "cpu" else texts_per_step


def _seconds_a_text(training: Training) -> float:
    """Seconds of the fastest step, for each of its texts; what else runs on the machine only slows steps down."""
    found = []
    for _ in range(STEPS):
        before, started = training.texts_seen, time.perf_counter()
        training.step()
        found.append((time.perf_counter() - started) / (training.texts_seen - before))
    return min(found[1:])
