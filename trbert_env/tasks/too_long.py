"""How many texts do not fit what a task reads: told on a sample, for texts are encoded only when they are asked for."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trbert_env.tasks.base import Task
from trbert_env.tasks.candidate_qa import CandidateQA
from trbert_env.tasks.classification import Classification
from trbert_env.tasks.multiple_choice import MultipleChoice
from trbert_env.tasks.span_qa import SpanQA

#: Records that are looked at.
LOOKED_AT = 1000


@dataclass(frozen=True)
class TooLong:
    """Texts that do not fit, of those that were looked at.

    Attributes:
        count: Number of texts that do not fit.
        seen: Number of texts that were looked at.
        total: Number of all texts; more than ``seen`` makes the count an estimate.
        fate: Treatment of those that do not fit, such as ``"cut at 128 tokens"``.
        slices: True if the task could read them in several windows as one text.
    """

    count: int
    seen: int
    total: int
    fate: str
    slices: bool

    def __str__(self) -> str:
        """Return how many, and what becomes of them."""
        if self.seen == self.total:
            return f"{self.count:,} of {self.total:,} {self.fate}"
        return f"about {100 * self.count / self.seen:.1f} % of {self.total:,} {self.fate}"


def too_long(task: Task, records: Dataset, tokenizer: PreTrainedTokenizerBase) -> TooLong | None:
    """Count the texts that a task cuts, or the questions that it reads in several windows.

    Records are encoded once more with a little more room: those that make use of it do not fit. Of queries with
    candidates those count whose candidates are cut: that supports are is what their number is for.

    Args:
        task: The task, configured.
        records: Its records, in random order.
        tokenizer: The encoder's.

    Returns:
        The count; None where all fit, or for tasks that choose what they read of many paragraphs.

    Raises:
        ValueError: A text cannot be read at all.
    """
    if isinstance(task, CandidateQA):
        return _cut_candidates(task, records.select(range(min(LOOKED_AT, len(records)))), len(records), tokenizer)
    if not isinstance(task, (Classification, MultipleChoice, SpanQA)):
        return None
    some = records.select(range(min(LOOKED_AT, len(records))))
    slices = 1 if isinstance(task, MultipleChoice) else task.max_slices
    roomier = copy.copy(task)
    if slices == 1:
        roomier.max_tokens += 1
    else:
        assert not isinstance(roomier, MultipleChoice)
        roomier.max_slices = max(slices, 1) + 1
    texts = roomier.encode(some, tokenizer)
    lengths = [text.sequence_lengths for text in texts]
    beyond = [max(own) > task.max_tokens if slices == 1 else len(own) > max(slices, 1) for own in lengths]
    pairs = isinstance(task, Classification) and some[0]["text_pair"] is not None
    may_slice = not pairs and not isinstance(task, MultipleChoice)
    found = TooLong(sum(beyond), len(some), len(records), _fate(task, slices), may_slice)
    return found if found.count else None


def _cut_candidates(task: CandidateQA, some: Dataset, total: int, tokenizer: PreTrainedTokenizerBase) -> TooLong | None:
    count = task.cut_queries(some, tokenizer)
    fate = f"queries have candidates that are cut to fit {task.max_tokens} tokens, which may make them alike"
    return TooLong(count, len(some), total, fate, slices=False) if count else None


def _fate(task: Classification | MultipleChoice | SpanQA, slices: int) -> str:
    what = "texts are" if isinstance(task, Classification) else "questions are"
    if slices == 0:
        return f"{what} read in several windows of {task.max_tokens} tokens"
    windows = "" if slices == 1 else f"{slices} windows of "
    return f"{what} cut at {windows}{task.max_tokens} tokens"
