"""Documents: text files, folders of them, tables with a column of texts, and data sets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trbert_env.data.checking import conforming
from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.files import lines_of
from trbert_env.data.fingerprints import fingerprint
from trbert_env.data.kinds import Text
from trbert_env.data.own.files import OwnFiles
from trbert_env.data.own.guesses import TEXTS, announced, chosen
from trbert_env.data.own.tables import ColumnRequest, Table, is_table, open_table

#: Characters from which on a piece of a document ends with its line.
PIECE = 1 << 14
#: Rows of a table that are turned into strings at once.
_BATCH = 1024

#: A document: its text in pieces of whole lines, at least one, none of which is blank.
Document = Iterator[str]


@dataclass(frozen=True)
class PlainTexts:
    """Plain texts: each text file is a document, and each row of a table.

    Attributes:
        files: Text files, tables (CSV, TSV, JSON, JSON lines, parquet) and folders of them, plain or ``.gz``.
        dataset: Instead of files: a split of a folder saved by ``datasets``, or of a data set of the hub.
        column: The column of the texts in tables; None to guess by the names of their columns.
        skip_bad_records: True to leave malformed records and files out and count them, instead of an error at the
            first.

    Raises:
        FileNotFoundError: A file or folder is missing, or a folder holds no file.
        ValueError: A column is named, and there is no table.
    """

    files: tuple[Path, ...] = ()
    dataset: Table | None = None
    column: str | None = None
    skip_bad_records: bool = False
    _found: tuple[Path, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the files."""
        found = [file for path in self.files for file in files_in(path.expanduser())]
        object.__setattr__(self, "_found", tuple(dict.fromkeys(found)))
        if self.column is not None and self.dataset is None and not self.has_table:
            raise ValueError(f"the column {self.column!r} is named, and none of the files is a table: leave it out")

    @property
    def has_table(self) -> bool:
        """Whether one of the files is a table, whose texts stand in a column."""
        return any(map(is_table, self._found))

    def documents(self, faults: Faults) -> Iterator[Document]:
        """Iterate over the documents; one that holds nothing but white space is left out, and counted.

        Args:
            faults: Handling of malformed records.

        Raises:
            ValueError: A file or a record is malformed.
        """
        if self.dataset is not None:
            yield from _of_table(self.dataset, self.column, faults)
        for file in self._found:
            if is_table(file):
                yield from _of_table(open_table(file), self.column, faults)
            else:
                yield from _of_file(file, faults)

    def census(self) -> Census:
        """Read all texts, to count them and to tell them apart from others.

        Raises:
            ValueError: A file or a record is malformed, or there is no text.
        """
        faults, documents, characters = Faults(self.skip_bad_records), 0, 0

        def pieces() -> Iterator[bytes]:
            nonlocal documents, characters
            for document in self.documents(faults):
                documents += 1
                for piece in document:
                    characters += len(piece)
                    yield piece.encode()
                yield b""  # ends the document

        found = fingerprint(pieces())
        told = "".join(f"; {part}" for part in (*self._columns(), faults.summary) if part)
        if not documents:
            raise ValueError(f"{self._origin} holds no text{told}: give at least one document")
        description = f"{documents:,} documents of {characters:,} characters from {self._origin}{told}"
        return Census(found, documents, characters, description)

    @property
    def _origin(self) -> str:
        if self.dataset is not None:
            return self.dataset.name
        named = ", ".join(map(str, self.files))
        return named if len(self._found) == len(self.files) else f"{len(self._found):,} files in {named}"

    def _columns(self) -> list[str]:
        """How the columns of tables were understood, each way once."""
        tables = [open_table(file) for file in self._found if is_table(file)]
        tables += [] if self.dataset is None else [self.dataset]
        named = [(table, {"text": chosen(table, "text", self.column, TEXTS)}) for table in tables]
        return list(dict.fromkeys(announced(table, names, {"text": self.column}) for table, names in named))


@dataclass(frozen=True)
class Census:
    """What plain texts are.

    Attributes:
        fingerprint: Digest of all documents in their order.
        documents: Number of documents.
        characters: Characters of all of them.
        description: One line for reports: counts, origin, and what was left out.
    """

    fingerprint: str
    documents: int
    characters: int
    description: str


def of_dataset(name: str, config: str | None) -> dict[str, Table]:
    """Return the splits of a data set.

    Args:
        name: A folder saved by ``datasets``, or a name on the hub.
        config: The configuration of the data set on the hub; None for the default one.

    Raises:
        FileNotFoundError: It cannot be found.
        ValueError: The folder has no configurations.
    """
    tables = OwnFiles(dataset=name, config=config).tables
    test = tables.get("test")  # is not for training runs to look at
    return {split: table for split, table in tables.items() if split != "validation" or table is not test}


def files_in(path: Path) -> list[Path]:
    """Return the files of a folder and its folders in the order of their names, or the file itself.

    Args:
        path: A file or folder; files and folders in it whose names begin with a dot are not looked at.

    Raises:
        FileNotFoundError: It is missing, or holds no file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist: give a text file, a table or a folder of them")
    inside = (file for file in sorted(path.rglob("*")) if file.is_file())
    found = [file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not found:
        raise FileNotFoundError(f"{path} holds no file: give a folder of text files or tables")
    return found


def pieces_of(lines: Iterable[str]) -> Iterator[str]:
    r"""Join lines into pieces that are tokenised at once; blank lines are left out.

    Args:
        lines: Lines with their ends.

    Example:
        >>> list(pieces_of(["One\n", " \n", "two\n"]))
        ['One\ntwo\n']
    """
    held: list[str] = []
    size = 0
    for line in lines:
        if not line.strip():
            continue
        held.append(line)
        size += len(line)
        if size >= PIECE:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def _of_file(file: Path, faults: Faults) -> Iterator[Document]:
    try:
        if faults.skip:  # what is malformed at its end would else be left out in part
            for _ in lines_of(file):
                pass
        pieces = pieces_of(line for _, line in lines_of(file))
        first = next(pieces, None)
    except ValueError:
        if not faults.skip:
            raise
        faults.leave_out(str(file), "its text", "that cannot be read")
        return
    if first is None:
        faults.leave_out(str(file), "its text", "without any text")
    else:
        yield itertools.chain([first], pieces)


def _of_table(table: Table, given: str | None, faults: Faults) -> Iterator[Document]:
    name = chosen(table, "text", given, TEXTS)
    assert name is not None  # the role must be played
    schema = Schema(table.name, {name: Text(nullable=True)})
    for rows in table.read(ColumnRequest([name]), faults):
        checked, row = conforming(rows, schema, faults), 0
        for batch in checked.table.to_batches(max_chunksize=_BATCH):
            for text in batch.column(name).to_pylist():
                if text is not None and text.strip():
                    yield pieces_of(text.splitlines(keepends=True))
                else:
                    faults.leave_out(*checked.where(row), "without any text")
                row += 1
