"""Tasks: how texts are encoded, what their likelihood is, and how answers are decoded and scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trbert_env.presets import Preset
from trbert_env.tasks.base import Task
from trbert_env.tasks.candidate_qa import CandidateQA
from trbert_env.tasks.classification import Classification
from trbert_env.tasks.multi_hop_qa import MultiHopQA
from trbert_env.tasks.multiple_choice import MultipleChoice
from trbert_env.tasks.span_qa import SpanQA

#: Every kind of task by its name.
TASKS: dict[str, type[Task]] = {
    "candidate_qa": CandidateQA,
    "classification": Classification,
    "multi_hop_qa": MultiHopQA,
    "multiple_choice": MultipleChoice,
    "span_qa": SpanQA,
}


def make_task(preset: Preset) -> Task:
    """Make the task of a data set, with the settings that its preset names.

    Raises:
        ValueError: The task is unknown, or it has no such setting.
    """
    return task_of(preset.task, preset.settings)


def task_of(name: str, settings: Mapping[str, Any]) -> Task:
    """Make a task by its name.

    Args:
        name: A key of :data:`TASKS`.
        settings: Fields of its class.

    Raises:
        ValueError: The task is unknown, or it has no such setting.
    """
    kind = task_class(name)
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(
            f"task {name!r} cannot be made from {dict(settings)} ({error}): correct the settings"
        ) from error


def task_class(name: str) -> type[Task]:
    """Look up the class of a task.

    Raises:
        ValueError: The task is unknown.
    """
    if name not in TASKS:
        raise ValueError(f"task {name!r} is unknown: use one of {', '.join(TASKS)}")
    return TASKS[name]


def task_name(task: Task) -> str:
    """Return the name of a task in :data:`TASKS`.

    Raises:
        ValueError: It is none of them.
    """
    for name, kind in TASKS.items():
        if type(task) is kind:
            return name
    raise ValueError(f"{type(task).__name__} is none of the tasks {', '.join(TASKS)}: add it to TASKS")


__all__ = [
    "TASKS",
    "CandidateQA",
    "Classification",
    "MultiHopQA",
    "MultipleChoice",
    "SpanQA",
    "Task",
    "make_task",
    "task_class",
    "task_name",
    "task_of",
]
