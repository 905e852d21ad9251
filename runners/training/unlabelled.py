"""Texts without labels, from which a policy learns in place of the training texts."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset, concatenate_datasets

from runners.cli.display import announce
from runners.cli.items import named_columns
from runners.training.loading import RunExamples, Splits, announce_too_long
from runners.training.options.policy import TrainPolicyOptions
from trbert_env.data.backbones import move
from trbert_env.data.faults import Faults
from trbert_env.data.kinds import Text
from trbert_env.data.own.unlabelled import OPTION, UnlabelledTexts
from trbert_env.data.records import records_of
from trbert_env.data.schema import Schema
from trbert_env.data.workload import Workload
from trbert_env.encoder.texts import TextBatch
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import Task, make_task
from trbert_env.tasks.classification import Classification

#: Texts of which it is seen whether the encoder tells them apart, and how many run together.
LOOKED_AT, AT_ONCE = 128, 16
#: Share of texts in one class from which on it does not.
ONE_CLASS = 0.95


@dataclass(frozen=True)
class UnlabelledExamples:
    """Texts without labels, before any encoder is loaded.

    Attributes:
        texts: An id, and the task's fields, of each.
    """

    texts: Dataset

    @classmethod
    def load(cls, options: TrainPolicyOptions, examples: RunExamples) -> UnlabelledExamples | None:
        """Read the files at once, so that a fault of any is known before the work begins; announce what was found.

        Args:
            options: Options of the run, which may name no files: then there are None.
            examples: Records of the run.

        Raises:
            FileNotFoundError: A file or folder is missing.
            ValueError: The files are malformed or hold no text, or the task reads no texts without labels.
        """
        files, named = options.training.unlabelled_file, options.training.unlabelled_columns
        if not files:
            return None
        task = examples.trained or make_task(examples.request.preset)
        fields, faults = _fields_of(task, examples.train), Faults(options.data.skip_bad_records)
        found = UnlabelledTexts(files, named_columns(OPTION, named))
        form = Schema("unlabelled texts", {name: Text() for name in ("id", *fields)})
        pieces = [
            records_of([{"id": key, **values} for key, values in batch], form)
            for batch in found.batches(fields, faults)
            if batch
        ]
        origin = found.origin(fields, faults)
        if not pieces:
            raise ValueError(f"no unlabelled text is left to learn from: {origin}: give others")
        texts = concatenate_datasets(pieces)
        announce(f"the policy learns from {len(texts):,} texts without labels, and not from training data: {origin}")
        _warn_of_evaluation(texts, fields, examples.validation)
        return cls(texts)

    def beside(self, splits: Splits, *, trained: bool) -> Splits:
        """Encode them as the training texts are; returns the splits of a run with them.

        Args:
            splits: The splits.
            trained: True if a trained model settles the length.

        Raises:
            ValueError: The encoder cannot read a text.
        """
        found = splits.train.unlabelled(self.texts.remove_columns("id"), self.texts["id"][:])
        announce_too_long(found, "texts without labels", trained=trained)
        return replace(splits, unlabelled=found)


def _fields_of(task: Task, records: Dataset) -> tuple[str, ...]:
    """The task's fields that the records of a run have: all or none of them have a second text.

    Raises:
        ValueError: The task has none, or one whose values have a form, as options.
    """
    if not task.own_fields or not all(field.plain for field in task.own_fields):
        raise ValueError(
            f"--unlabelled-file is for classification and for questions on a context, and the task is "
            f"{type(task).__name__}: leave it out"
        )
    first = records[0]
    return tuple(field.name for field in task.own_fields if field.required or first.get(field.name))


def _warn_of_evaluation(texts: Dataset, fields: Sequence[str], evaluated: Dataset) -> None:
    """Say how many texts are also reported on: the policy will have seen them, if not their labels."""

    def keys(records: Dataset) -> set[tuple[str, ...]]:
        return set(zip(*(records[name] for name in fields), strict=True))

    if both := len(keys(texts) & keys(evaluated)):
        announce(
            f"{both:,} of the texts without labels are evaluation data too: leave them out for results on texts that "
            "nothing was learned from"
        )


def warn_of_one_class(splits: Splits, device: torch.device) -> None:
    """Say so where the encoder finds nearly all texts without labels in one class, unlike the training texts.

    Whatever is skipped of such texts, the answer stays, so that they teach next to nothing (RESULTS.md, section 1).

    Args:
        splits: Texts of the run; nothing is looked at where none are without labels.
        device: Device to run on.
    """
    task = splits.train.task
    if splits.unlabelled is None or not isinstance(task, Classification) or task.num_logits == 1:
        return
    model = move(copy.deepcopy(splits.train.backbone.model), device, torch.float32).eval()
    staged = StagedModel(model, task)
    (name, count, total), (_, usual, of) = (
        _commonest_class(staged, workload) for workload in (splits.unlabelled, splits.train)
    )
    if count >= ONE_CLASS * total and usual < ONE_CLASS * of:
        announce(
            f"the encoder finds {count} of {total} texts without labels in the class {name!r}, and at most {usual} of "
            f"{of} training texts in one: a policy learns next to nothing of texts whose answer is sure, so give "
            "others, or leave --unlabelled-file out"
        )


@torch.no_grad()
def _commonest_class(staged: StagedModel, workload: Workload) -> tuple[str, int, int]:
    """The class that the unreduced encoder gives most often, how often, and to how many texts."""
    task, number = staged.task, len(workload.texts)
    places = sorted({index * number // LOOKED_AT for index in range(LOOKED_AT)})
    texts, logits = [workload.texts[place] for place in places], list[npt.NDArray[np.float32]]()
    for first in range(0, len(texts), AT_ONCE):
        batch = TextBatch.from_texts(texts[first : first + AT_ONCE], staged.device)
        pieces = task.split(staged(batch).cpu(), batch.layout)
        logits.extend(piece.numpy() for piece in pieces)
    found = task.predict(texts, logits, workload.examples.select(places))
    ((name, count),) = Counter(map(str, found.values())).most_common(1)
    return name, count, len(texts)
