"""Which files or data sets hold the splits of a user's own data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from datasets import DatasetDict, load_from_disk

from trbert_env.data.hub import Hub, load_from_hub
from trbert_env.data.own.tables import DatasetTable, Table, open_table
from trbert_env.data.rows import Rows
from trbert_env.data.sampling import grouped_order, passage_codes
from trbert_env.parameters import ParameterError

#: Names of the split that is validated on, in the order of preference; the last where nothing is asked to be held out.
_VALIDATION = ("validation", "valid", "dev", "test")
_SAVED = ("dataset_dict.json", "state.json")


@dataclass(frozen=True)
class OwnFiles:
    """A user's own data: files, a folder saved by ``datasets``, or any data set of the hub.

    Without validation data, a share of the training data is held out: the same for the same seed, with
    duplicates, and records that share a passage, on one side.

    Attributes:
        train_file: A CSV, TSV, JSON, JSON lines or parquet file, plain or ``.gz``.
        validation_file: Another one.
        dataset: Instead of files: a folder of ``save_to_disk`` or a name on the hub.
        config: The configuration of the data set on the hub.
        validation_share: The share of the training records that is held out, above 0 and below 1.
        split_seed: Seed of what is held out.

    Raises:
        ValueError: Neither or both of files and data set are given, both files are one, or the share is out of range.
    """

    train_file: str | None = None
    validation_file: str | None = None
    dataset: str | None = None
    config: str | None = None
    validation_share: float = 0.1
    split_seed: int = 0

    def __post_init__(self) -> None:
        """Check that the fields fit together."""
        files = self.train_file is not None or self.validation_file is not None
        if files == (self.dataset is not None):
            raise ParameterError(
                lambda name: (
                    f"give files ({name('train_file')}, {name('validation_file')}) or a data set ({name('dataset')}): "
                    "one of the two"
                )
            )
        if not 0 < self.validation_share < 1:
            raise ParameterError(
                lambda name: (
                    f"{name('validation_share')} is {self.validation_share}: give a share above 0 and below 1, as 0.1"
                )
            )
        if self.validation_file is not None and not self._held_out_as_by_default:
            raise ParameterError(
                lambda name: (
                    "a validation file leaves nothing to hold out: leave "
                    f"{name('validation_share')} and {name('split_seed')} out"
                )
            )
        if None not in (self.train_file, self.validation_file) and _same(self.train_file, self.validation_file):
            raise ParameterError(
                lambda name: (
                    f"{self.train_file} is both {name('train_file')} and {name('validation_file')}, so that results "
                    f"would be of texts that are learned: leave {name('validation_file')} out, and some are held out"
                )
            )
        if self.config is not None and self.source != "hub":
            raise ParameterError(
                lambda name: (
                    f"{name('dataset_config')} is {self.config!r}, which only a data set of the hub has: leave it out"
                )
            )

    @property
    def _held_out_as_by_default(self) -> bool:
        return (self.validation_share, self.split_seed) == (OwnFiles.validation_share, OwnFiles.split_seed)

    @property
    def name(self) -> str:
        """A short name for descriptions."""
        first = self.train_file or self.validation_file or self.dataset
        return Path(str(first)).name.partition(".")[0]

    @property
    def source(self) -> Literal["local", "hub"]:
        """Where the data come from."""
        return "local" if self.dataset is None or self._saved_folder is not None else "hub"

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The table of each split that is there.

        Raises:
            FileNotFoundError: A file, folder or data set is not there.
            ValueError: A format is unknown, or how much to hold out is given and the data set has a validation split.
        """
        if self.dataset is None:
            files = {"train": self.train_file, "validation": self.validation_file}
            return {split: open_table(Path(file).expanduser()) for split, file in files.items() if file is not None}
        found = self._splits_of(self.dataset)
        for other in reversed(_VALIDATION if self._held_out_as_by_default else _VALIDATION[:-1]):
            if other in found:
                found["validation"] = found[other]
        if "validation" in found and not self._held_out_as_by_default:
            raise ParameterError(
                lambda name: (
                    f"{self.dataset} has a split to validate on, so that nothing is held out: leave "
                    f"{name('validation_share')} and {name('split_seed')} out"
                )
            )
        return found

    @property
    def main(self) -> Table:
        """The table that columns and classes are told from: the training split, or else the first."""
        return self.tables.get("train") or next(iter(self.tables.values()))

    def table(self, split: str) -> tuple[Table, bool]:
        """Return the table that holds a split, and whether the split is only a part of it.

        Args:
            split: ``"train"``, ``"validation"`` or another split of the data set.

        Raises:
            FileNotFoundError: A file, folder or data set is not there.
            ValueError: There is no such split.
        """
        held_out = "validation" not in self.tables and split in ("train", "validation") and "train" in self.tables
        if not held_out and split not in self.tables:
            splits = dict.fromkeys([*self.tables, *(("validation",) if "train" in self.tables else ())])
            raise ValueError(f"{self.name} has no split {split!r}: choose from {', '.join(splits)}")
        return self.tables["train" if held_out else split], held_out

    def part(self, rows: Rows, split: str) -> Rows:
        """Return the training part, or the held-out part, of the training records.

        Duplicates and records with a common passage are in one part.

        Args:
            rows: All training records.
            split: ``"train"`` or ``"validation"``.

        Raises:
            ValueError: There are too few records to hold any out.
        """
        order, ends = grouped_order(passage_codes(rows.table), np.random.default_rng(self.split_seed))
        wanted = max(1, round(self.validation_share * len(rows)))
        fitting = ends[ends <= len(rows) - wanted]
        if not len(fitting):
            raise ParameterError(
                lambda name: (
                    f"{self.name} has too few records that differ to hold out {wanted} of {len(rows)} for validation: "
                    f"give {name('validation_file')}"
                )
            )
        rest = int(fitting[-1])
        if 2 * rest < len(rows) and 2 * wanted <= len(rows):
            raise ParameterError(
                lambda name: (
                    f"{self.name} has {len(ends)} passages, and to hold out {wanted} of {len(rows)} records for "
                    f"validation takes {len(rows) - rest} of them: give {name('validation_file')}, or another "
                    f"{name('split_seed')}"
                )
            )
        mask = np.full(len(rows), split != "train")
        mask[order[:rest]] = split == "train"
        return rows.keep(mask)

    def said(self, split: str, is_part: bool) -> str:
        """Return a phrase on how a split came about, for descriptions; nothing if it is there as it is.

        Args:
            split: ``"train"`` or ``"validation"``.
            is_part: True if it is a part of the training records.
        """
        share = f"{100 * self.validation_share:g} % held out by seed {self.split_seed}"
        return "" if not is_part else f" ({'without' if split == 'train' else 'the'} {share})"

    @property
    def _saved_folder(self) -> Path | None:
        folder = Path(str(self.dataset)).expanduser()
        return folder if folder.is_dir() else None

    def _splits_of(self, dataset: str) -> dict[str, Table]:
        folder = self._saved_folder
        if folder is None:
            hub = Hub(dataset, self.config)
            loaded = load_from_hub(hub, None, "give files, or a folder of save_to_disk")
            name = f"{hub} on the hub"
        else:
            if not any((folder / mark).is_file() for mark in _SAVED):
                raise FileNotFoundError(f"{folder} is no folder of save_to_disk: name the files in it instead")
            loaded, name = load_from_disk(str(folder)), str(folder)
        splits = loaded if isinstance(loaded, DatasetDict) else {"train": loaded}
        return {split: DatasetTable(part, f"{name}, {split}", split) for split, part in splits.items()}


def _same(first: str | None, second: str | None) -> bool:
    """Whether two paths are of one file."""
    return Path(str(first)).expanduser().resolve() == Path(str(second)).expanduser().resolve()
