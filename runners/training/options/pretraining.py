"""Options of pre-training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from runners.cli.flags import refuse_given
from runners.cli.items import named_columns
from runners.cli.options import Group, RunOptions
from runners.training.language_distillation import StudentOptions
from runners.training.supervised import Schedule
from trbert_env.data.plain.documents import PlainTexts, files_in, of_dataset
from trbert_env.ranges import LARGEST_SEED, Range


@dataclass(frozen=True)
class PlainTextOptions:
    """The texts."""

    train_file: tuple[Path, ...] = ()
    """Text files, tables (CSV, TSV, JSON, JSON lines, parquet) with a column of texts, and folders of both."""

    validation_file: tuple[Path, ...] = ()
    """Other ones to measure perplexity on; when not given, a share of the training texts."""

    dataset: str | None = None
    """Instead of files: a folder saved by datasets, or any data set of the hub."""

    dataset_config: str | None = None
    """Configuration of that data set on the hub."""

    columns: tuple[str, ...] = ()
    """Name of the column of the texts in tables, as text=body; when not given it is guessed, which is announced."""

    validation_share: Annotated[float, Range(above=0, below=1)] = 0.05
    """Share of the training sequences that is held out where there are no validation texts."""

    split_seed: Annotated[int, Range(0, LARGEST_SEED)] = 0
    """Seed of what is held out."""

    max_eval_texts: Annotated[int, Range(1)] = 256
    """Sequences to measure perplexity on; a random sample of those that are held out."""

    skip_bad_records: bool = False
    """Leave malformed records and files out and count them, instead of stopping at the first."""

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            ValueError: The message names the options.
        """
        if bool(self.train_file) == (self.dataset is not None):
            raise ValueError("pre-training reads plain texts: give --train-file, or --dataset")
        if self.dataset is not None and self.validation_file:
            raise ValueError("--dataset has its own validation split, or a share of it: leave --validation-file out")
        if self.dataset_config is not None and self.dataset is None:
            raise ValueError("--dataset-config is of a --dataset: leave it out")
        if unknown := self._named.keys() - {"text"}:
            raise ValueError(f"--columns names {sorted(unknown)[0]!r}, and there is only text: give text=NAME")
        if "" in self._named.values():
            raise ValueError("--columns text= names no column: give text=NAME")

    @property
    def _named(self) -> dict[str, str]:
        return named_columns("--columns", self.columns)

    @property
    def name(self) -> str:
        """A short name of the texts."""
        place = self.train_file[0] if self.dataset is None else Path(self.dataset)
        return place.resolve().name.partition(".")[0] or "texts"

    def check_apart(self) -> None:
        """Refuse files to measure perplexity on that are learned from.

        Raises:
            FileNotFoundError: A file or folder is missing.
            ValueError: There is such a file.
        """
        train, held_out = (
            {file.resolve(): file for path in paths for file in files_in(path.expanduser())}
            for paths in (self.train_file, self.validation_file)
        )
        for file in train.keys() & held_out.keys():
            raise ValueError(f"{held_out[file]} is of --train-file and of --validation-file: leave it out of one")

    def texts(self) -> tuple[PlainTexts, PlainTexts | None]:
        """Return the training texts and the validation texts; None where those are a share of the former.

        Raises:
            FileNotFoundError: A file, folder or data set is missing.
            ValueError: The data set has no training split, or an option has no meaning for these texts.
        """
        common: dict[str, Any] = {"column": self._named.get("text"), "skip_bad_records": self.skip_bad_records}
        if self.dataset is None:
            return self._of_files(**common)
        splits = of_dataset(self.dataset, self.dataset_config)
        if "train" not in splits:
            raise ValueError(
                f"--dataset {self.dataset} has no split 'train' (it has {', '.join(splits)}): give another"
            )
        training, held_out = PlainTexts(dataset=splits["train"], **common), splits.get("validation")
        if held_out is None:
            return training, None
        if self.validation_share != PlainTextOptions.validation_share:
            raise ValueError(f"--dataset {self.dataset} has a validation split: leave --validation-share out")
        return training, PlainTexts(dataset=held_out, **common)

    def _of_files(self, column: str | None, skip_bad_records: bool) -> tuple[PlainTexts, PlainTexts | None]:
        """Texts of the files; a column that is named is that of the tables, of which one side may have none."""
        sides = [
            PlainTexts(files, skip_bad_records=skip_bad_records)
            for files in (self.train_file, self.validation_file)
            if files
        ]
        if column is not None:
            some = any(one.has_table for one in sides)  # where none is, each refuses the column
            sides = [replace(one, column=column) if one.has_table or not some else one for one in sides]
        return sides[0], sides[1] if len(sides) > 1 else None


@dataclass(frozen=True)
class LanguageModelOptions:
    """The encoder."""

    backbone: str | None = None
    """Folder of an encoder or of a run, hub name, or "embedded"; by default google-bert/bert-base-uncased."""

    max_length: Annotated[int, Range(8)] | None = None
    """Most tokens of a sequence, by default as many as the encoder has learned, up to 512; to more it is extended."""


@dataclass(frozen=True)
class PretrainTrainingOptions:
    """The training."""

    total_steps: Annotated[int, Range(1)] | None = None
    """Optimiser steps; one pass over the texts when neither these nor --total-texts are given."""

    total_texts: Annotated[int, Range(1)] | None = None
    """Sequences to train on, repeats counted, instead of --total-steps."""

    texts_per_step: Annotated[int, Range(1)] = 32
    """Sequences of one step."""

    accumulate: Annotated[int, Range(1)] = 1
    """Parts of a step that go through the encoder one after the other, to save memory."""

    learning_rate: Annotated[float, Range(0)] = 1e-4
    """Peak learning rate of AdamW."""

    warmup: Annotated[float, Range(0, 1)] = 0.1
    """Share of the steps over which the learning rate rises from 0; then it falls to 0."""

    watch: Annotated[int, Range(1)] = 4
    """Times along the way to measure perplexity, beside before the first step."""

    checkpoint_every: Annotated[int, Range(1)] = 500
    """Steps between two checkpoints."""

    def schedule(self, num_texts: int) -> Schedule:
        """Return how long and how fast to train on so many texts."""
        texts = num_texts if self.total_texts is None else self.total_texts
        steps = max(1, round(texts / self.texts_per_step)) if self.total_steps is None else self.total_steps
        return Schedule(steps, self.texts_per_step, self.learning_rate, self.warmup)


@dataclass(frozen=True)
class PretrainOptions:
    """Options of the runner of pre-training."""

    resume: Path | None = None
    """Go on with this run, with the options that it was begun with."""

    data: Group[PlainTextOptions] = field(default_factory=PlainTextOptions)
    encoder: Group[LanguageModelOptions] = field(default_factory=LanguageModelOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    training: Group[PretrainTrainingOptions] = field(default_factory=PretrainTrainingOptions)
    student: Group[StudentOptions] = field(default_factory=StudentOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        if self.resume is not None:  # the run's own options have been checked
            return
        self.data.check()
        if self.data.validation_file:
            refuse_given(self, ("--validation-share",), "--validation-file leaves nothing to hold out")
        if self.student.layers is None:
            weights = ("--soft-target-weight", "--mlm-weight", "--cosine-weight", "--temperature")
            refuse_given(self, weights, "without --layers no student is taught")
        training = self.training
        if training.total_steps is not None and training.total_texts is not None:
            raise ValueError("--total-steps and --total-texts say the same: leave one out")
        if training.texts_per_step % training.accumulate:
            raise ValueError(
                f"--texts-per-step {training.texts_per_step} must be a multiple of --accumulate {training.accumulate}"
            )
