"""Splits, seeds and ids that the embedded corpora share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from datasets import Dataset, Features

#: The splits of every embedded corpus but the SQuAD2-form one, which has no test split.
SPLITS = ("train", "validation", "test")


def check_split(split: str, splits: Sequence[str] = SPLITS) -> None:
    """Check that a corpus has a split.

    Args:
        split: The name that was asked for.
        splits: The names that there are.

    Raises:
        ValueError: ``split`` is unknown.
    """
    if split not in splits:
        raise ValueError(f"unknown split {split!r} of the embedded corpus: use one of {', '.join(splits)}")


def names_of(split: str) -> str:
    """Return the part of the name tables that a split draws from; test texts use those of validation.

    Example:
        >>> names_of("train"), names_of("test")
        ('train', 'validation')
    """
    return "train" if split == "train" else "validation"


def source_of_randomness(corpus: str, split: str, seed: int) -> Random:
    """Return a generator that depends on its arguments only, in every process.

    Args:
        corpus: The name of the corpus.
        split: The name of the split.
        seed: The seed that the user gave.
    """
    return Random(f"embedded-{corpus}-{split}-{seed}")


def numbered(rows: Iterable[dict[str, Any]], features: Features, corpus: str, split: str, seed: int) -> Dataset:
    """Return rows as a data set with ids that are unique over corpora, splits and seeds.

    Args:
        rows: The records, without ids.
        features: The columns, ``id`` among them.
        corpus: The name of the corpus.
        split: The name of the split.
        seed: The seed that the user gave.
    """
    records = [{"id": f"{corpus}-{split}-{seed}-{number:05d}", **row} for number, row in enumerate(rows)]
    return Dataset.from_list(records, features=features)
