"""Own texts whose gold answers nobody knows: the fields that a task reads, and no labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trbert_env.data.checking import conforming
from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.files import lines_of
from trbert_env.data.kinds import Text
from trbert_env.data.own.guesses import CONTEXTS, PAIRS, QUESTIONS, TEXTS, announced, found, matching
from trbert_env.data.own.tables import ColumnRequest, Table, is_table, open_table
from trbert_env.data.plain.documents import files_in
from trbert_env.data.rows import Rows

#: Names of columns that a field is guessed by; another field has a column of its own name.
_GUESSES = {"text": TEXTS, "question": QUESTIONS, "context": CONTEXTS}
#: Rows that are turned into strings at once.
_BATCH = 4096

#: Values of the fields of a text by name, and its id.
Unlabelled = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class UnlabelledTexts:
    """Texts without labels: rows of tables, or text files where a text is one field.

    Attributes:
        files: Tables (CSV, TSV, JSON, JSON lines, parquet), text files, and folders of them, plain or ``.gz``.
        columns: Names of columns by field, for tables that have them; others are guessed.
        skip_bad_records: True to leave malformed records and files out and count them, instead of an error at the
            first.

    Raises:
        FileNotFoundError: A file or folder is missing, or a folder holds no file.
    """

    files: tuple[Path, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    skip_bad_records: bool = False
    _found: tuple[Path, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the files."""
        found = [file for path in self.files for file in files_in(path.expanduser())]
        object.__setattr__(self, "_found", tuple(dict.fromkeys(found)))

    def batches(self, fields: Sequence[str], faults: Faults) -> Iterator[list[Unlabelled]]:
        """Iterate over the texts; one with an empty field is left out, and counted.

        Args:
            fields: Names of the fields that a text has.
            faults: Handling of malformed records.

        Raises:
            ValueError: A file or a record is malformed, the column of a field cannot be told, or a text has several
                fields and a file is no table.
        """
        names = Counter(map(_short_name, self._found))
        for file in self._found:
            own = _short_name(file) if names[_short_name(file)] == 1 else str(file)  # ids of texts begin with it
            if is_table(file):
                yield from _of_table(open_table(file), own, fields, self.columns, faults)
            elif len(fields) > 1:
                raise ValueError(
                    f"{file} is a text file, and a text has {' and '.join(fields)}: give a table with a column of each"
                )
            else:
                yield _of_file(file, own, fields[0], faults)

    def origin(self, fields: Sequence[str], faults: Faults) -> str:
        """Return one phrase on where the texts come from, how columns were understood, and what was left out.

        Args:
            fields: As :meth:`batches` was given them.
            faults: What became of malformed records there.
        """
        named = ", ".join(map(str, self.files))
        told = dict.fromkeys(
            announced(table, dict(_columns(table, fields, self.columns)), dict(self.columns))
            for table in (open_table(file) for file in self._found if is_table(file))
        )
        return "; ".join(part for part in (named, *told, faults.summary) if part)


def _short_name(file: Path) -> str:
    return file.name.partition(".")[0] if is_table(file) else file.name


def _columns(table: Table, fields: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The column of each field: the one that is named, else the one that its name tells.

    Raises:
        ValueError: One cannot be told.
    """
    by_lower = {column.lower(): column for column in table.columns}
    if "text_pair" in fields:
        named = tuple(given.get(name, "").lower() for name in fields)
        pairs = [pair for pair in dict.fromkeys((named, *PAIRS)) if all(name in by_lower for name in pair)]
        if pairs[:1] == [named] or len(pairs) == 1:
            return dict(zip(fields, (by_lower[name] for name in pairs[0]), strict=True))
        raise _untold(table, "texts and second texts", "text and text_pair")
    found = {}
    for name in fields:
        fitting = [given[name]] if given.get(name) in table.columns else matching(table, _GUESSES.get(name, (name,)))
        if len(fitting) != 1:
            raise _untold(table, name, name)
        found[name] = fitting[0]
    return found


def _untold(table: Table, what: str, names: str) -> ValueError:
    """An error for columns that cannot be told."""
    return ValueError(f"{table.name}: the column of the {what} cannot be told: call it {names}; {found(table)}")


def _of_table(
    table: Table, own: str, fields: Sequence[str], given: Mapping[str, str], faults: Faults
) -> Iterator[list[Unlabelled]]:
    columns = _columns(table, fields, given)
    required = dict.fromkeys(columns.values(), "fill it in or leave the row out")
    schema = Schema(table.name, {column: Text(nullable=True) for column in columns.values()})
    for rows in table.read(ColumnRequest(list(required), required), faults):
        checked = conforming(rows, schema, faults)
        for first in range(0, len(checked), _BATCH):
            yield list(_filled(checked, slice(first, first + _BATCH), own, columns, faults))


def _filled(rows: Rows, part: slice, own: str, columns: Mapping[str, str], faults: Faults) -> Iterator[Unlabelled]:
    """The texts of a part of the rows whose fields are all there."""
    values = [rows.table.column(column)[part].to_pylist() for column in columns.values()]
    for row, texts in enumerate(zip(*values, strict=True), part.start):
        if all(text is not None and text.strip() for text in texts):
            yield f"{own}:{rows.numbers[row]}", dict(zip(columns, texts, strict=True))
        else:
            faults.leave_out(*rows.where(row), "with an empty text")


def _of_file(file: Path, own: str, name: str, faults: Faults) -> list[Unlabelled]:
    """A text file as one text."""
    try:
        text = "".join(line for _, line in lines_of(file))
    except ValueError:
        if not faults.skip:
            raise
        faults.leave_out(str(file), "its text", "that cannot be read")
        return []
    if not text:
        faults.leave_out(str(file), "its text", "without any text")
        return []
    return [(own, {name: text})]
