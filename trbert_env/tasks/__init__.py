"""Tasks: how texts are encoded, what their likelihood is, and how answers are decoded and scored."""

from __future__ import annotations

from trbert_env.presets import Preset
from trbert_env.tasks.base import Task
from trbert_env.tasks.span_qa import SpanQA


def make_task(preset: Preset) -> Task:
    """The task of a data set, with the lengths that its preset names."""
    if preset.task == "span_qa":
        return SpanQA(
            max_tokens=preset.max_tokens, stride=preset.stride, max_question_tokens=preset.max_question_tokens
        )
    raise ValueError(f"preset '{preset.name}' names the task '{preset.task}', which is not known here: use span_qa")


__all__ = ["SpanQA", "Task", "make_task"]
