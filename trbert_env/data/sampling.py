"""Random samples and held-out records of a split, whole groups and passages together where they must be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

#: The column that names the group of a record: a file, a passage.
GROUP = "group"

Indices = npt.NDArray[np.int64]


#: Share of the records, the last of the order, in which whole passages stand together, so that they can be held out.
RESERVED = 0.5
#: Share that is reserved at least, of a split in which one passage has most of the records.
LEAST_RESERVED = 0.2


def sample(dataset: Dataset, max_examples: int | None, seed: int = 0) -> Dataset:
    """Return a random sample in random order, the same for the same seed; a smaller one begins a larger one.

    Where the records have a ``group``, whole groups are taken while they fit, so that the sample may be a
    little smaller; only a first group that is larger than the sample is cut. Other records that share a passage
    (:func:`passages_of`) are drawn one by one, those of the last passages last.

    Args:
        dataset: The examples to choose from.
        max_examples: Number to take at most; None takes all, shuffled too.
        seed: Seed of the order.

    Raises:
        ValueError: If ``max_examples`` is less than 1.
    """
    _check_number(max_examples)
    order, ends = _order(dataset, seed)
    if max_examples is None or max_examples >= len(dataset):
        return dataset.select(order)
    return dataset.select(order[: _fitting(ends, max_examples) if GROUP in dataset.column_names else max_examples])


def hold_out(dataset: Dataset, count: int, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Set examples aside, to watch training on or to choose settings by: the last of :func:`sample`'s order.

    Whole passages are set aside, as few as make at least ``count`` records, so that nothing is learned about them. A
    :func:`sample` of the same seed has none of them, unless it takes nearly all.

    Args:
        dataset: The examples of a split.
        count: Number to set aside.
        seed: Seed of the order.

    Returns:
        The rest in random order, and those set aside.

    Raises:
        ValueError: It would leave nothing to train on, or not one whole passage.
    """
    if not 0 <= count < len(dataset):
        raise ValueError(f"{count} of {len(dataset)} examples cannot be held out: some must be left to train on")
    order, ends = _order(dataset, seed)
    fitting = ends[ends <= len(dataset) - count]
    if not len(fitting):
        fix = "hold out fewer" if len(ends) > 1 else "give examples of several passages"
        raise ValueError(
            f"{count} of {len(dataset)} examples cannot be held out, as those that share a passage stay together: {fix}"
        )
    rest = fitting[-1]
    return dataset.select(order[:rest]), dataset.select(order[rest:])


def passages_of(dataset: Dataset) -> Indices:
    """Number the passage of each record: records of one passage are no independent draws.

    Args:
        dataset: Records of any form.

    Returns:
        ``(len(dataset),)``, see :func:`passage_codes`.
    """
    names = _passage_columns(dataset.column_names)
    return passage_codes(dataset.select_columns(list(names)).with_format("arrow")[:]) if names else _alone(len(dataset))


def passage_codes(table: pa.Table) -> Indices:
    """Number the passage of each row, from 0 by where it first occurs.

    It is a row's ``group``, else its ``context``, else its ``text`` with its ``text_pair``; rows that have none of
    these stand alone.

    Args:
        table: Records of any form.

    Returns:
        ``(num_rows,)``.

    Example:
        >>> passage_codes(pa.table({"text": ["b", "a", "b"], "text_pair": [None, None, None]})).tolist()
        [0, 1, 0]
    """
    names = _passage_columns(table.column_names)
    if not names or not table.num_rows:
        return _alone(table.num_rows)
    first, *others = (_codes(table.column(name)) for name in names)
    for other in others:
        _, begins, inverse = np.unique(first * (other.max() + 1) + other, return_index=True, return_inverse=True)
        first = np.argsort(np.argsort(begins))[inverse]
    return first


def begin(dataset: Dataset, max_examples: int) -> Dataset:
    """Return the first examples of a dataset that lies in random order already, whole groups as :func:`sample`.

    Args:
        dataset: The examples; those of a group lie together.
        max_examples: Number to take at most.

    Raises:
        ValueError: If ``max_examples`` is less than 1.
    """
    _check_number(max_examples)
    if max_examples >= len(dataset):
        return dataset
    groups = _groups(dataset)
    ends = np.arange(1, len(dataset)) if groups is None else np.flatnonzero(np.diff(groups)) + 1
    return dataset.select(range(_fitting(ends, max_examples)))


def _order(dataset: Dataset, seed: int) -> tuple[Indices, Indices]:
    """The random order that samples are the beginning of, and the counts at which it may be cut to hold the rest out.

    Records without a group are drawn one by one at first, so that a small sample is of many passages; the last of them,
    :data:`RESERVED` of all, stand by passages.
    """
    random, groups = np.random.default_rng(seed), _groups(dataset)
    if groups is not None:
        return grouped_order(groups, random)
    order = random.permutation(len(dataset))
    by_passage, ends = grouped_order(passages_of(dataset), random)
    if len(ends) == len(dataset):
        return order, np.arange(1, len(dataset) + 1)
    size, reserved = len(dataset), RESERVED * len(dataset)
    if 2 * ends[0] > size:  # a passage of more than half of them, which nothing is held out of
        others = size - int(ends[0])
        reserved = max(RESERVED * others, min(others, LEAST_RESERVED * size))
    bound = int(max(ends[ends <= size - reserved], default=ends[0]))
    last = by_passage[bound:]
    return np.concatenate([order[~np.isin(order, last)], last]), ends[ends >= bound]


def _passage_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The columns that together name a record's passage; none where records stand alone."""
    known = ((GROUP,), ("context",), ("text", "text_pair"))
    return next((columns for columns in known if {*columns} <= {*names}), ())


def _alone(count: int) -> Indices:
    return np.arange(count, dtype=np.int64)


def _codes(column: pa.ChunkedArray) -> Indices:
    """Number values by where they first occur; a null is a second text that is not there."""
    encoded = column.cast(pa.large_string()).fill_null("").dictionary_encode()  # of one dictionary
    return np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)


def _groups(dataset: Dataset) -> Indices | None:
    """The group of each record, None where records have none."""
    if GROUP not in dataset.column_names:
        return None
    return passages_of(dataset)


def _check_number(max_examples: int | None) -> None:
    if max_examples is not None and max_examples < 1:
        raise ValueError(f"the number of examples is {max_examples}: give at least 1, or none for all")


def _fitting(ends: Indices, max_examples: int) -> int:
    """How many records the whole groups have that fit; all that are wanted where the first is larger."""
    fitting = ends[ends <= max_examples]
    return int(fitting[-1]) if len(fitting) else max_examples


def grouped_order(codes: Indices, random: np.random.Generator) -> tuple[Indices, Indices]:
    """Return a random order of records in which groups stay together, and the end of each group in it.

    A group of more than half of the records stands first: what is held out comes from the end, and not from it.

    Args:
        codes: The group of each record, from :func:`passage_codes`.
        random: The generator of the order of groups; within a group the order stays.
    """
    sizes = np.bincount(codes)
    order = random.permutation(len(sizes))
    if 2 * sizes.max(initial=0) > len(codes):
        largest = sizes.argmax()
        order = np.concatenate([[largest], order[order != largest]])
    rank = np.empty(len(sizes), np.int64)
    rank[order] = np.arange(len(sizes))
    return np.argsort(rank[codes], kind="stable"), np.cumsum(sizes[order])
