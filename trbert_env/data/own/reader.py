"""What a reader of own files is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.own.files import OwnFiles
from trbert_env.data.own.tables import ColumnRequest, Table
from trbert_env.data.rows import Rows


@dataclass(frozen=True)
class OwnSplit:
    """A split of own data as it was read.

    Attributes:
        rows: The records.
        form: Their form.
        source: Source of the records: ``"local"`` for files, or ``"hub"``.
        origin: Origin of the rows, and how columns were understood: one line.
        labels: The names of all classes in their order, where labels are names.
    """

    rows: Rows
    form: Schema
    source: Literal["local", "hub"]
    origin: str
    labels: tuple[str, ...] = ()


class OwnReader(ABC):
    """Reads splits of a user's own data.

    Attributes:
        files: Files of the data.
    """

    files: OwnFiles

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name of the data, for messages and descriptions."""

    @abstractmethod
    def read(self, split: str, faults: Faults) -> OwnSplit:
        """Read a split.

        Args:
            split: ``"train"`` or ``"validation"``, or another one that the data have.
            faults: Handling of malformed records.

        Raises:
            FileNotFoundError: A file or data set is not there.
            ValueError: The data cannot be read, columns cannot be told, or a record is malformed.
        """


def whole(table: Table, wanted: ColumnRequest, faults: Faults) -> Rows:
    """Read columns of a table in one piece.

    Args:
        table: The data.
        wanted: The columns.
        faults: Handling of records that cannot be parsed.

    Raises:
        ValueError: The data are damaged, have no rows, or a record cannot be parsed.
    """
    pieces = list(table.read(wanted, faults))
    if not sum(map(len, pieces)):
        left_out = f" ({faults.summary})" if faults.summary else ""
        raise ValueError(f"{table.name} has no rows{left_out}: give at least one example")
    return Rows.concat(pieces)


def ids_of(rows: Rows, table: Table, column: str | None) -> pa.ChunkedArray:
    """Return the ids of rows as strings; without a column, the short name of the table and the row's number.

    Args:
        rows: The rows.
        table: Origin of the rows.
        column: The column of ids, or None.
    """
    if column is None:
        numbers = pa.array(rows.numbers).cast(pa.string())
        return pa.chunked_array([pc.binary_join_element_wise(pa.scalar(f"{table.stem}:"), numbers, "")])
    ids = rows.table.column(column)
    return ids.cast(pa.string()) if pa.types.is_integer(ids.type) else ids
