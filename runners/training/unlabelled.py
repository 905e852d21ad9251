"""Texts without labels, from which a policy learns in place of the training texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset, concatenate_datasets

from runners.cli.display import announce
from runners.cli.items import named_columns
from runners.training.loading import RunExamples, announce_too_long
from runners.training.options.policy import TrainPolicyOptions
from trbert_env.data.faults import Faults
from trbert_env.data.kinds import Text
from trbert_env.data.own.unlabelled import OPTION, UnlabelledTexts
from trbert_env.data.records import records_of
from trbert_env.data.schema import Schema
from trbert_env.data.workload import Workload
from trbert_env.tasks import Task, make_task


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

    def encode(self, train: Workload, *, trained: bool) -> Workload:
        """Encode them as the training texts are.

        Args:
            train: The training split.
            trained: True if a trained model settles the length.

        Raises:
            ValueError: The encoder cannot read a text.
        """
        found = train.unlabelled(self.texts.remove_columns("id"), self.texts["id"][:])
        announce_too_long(found, "texts without labels", trained=trained)
        return found


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
