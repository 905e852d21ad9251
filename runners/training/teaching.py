"""What a run learns from beside gold answers: a fine-tuned start, and the unreduced teacher."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.distillation import Teacher
from runners.cli.display import progress
from runners.cli.flags import refuse_given
from runners.cli.options import EncoderOptions
from runners.cli.run import UserError
from runners.runs.models import is_token_reduced, load_model
from runners.training.loading import RunExamples
from trbert_env.data.backbones import Backbone
from trbert_env.data.cache import cache_folder, check_cache
from trbert_env.data.workload import Workload
from trbert_env.tasks import Task, make_task
from trbert_env.tasks.varied import check_lasting


def load_fine_tuned(encoder: EncoderOptions, env: str, examples: RunExamples) -> Backbone:
    """Load the fine-tuned encoder that a run starts from.

    Args:
        encoder: The group of options.
        env: Name of the data set.
        examples: Records of the run.

    Raises:
        UserError: It is not fine-tuned.
    """
    backbone = examples.load_encoder(encoder)
    if not backbone.fine_tuned:
        raise UserError(f"backbone '{backbone.name}' is not fine-tuned for {env}: run runners/finetune.py first")
    return backbone


def check_temperature(options: Any, task: Task) -> None:
    """Refuse a temperature of distillation that would change nothing.

    Args:
        options: Options of the runner.
        task: Task of the run.

    Raises:
        ValueError: One is given, and the task is a plain regression.
    """
    if not task.has_temperature:
        refuse_given(options, ("--temperature",), "plain regression learns its teacher's numbers as they are")


def load_teacher(name: str | None, env: str, backbone: Backbone, examples: RunExamples) -> Backbone:
    """Load the unreduced model that is distilled from.

    Args:
        name: Folder of a model or of a run, or hub name; None for the encoder itself.
        env: Name of the data set.
        backbone: The encoder.
        examples: Records of the run.

    Raises:
        UserError: It is not fine-tuned, reads other tokens than the student, or has other outputs.
    """
    if name is None:
        return backbone
    task = None
    if is_token_reduced(name):
        model, teacher = load_model(Path(name), "cpu")
        if model.config.env != env:
            raise UserError(f"teacher '{name}' was trained for {model.config.env}, not for {env}")
        task = model.task
    else:
        teacher = examples.load_encoder(EncoderOptions(name))
    if not teacher.fine_tuned:
        raise UserError(f"teacher '{name}' is not fine-tuned for {env}: give one that is")
    if teacher.tokenizer.get_vocab() != backbone.tokenizer.get_vocab():
        raise UserError(f"teacher '{name}' has another vocabulary than the encoder: give one of the same")
    theirs = _outputs(task or _task_of(teacher, examples))
    ours = _outputs(examples.trained or _task_of(backbone, examples))
    if theirs != ours:
        raise UserError(
            f"teacher '{name}' has the outputs {theirs}, and the encoder {ours}: give one of the same in the same order"
        )
    return teacher


def _task_of(backbone: Backbone, examples: RunExamples) -> Task:
    """The task as an encoder's head settles it."""
    preset = examples.request.preset
    if examples.trained is not None:
        preset = replace(preset, settings=examples.trained.settings)
    task = make_task(preset)
    task.configure(copy.deepcopy(backbone.model.config), examples.train, examples.labels)
    return task


def _outputs(task: Task) -> str:
    """Number and names of a task's outputs, in their order."""
    labels = ", ".join(map(str, getattr(task, "labels", ())))
    return f"{task.num_logits} ({labels})" if labels else str(task.num_logits)


def check_memory(train: Workload) -> None:
    """Check, before work is lost, that the teacher's logits of all texts can be kept.

    Args:
        train: Training texts.

    Raises:
        ValueError: The texts vary from pass to pass.
        OSError: The cache cannot be written.
    """
    check_lasting(train.texts)
    check_cache(cache_folder() / "teachers" / "logits")


def remember(teacher: Teacher, train: Workload, *, states: bool = False) -> None:
    """Compute the teacher's logits of all texts, or find those of an earlier run; see :meth:`Teacher.remember`.

    Args:
        teacher: The teacher.
        train: Training texts.
        states: True where its states are learned from too.
    """
    with progress("teacher's logits", len(train.texts)) as bar:
        teacher.remember(train.texts, cache_folder() / "teachers", bar.update, states=states)
