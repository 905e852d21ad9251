"""Schemas, and the check of a table's columns and types; values are checked in :mod:`trbert_env.data.checking`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from trbert_env.data.kinds import Kind, Struct, Text

#: The most characters of a found type that a message shows.
_SHOWN = 120


@dataclass(frozen=True)
class Schema:
    """The columns of a table.

    Attributes:
        name: The data set or form of record, for messages.
        columns: The kind of each column, the key first. One whose values may be null may be missing.
        key: The column whose values name the rows.
    """

    name: str
    columns: Mapping[str, Kind]
    key: str = "id"

    def __str__(self) -> str:
        """Return the names of the columns that must be there, with the fields of structs."""
        return ", ".join(
            f"{column}{{{', '.join(kind.fields)}}}" if isinstance(kind, Struct) else column
            for column, kind in self.columns.items()
            if not _may_lack(kind)
        )

    def found_in(self, table: pa.Schema) -> list[str]:
        """Return the names of the declared columns that a table has; call :func:`check_columns` first.

        Args:
            table: The types of a file or table.
        """
        return [column for column in self.columns if column in table.names]

    def completed(self, table: pa.Table) -> pa.Table:
        """Return the declared columns of a table in their order, nulls for those that are missing.

        Args:
            table: A table for which :func:`check_columns` has passed.
        """
        missing = {name: pa.nulls(table.num_rows, kind.type) for name, kind in self.columns.items()}
        values = [table.column(name) if name in table.column_names else missing[name] for name in self.columns]
        return pa.table(values, names=list(self.columns))


def _may_lack(kind: Kind) -> bool:
    return isinstance(kind, Text) and kind.nullable


def check_columns(found: pa.Schema, schema: Schema, origin: str) -> None:
    """Check that each declared column, and each field of it, is there once; one that may be null may be missing.

    Args:
        found: The types of a file or table.
        schema: The declared columns.
        origin: Origin of the table, for messages.

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
        origin: Origin of the table, for messages.

    Raises:
        ValueError: A column is of a type that its kind does not accept.
    """
    for column in schema.found_in(found):
        kind = schema.columns[column]
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
            if count or not _may_lack(kind):
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
