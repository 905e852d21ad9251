"""Own texts without gold answers: the fields that a task reads, and no labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trbert_env.data.checking import conforming
from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.kinds import Text
from trbert_env.data.own.guesses import (
    CONTEXTS,
    GROUPS,
    IDS,
    LABELS,
    QUESTIONS,
    RARER_LABELS,
    announced,
    check_apart,
    chosen,
    found,
    matching,
    text_columns,
)
from trbert_env.data.own.tables import ColumnRequest, Table, is_table, open_table
from trbert_env.data.plain.documents import PlainTexts, files_in
from trbert_env.data.rows import Rows

#: The option that names columns, for messages.
OPTION = "--unlabelled-columns"
#: Names of columns that a field is guessed by; another field has a column of its own name.
_GUESSES = {"question": QUESTIONS, "context": CONTEXTS}
#: Rows that are turned into strings at once.
_BATCH = 4096

#: Id of a text, and the values of its fields by name.
Unlabelled = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class UnlabelledTexts:
    """Texts without labels: rows of tables, or text files where a text is one field.

    Attributes:
        files: Tables (CSV, TSV, JSON, JSON lines, parquet), text files, and folders of them, plain or ``.gz``.
        columns: Names of columns by field; others are guessed.

    Raises:
        FileNotFoundError: A file or folder is missing, or a folder holds no file.
        ValueError: A column is named, and no file is a table.
    """

    files: tuple[Path, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    _found: Mapping[Path, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the files, and the names that ids of their texts begin with: the same wherever the files lie."""
        inside = {
            file: f"{file.relative_to(path) if path.is_dir() else Path(file.name)}"
            for path in (path.expanduser() for path in self.files)
            for file in files_in(path)
        }
        count = Counter(inside.values())
        names = {
            file: name if count[name] == 1 else f"{number}/{name}" for number, (file, name) in enumerate(inside.items())
        }
        object.__setattr__(self, "_found", names)
        if self.columns and not any(map(is_table, names)):
            raise ValueError(f"{OPTION} names a column, and none of the files is a table: leave it out")

    def batches(self, fields: Sequence[str], faults: Faults) -> Iterator[list[Unlabelled]]:
        """Iterate over the texts; one with an empty field is left out, and counted.

        Args:
            fields: Names of the fields that a text has.
            faults: Handling of malformed records.

        Raises:
            ValueError: A file or a record is malformed, a field is unknown or its column cannot be told, or a text has
                several fields and a file is no table.
        """
        if unknown := [name for name in self.columns if name not in fields]:
            raise ValueError(f"{OPTION} names {unknown[0]!r}, and a text has no such field: name {', '.join(fields)}")
        for file, name in self._found.items():
            if is_table(file):
                yield from _of_table(open_table(file), name, fields, self.columns, faults)
            elif len(fields) > 1:
                raise ValueError(
                    f"{file} is a text file, and a text has {' and '.join(fields)}: give a table with a column of each"
                )
            else:
                documents = PlainTexts((file,)).documents(faults)
                yield [(name, {fields[0]: "".join(pieces)}) for pieces in documents]

    def origin(self, fields: Sequence[str], faults: Faults) -> str:
        """Return one phrase on where the texts come from, how columns were understood, and what was left out.

        Args:
            fields: As :meth:`batches` was given them.
            faults: What became of malformed records there.
        """
        named = ", ".join(map(str, self.files))
        tables = [open_table(file) for file in self._found if is_table(file)]
        told = [announced(table, {**_columns(table, fields, self.columns)}, {**self.columns}) for table in tables]
        return "; ".join(part for part in (named, *dict.fromkeys(told), faults.summary) if part)


def _columns(table: Table, fields: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The column of each field.

    Raises:
        ValueError: One cannot be told.
    """
    if "text" in fields:
        columns = _text_columns(table, fields, given)
    else:
        names = {
            name: chosen(table, name, given.get(name), _GUESSES.get(name, (name,)), option=OPTION) for name in fields
        }
        columns = {name: column for name, column in names.items() if column is not None}
    check_apart(table, {**columns}, OPTION)
    return columns


def _text_columns(table: Table, fields: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The column of a text, and of the second one where texts are pairs.

    Raises:
        ValueError: They cannot be told.
    """
    pairs, named = "text_pair" in fields, given.get("text")
    others = matching(table, (*LABELS, *RARER_LABELS, *IDS, *GROUPS))
    # A text that is named needs no second one; one that is guessed may be the half of a pair.
    second = given.get("text_pair") if pairs or named is None else ""
    text, text_pair = text_columns(table, named, second, others, OPTION)
    if pairs and text_pair is None:
        raise ValueError(
            f"{table.name}: texts of this task are pairs, and the column of the second cannot be told: name it with "
            f"{OPTION} text_pair=NAME; {found(table)}"
        )
    if not pairs and text_pair is not None:
        raise ValueError(
            f"{table.name}: texts of this task stand alone, and {text!r} and {text_pair!r} are pairs by their names: "
            f"name the text with {OPTION} text=NAME; {found(table)}"
        )
    return {"text": text} if text_pair is None else {"text": text, "text_pair": text_pair}


def _of_table(
    table: Table, name: str, fields: Sequence[str], given: Mapping[str, str], faults: Faults
) -> Iterator[list[Unlabelled]]:
    columns = _columns(table, fields, given)
    required = dict.fromkeys(columns.values(), "fill it in or leave the row out")
    schema = Schema(table.name, {column: Text(nullable=True) for column in columns.values()})
    for rows in table.read(ColumnRequest(list(required), required), faults):
        checked = conforming(rows, schema, faults)
        for first in range(0, len(checked), _BATCH):
            yield list(_filled(checked, slice(first, first + _BATCH), name, columns, faults))


def _filled(rows: Rows, part: slice, name: str, columns: Mapping[str, str], faults: Faults) -> Iterator[Unlabelled]:
    """The texts of a part of the rows whose fields are all there."""
    values = [rows.table.column(column)[part].to_pylist() for column in columns.values()]
    for row, texts in enumerate(zip(*values, strict=True), part.start):
        if all(text is not None and text.strip() for text in texts):
            yield f"{name}:{rows.numbers[row]}", dict(zip(columns, texts, strict=True))
        else:
            faults.leave_out(*rows.where(row), "with an empty text")
