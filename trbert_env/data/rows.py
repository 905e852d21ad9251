"""Rows: a table that remembers where each of its rows comes from, so that every error can say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults

#: Records that are turned into columns at once.
_BATCH = 4096
#: Errors of arrow for values that a column cannot hold.
_REFUSED = (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError)


def _row(number: int) -> str:
    return f"row {number}"


def line(number: int) -> str:
    """Return the place of a record in a file of lines.

    Args:
        number: The number of the line, from 1.
    """
    return f"line {number}"


@dataclass(frozen=True)
class Place:
    """A file, folder or data set that rows come from.

    Attributes:
        name: Its path or name.
        locate: The words for the place of the row of a number, ``row 3`` by default.
    """

    name: str
    locate: Callable[[int], str] = _row


@dataclass(frozen=True)
class Rows:
    """A table, and where its rows come from.

    Attributes:
        table: The rows.
        places: The files, folders or data sets that they come from.
        place_of: Index in ``places`` of each row's place, ``(num_rows,)`` int32.
        numbers: The number of each row within its place, ``(num_rows,)`` int64.
    """

    table: pa.Table
    places: tuple[Place, ...]
    place_of: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, place: Place, numbers: Sequence[int] | npt.NDArray[np.int64] | int = 0) -> Rows:
        """Build rows that come from one place.

        Args:
            table: The rows.
            place: Origin of the rows.
            numbers: The number of each row, or the number of the first if they follow one another.
        """
        count = table.num_rows
        given = np.arange(numbers, numbers + count) if isinstance(numbers, int) else np.asarray(numbers)
        return cls(table, (place,), np.zeros(count, np.int32), given.astype(np.int64))

    @classmethod
    def concat(cls, pieces: Sequence[Rows]) -> Rows:
        """Put pieces of one split together, in their order.

        Args:
            pieces: At least one piece; all have the same columns.
        """
        places: dict[int, tuple[int, Place]] = {}
        place_of = []
        for piece in pieces:
            indices = [places.setdefault(id(place), (len(places), place))[0] for place in piece.places]
            place_of.append(np.array(indices, np.int32)[piece.place_of])
        return cls(
            pa.concat_tables([piece.table for piece in pieces]),
            tuple(place for _, place in places.values()),
            np.concatenate(place_of),
            np.concatenate([piece.numbers for piece in pieces]),
        )

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.table.num_rows)

    def with_table(self, table: pa.Table) -> Rows:
        """Exchange the table for one whose rows come from the same places.

        Args:
            table: A table with as many rows.
        """
        return replace(self, table=table)

    def with_columns(self, columns: Mapping[str, Any]) -> Rows:
        """Exchange all columns.

        Args:
            columns: Arrow arrays by name, each with a value for each row.
        """
        return self.with_table(pa.table(dict(columns)))

    def keep(self, mask: npt.NDArray[np.bool_]) -> Rows:
        """Return the rows of which the mask is true.

        Args:
            mask: ``(num_rows,)`` bool.
        """
        if mask.all():
            return self
        return Rows(self.table.filter(pa.array(mask)), self.places, self.place_of[mask], self.numbers[mask])

    def take(self, indices: npt.NDArray[np.int64]) -> Rows:
        """Return the rows of some indices, in their order.

        Args:
            indices: Indices of rows.
        """
        return Rows(self.table.take(pa.array(indices)), self.places, self.place_of[indices], self.numbers[indices])

    def where(self, row: int) -> tuple[str, str]:
        """Return the name of the place that a row comes from, and the place within it.

        Args:
            row: The index of the row in the table.
        """
        place = self.places[self.place_of[row]]
        return place.name, place.locate(int(self.numbers[row]))


def rows_of_records(
    records: Iterable[tuple[int, Mapping[str, Any]]], form: Schema, place: Place, faults: Faults
) -> Rows:
    """Turn records into rows, a few thousand at once.

    Args:
        records: The number of each record within the place, and its values.
        form: The columns; values that are missing become null.
        place: Origin of the records.
        faults: Handling of a value that cannot be of its column's type, or is no text.

    Raises:
        ValueError: A value is of another type, or holds half of a surrogate pair, as JSON alone can spell it.
    """
    schema = pa.schema([(name, kind.type) for name, kind in form.columns.items()])
    numbers: list[int] = []
    batches: list[pa.RecordBatch] = []
    for chunk in _chunks(records):
        try:
            batch = _batch(chunk, schema)
        except _REFUSED:  # one of them is faulty: find out which
            chunk = [item for item in chunk if _fits(*item, schema, place, faults)]
            batch = _batch(chunk, schema)
        numbers.extend(number for number, _ in chunk)
        batches.append(batch)
    return Rows.of(pa.Table.from_batches(batches, schema), place, numbers)


def _batch(chunk: list[tuple[int, Mapping[str, Any]]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [_array([record.get(field.name) for _, record in chunk], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column.

    Raises:
        TypeError: A string stands where a list is to be, of which arrow would make a list of its letters.
        pa.ArrowException: A value is of another type.
    """
    if pa.types.is_nested(kind) and any(_has_string_for_list(value, kind) for value in values):
        raise TypeError("a string stands where a list is to be")
    return pa.array(values, kind)


def _has_string_for_list(value: Any, kind: pa.DataType) -> bool:
    """Whether a string stands in a value where its type has a list."""
    if pa.types.is_struct(kind):
        return isinstance(value, Mapping) and any(
            _has_string_for_list(value.get(field.name), field.type) for field in kind
        )
    if not pa.types.is_list(kind):
        return False
    nested = pa.types.is_nested(kind.value_type) and isinstance(value, Sequence)
    return isinstance(value, str) or (nested and any(_has_string_for_list(item, kind.value_type) for item in value))


def _chunks(
    records: Iterable[tuple[int, Mapping[str, Any]]],
) -> Iterator[list[tuple[int, Mapping[str, Any]]]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, _BATCH)):
        yield chunk


def _fits(number: int, record: Mapping[str, Any], schema: pa.Schema, place: Place, faults: Faults) -> bool:
    """Whether each value is of its column's type; the first that is not is reported."""
    for column in schema:
        try:
            _array([record.get(column.name)], column.type)
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            problem = f": {column.name} holds {half!r}, half of a surrogate pair: write the whole character, or none"
            faults.report(place.name, place.locate(number), "with half of a surrogate pair", problem)
            return False
        except _REFUSED:
            problem = f": {column.name} has another type than {column.type}: write it as {column.type}"
            faults.report(place.name, place.locate(number), f"with a faulty {column.name}", problem)
            return False
    return True
