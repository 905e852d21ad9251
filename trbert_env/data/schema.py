"""Declared schemas of records, and the one check of a table against them.

A schema maps each column to its kind (:mod:`trbert_env.data.kinds`); forms of records are declared in
:mod:`trbert_env.data.records`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from trbert_env.data.kinds import FaultyValueError, Kind, Struct, Text

#: The most characters of a found type that a message shows.
_SHOWN = 120


@dataclass(frozen=True)
class Schema:
    """The columns that a table must have.

    Attributes:
        name: The data set or form of record, for messages.
        columns: The kind of each column, the key first.
        key: The column whose values name the rows.
    """

    name: str
    columns: Mapping[str, Kind]
    key: str = "id"

    def __str__(self) -> str:
        """Return the names of the columns, with the fields of structs."""
        return ", ".join(
            f"{column}{{{', '.join(kind.fields)}}}" if isinstance(kind, Struct) else column
            for column, kind in self.columns.items()
        )


def checked_table(table: pa.Table, schema: Schema, origin: str) -> pa.Table:
    """Check columns, types and values, and return the declared columns in their declared types.

    Args:
        table: The rows; columns that are not declared are left out.
        schema: The declared columns.
        origin: Where the table comes from, for messages: a file, a name on the hub.

    Returns:
        A table with the same values in the types of the schema, without metadata.

    Raises:
        ValueError: A column is missing or of another type, or a value is refused.
    """
    check_columns(table.schema, schema, origin)
    needed = pa.schema([(column, kind.type) for column, kind in schema.columns.items()])
    if table.num_rows == 0:  # then arrow may not know any types
        return needed.empty_table()
    check_types(table.schema, schema, origin)
    first, batches = 0, []
    for batch in _batches(table.select(list(schema.columns))):
        batches.append(_checked_batch(batch, first, schema, origin))
        first += len(batch)
    checked = pa.Table.from_batches(batches, needed)
    for column, kind in schema.columns.items():
        if isinstance(kind, Text) and kind.unique:
            _check_unique(checked.column(column), column, origin)
    return checked


def checked_dataset(dataset: Dataset, schema: Schema, origin: str) -> pa.Table:
    """Check a data set of the ``datasets`` library; see :func:`checked_table`.

    Args:
        dataset: The rows, in any format.
        schema: The declared columns.
        origin: Where the rows come from, for messages.

    Raises:
        ValueError: A column is missing or of another type, or a value is refused.
    """
    check_columns(dataset.features.arrow_schema, schema, origin)
    return checked_table(dataset.select_columns(list(schema.columns)).with_format("arrow")[:], schema, origin)


def check_columns(found: pa.Schema, schema: Schema, origin: str) -> None:
    """Check that each declared column, and each field of it, is there once.

    Args:
        found: The types of a file or table.
        schema: The declared columns.
        origin: Where the table comes from, for messages.

    Raises:
        ValueError: Columns or fields are missing, or come twice.
    """
    counts = list(_counts(found, schema))
    missing = [place for place, count in counts if count == 0]
    double = [place for place, count in counts if count > 1]
    if missing:
        raise ValueError(f"{origin} lacks the columns {', '.join(missing)}: {schema.name} needs {schema}")
    if double:
        raise ValueError(f"{origin} has more than one column {', '.join(double)}: leave one of each name")


def check_types(found: pa.Schema, schema: Schema, origin: str) -> None:
    """Check the type of each declared column; call :func:`check_columns` first.

    Args:
        found: The types of a file or table.
        schema: The declared columns.
        origin: Where the table comes from, for messages.

    Raises:
        ValueError: A column is of a type that its kind does not accept.
    """
    for column, kind in schema.columns.items():
        for place, declared, present in _leaves(column, kind, found.field(column).type):
            if not declared.accepts(present):
                shown = " ".join(str(present).split())
                shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
                raise ValueError(
                    f"{origin}: column {place} has type {shown}, but {declared.needed} is needed: "
                    f"write the column as {declared.needed}"
                )


def _counts(found: pa.Schema, schema: Schema) -> Iterator[tuple[str, int]]:
    """Each declared column or field that is not there exactly once, and how often it is."""
    for column, kind in schema.columns.items():
        count = len(found.get_all_field_indices(column))
        if count != 1:
            yield column, count
        elif isinstance(kind, Struct) and pa.types.is_struct(found.field(column).type):
            present = found.field(column).type
            counts = {field: len(present.get_all_field_indices(field)) for field in kind.fields}
            yield from ((f"{column}.{field}", count) for field, count in counts.items() if count != 1)


def _leaves(place: str, kind: Kind, found: pa.DataType) -> Iterator[tuple[str, Kind, pa.DataType]]:
    """The column, or each field of it if it is a struct as declared: messages name the narrowest place."""
    if isinstance(kind, Struct) and pa.types.is_struct(found):
        for name, field in kind.fields.items():
            yield f"{place}.{name}", field, found.field(name).type
    else:
        yield place, kind, found


def _batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The table in pieces; a shuffled data set comes in pieces of one row, which are put together first."""
    pieces = max(column.num_chunks for column in table.columns)
    yield from (table.combine_chunks() if pieces * 1024 > table.num_rows else table).to_batches()


def _checked_batch(batch: pa.RecordBatch, first: int, schema: Schema, origin: str) -> pa.RecordBatch:
    """Check the values of a piece of a table that begins at row ``first``."""
    checked: dict[str, pa.Array] = {}
    for column, kind in schema.columns.items():
        try:
            checked[column] = kind.conform(batch.column(column))
        except FaultyValueError as fault:
            keys = checked.get(schema.key)
            named = "" if keys is None else f", {schema.key} {reprlib.repr(keys[fault.row].as_py())}"
            raise ValueError(
                f"{origin}, row {first + fault.row}{named}: {column}{fault.path} {fault.problem}"
            ) from None
    return pa.RecordBatch.from_pydict(checked)


def _check_unique(values: pa.ChunkedArray, column: str, origin: str) -> None:
    if pc.count_distinct(values).as_py() == len(values):
        return
    seen: dict[str, int] = {}
    for row, value in enumerate(values.to_pylist()):
        first = seen.setdefault(value, row)
        if first != row:
            raise ValueError(
                f"{origin}, row {row}: {column} {reprlib.repr(value)} comes twice, first in row {first}: "
                f"make each {column} unique within a split"
            )
