"""A user's data as a table of named columns, whatever its format is."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset

from trbert_env.data.columns import Schema
from trbert_env.data.delimited import header_of, is_delimited, read_delimited
from trbert_env.data.faults import Faults
from trbert_env.data.kinds import Text
from trbert_env.data.own.json_files import is_lines, place_of, records_of
from trbert_env.data.parquet import parquet_schema, parquet_tables
from trbert_env.data.rows import Place, Rows, rows_of_records
from trbert_env.parameters import ParameterError

#: Records that are read at once.
_BATCH = 16384
#: Records of a JSON file that show which columns there are.
_SHOWING = 100
_FORMATS = "CSV (.csv), TSV (.tsv), JSON (.json), JSON lines (.jsonl, .ndjson) or parquet (.parquet), plain or .gz"


@dataclass(frozen=True)
class ColumnRequest:
    """Columns to read of a table, and what holds for records that may differ from each other, as JSON's.

    Attributes:
        names: Names of columns, each once.
        required: Columns that no record may lack, each with the fix.
        nested: Columns whose values may be lists or objects; of others, records with one are refused.
    """

    names: Sequence[str]
    required: Mapping[str, str] = field(default_factory=dict)
    nested: Collection[str | None] = ()


class Table(ABC):
    """Columns of records.

    Attributes:
        name: The file or data set, for messages.
        stem: A short name that ids of rows begin with.
        typed: True if values have types; if not, each is a string, and lists and records are JSON.
    """

    name: str
    stem: str
    typed: bool

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """The names of the columns."""

    @abstractmethod
    def read(self, wanted: ColumnRequest, faults: Faults) -> Iterator[Rows]:
        """Read columns piece by piece; their values are not checked.

        Args:
            wanted: The columns.
            faults: Handling of records that cannot be parsed.

        Raises:
            ValueError: The data are damaged, or a record cannot be parsed.
        """

    def class_names(self, column: str) -> tuple[str, ...]:
        """Return the names of classes that the data declare for a column of integers; none by default.

        Args:
            column: The name of a column.
        """
        return ()


def open_table(file: Path) -> Table:
    """Return the table of a file, by the ending of its name.

    Args:
        file: The file.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is a folder, or its format is unknown.
    """
    if file.is_dir():
        raise ParameterError(
            lambda name: f"{file} is a folder: name a file in it, or give a folder of save_to_disk as {name('dataset')}"
        )
    if not file.is_file():
        raise FileNotFoundError(f"file {file} does not exist: check its path")
    if is_delimited(file):
        return DelimitedTable(file)
    if is_lines(file) or _suffix(file) == ".json":
        return JsonTable(file)
    if _suffix(file) == ".parquet":
        return ParquetTable(file)
    raise ValueError(f"{file} is of no known format: give {_FORMATS}")


def is_table(file: Path) -> bool:
    """Return whether a file is named as one that :func:`open_table` takes.

    Args:
        file: The file.
    """
    return is_delimited(file) or is_lines(file) or _suffix(file) in {".json", ".parquet"}


def _suffix(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix.lower()


class _FileTable(Table):
    def __init__(self, file: Path) -> None:
        self.file = file
        self.name = str(file)
        self.stem = file.name.partition(".")[0]


class DelimitedTable(_FileTable):
    """A CSV or TSV file."""

    typed = False

    @cached_property
    def columns(self) -> list[str]:
        """The names in the first line."""
        return header_of(self.file)

    def read(self, wanted: ColumnRequest, faults: Faults) -> Iterator[Rows]:
        """Read columns as strings; see :meth:`Table.read`."""
        return read_delimited(self.file, self.columns, faults, columns=wanted.names)


class JsonTable(_FileTable):
    """A file of JSON lines, of a JSON list or of an object with a list ``data``."""

    typed = False

    @cached_property
    def columns(self) -> list[str]:
        """The keys of the first records."""
        records = islice(records_of(self.file, place_of(self.file), Faults(skip=True)), _SHOWING)
        return list(dict.fromkeys(key for _, record in records for key in record))

    def read(self, wanted: ColumnRequest, faults: Faults) -> Iterator[Rows]:
        """Read keys as strings; see :meth:`Table.read`."""
        place = place_of(self.file)
        form = Schema(self.name, {column: Text(nullable=True) for column in wanted.names})
        flat = [column for column in wanted.names if column not in wanted.nested]
        found = _complete(records_of(self.file, place, faults), wanted.required, place, faults)
        records = (
            (number, {column: _as_string(record.get(column)) for column in wanted.names})
            for number, record in _without_nested(found, flat, place, faults)
        )
        while chunk := list(islice(records, _BATCH)):
            yield rows_of_records(chunk, form, place, faults)


def _complete(
    records: Iterator[tuple[int, dict[str, Any]]], required: Mapping[str, str], place: Place, faults: Faults
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records that have all required keys; the others are reported: what is absent is not null."""
    for number, record in records:
        absent = next((column for column in required if column not in record), None)
        if absent is None:
            yield number, record
        else:
            problem = f": {absent} is missing: {required[absent]}"
            faults.report(place.name, place.locate(number), f"without {absent}", problem)


def _without_nested(
    records: Iterator[tuple[int, dict[str, Any]]], flat: Sequence[str], place: Place, faults: Faults
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records whose values are single ones; the others are reported."""
    for number, record in records:
        odd = next((column for column in flat if isinstance(record.get(column), (list, dict))), None)
        if odd is None:
            yield number, record
        else:
            kind = "a list" if isinstance(record[odd], list) else "an object"
            problem = f": {odd} is {kind}: write one string or number"
            faults.report(place.name, place.locate(number), f"with {kind} as {odd}", problem)


def _as_string(value: Any) -> str | None:
    """A value as a string; NaN, which pandas writes for what is missing, is null."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class ParquetTable(_FileTable):
    """A parquet file."""

    typed = True

    @cached_property
    def _schema(self) -> pa.Schema:
        return parquet_schema(self.file)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._schema.names)

    def class_names(self, column: str) -> tuple[str, ...]:
        """Return the names that ``datasets`` left in the file; see :meth:`Table.class_names`."""
        described = json.loads((self._schema.metadata or {}).get(b"huggingface", b"{}"))
        feature = described.get("info", {}).get("features", {}).get(column)
        is_class = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        return tuple(feature["names"]) if is_class and feature.get("names") else ()

    def read(self, wanted: ColumnRequest, faults: Faults) -> Iterator[Rows]:
        """Read columns; see :meth:`Table.read`."""
        place, first = Place(self.name), 0
        for table in parquet_tables(self.file, wanted.names):
            yield Rows.of(table.select(list(wanted.names)), place, first)
            first += table.num_rows


class DatasetTable(Table):
    """A data set of the ``datasets`` library."""

    typed = True

    def __init__(self, dataset: Dataset, name: str, stem: str) -> None:
        """Keep the data set and its name.

        Args:
            dataset: A split.
            name: Origin of the table, for messages.
            stem: A short name that ids of rows begin with.
        """
        self.dataset = dataset
        self.name = name
        self.stem = stem

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.dataset.column_names)

    def class_names(self, column: str) -> tuple[str, ...]:
        """Return the names of a ``ClassLabel``; see :meth:`Table.class_names`."""
        feature = self.dataset.features.get(column)
        return tuple(feature.names) if isinstance(feature, ClassLabel) else ()

    def read(self, wanted: ColumnRequest, faults: Faults) -> Iterator[Rows]:
        """Read columns; see :meth:`Table.read`."""
        arrow, place = self.dataset.select_columns(list(wanted.names)).with_format("arrow"), Place(self.name)
        for first in range(0, len(self.dataset), _BATCH):
            yield Rows.of(arrow[first : first + _BATCH], place, first)
