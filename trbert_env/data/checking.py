"""Check rows against a schema: faulty rows raise an error, or are left out and counted."""

from __future__ import annotations

import re
import reprlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.columns import Schema, check_columns, check_types
from trbert_env.data.faults import Faults
from trbert_env.data.kinds import FaultyValueError, Text
from trbert_env.data.rows import Rows

#: Rows of a piece from which faulty rows are taken out one by one.
_SMALL = 1024


def conforming(rows: Rows, schema: Schema, faults: Faults) -> Rows:
    """Check columns, types and values, and return the declared columns in their declared types.

    Whether ids are unique is checked by :func:`unique`, once all pieces of a split are together.

    Args:
        rows: The rows; columns that are not declared are left out.
        schema: The declared columns.
        faults: Handling of rows with refused values.

    Raises:
        ValueError: A column is missing or of another type, or a value is refused.
    """
    origin = rows.places[0].name
    check_columns(rows.table.schema, schema, origin)
    if not len(rows):  # then arrow may not know any types
        needed = pa.schema([(column, kind.type) for column, kind in schema.columns.items()])
        return rows.with_table(needed.empty_table())
    check_types(rows.table.schema, schema, origin)
    kept = np.ones(len(rows), np.bool_)
    batches, first = [], 0
    for batch in _batches(schema.completed(rows.table)):
        batches.extend(_checked(batch, first, rows, schema, faults, kept))
        first += len(batch)
    table = pa.Table.from_batches(batches)
    if kept.all():
        return rows.with_table(table)
    return Rows(table, rows.places, rows.place_of[kept], rows.numbers[kept])


def unique(rows: Rows, schema: Schema, faults: Faults) -> Rows:
    """Check that no value comes twice in columns that are declared to be unique.

    Args:
        rows: All rows of a split, checked by :func:`conforming`.
        schema: The declared columns.
        faults: Handling of a row whose value has come before.

    Raises:
        ValueError: A value comes twice.
    """
    for column, kind in schema.columns.items():
        values = rows.table.column(column)
        if isinstance(kind, Text) and kind.unique and pc.count_distinct(values).as_py() < len(values):
            rows = rows.keep(_first_of_each(rows, column, faults))
    return rows


def _first_of_each(rows: Rows, column: str, faults: Faults) -> npt.NDArray[np.bool_]:
    seen: dict[str, int] = {}
    kept = np.ones(len(rows), np.bool_)
    for row, value in enumerate(rows.table.column(column).to_pylist()):
        first = seen.setdefault(value, row)
        if first == row:
            continue
        (origin, at), (first_origin, first_at) = rows.where(row), rows.where(first)
        before = first_at if first_origin == origin else f"{first_at} of {first_origin}"
        problem = (
            f": {column} {reprlib.repr(value)} comes twice, first in {before}: make each {column} unique within a split"
        )
        faults.report(origin, at, f"with the {column} of an earlier one", problem)
        kept[row] = False
    return kept


def _batches(table: pa.Table) -> list[pa.RecordBatch]:
    """The table in pieces; a shuffled data set comes in pieces of one row, which are put together first."""
    pieces = max(column.num_chunks for column in table.columns)
    batches: list[pa.RecordBatch] = (table.combine_chunks() if pieces * 1024 > table.num_rows else table).to_batches()
    return batches


def _checked(
    batch: pa.RecordBatch, first: int, rows: Rows, schema: Schema, faults: Faults, kept: npt.NDArray[np.bool_]
) -> list[pa.RecordBatch]:
    """Check a batch that begins at row ``first``; rows that are left out are marked in ``kept``."""
    try:
        return [_conform(batch, schema)]
    except _RowError:
        pieces = range(0, len(batch), _SMALL) if faults.skip else [0]
        size = _SMALL if faults.skip else len(batch)
    found = []
    for begin in pieces:
        piece = batch.slice(begin, size)
        numbers = np.arange(first + begin, first + begin + len(piece))
        found.append(_without_faulty(piece, numbers, rows, schema, faults, kept))
    return found


class _RowError(Exception):
    """A faulty row of a batch: its index, its key where that is known, and what is wrong."""

    def __init__(self, row: int, named: str, place: str, problem: str) -> None:
        super().__init__(problem)
        self.row = row
        self.named = named
        self.place = place
        self.problem = problem


def _without_faulty(
    batch: pa.RecordBatch,
    numbers: npt.NDArray[np.int64],
    rows: Rows,
    schema: Schema,
    faults: Faults,
    kept: npt.NDArray[np.bool_],
) -> pa.RecordBatch:
    while True:
        try:
            return _conform(batch, schema)
        except _RowError as fault:
            origin, at = rows.where(int(numbers[fault.row]))
            # Counted without the index of an item, so that faults of one kind are one kind.
            place = re.sub(r"\[\d+\]", "", fault.place)
            kind = f"without {place}" if fault.problem.startswith("is null") else f"with a faulty {place}"
            faults.report(origin, f"{at}{fault.named}", kind, f": {fault.place} {fault.problem}")
            kept[numbers[fault.row]] = False
            others = np.delete(np.arange(len(batch)), fault.row)
            batch, numbers = batch.take(pa.array(others)), numbers[others]


def _conform(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    checked: dict[str, pa.Array] = {}
    for column, kind in schema.columns.items():
        try:
            checked[column] = kind.conform(batch.column(column))
        except FaultyValueError as fault:
            keys = checked.get(schema.key)
            named = "" if keys is None else f", {schema.key} {reprlib.repr(keys[fault.row].as_py())}"
            raise _RowError(fault.row, named, f"{column}{fault.path}", fault.problem) from None
    return pa.RecordBatch.from_pydict(checked)
