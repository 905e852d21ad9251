"""Read CSV and TSV files, plain or gzip, with arrow; every value comes as a string."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from trbert_env.data.faults import Faults
from trbert_env.data.files import open_text, whole_gzip
from trbert_env.data.rows import Place, Rows, line

#: Bytes that are parsed at once; no record may be longer.
_BLOCK = 8 << 20
#: Lines that a value has at most where quotes are to be told from characters.
_MOST_LINES = 2000
#: What stands between values of CSV files, the usual first: spreadsheets write others where a comma is in numbers.
_DELIMITERS = (",", ";", "\t")


def is_delimited(file: Path) -> bool:
    """Return whether a file is named as CSV or TSV.

    Args:
        file: The file.
    """
    return _suffix(file) in {".csv", ".tsv"}


def _suffix(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix.lower()


def header_of(file: Path) -> list[str]:
    """Return the names of the columns, which the first line that is not blank holds.

    Args:
        file: A CSV or TSV file.

    Raises:
        ValueError: The file is empty, or its compression is damaged.
    """
    if lines := _first_lines(file, _delimiter(file)):
        return [name.strip() for name in lines[0]]
    raise ValueError(f"{file} is empty: give a file with a line of column names and at least one example")


def read_delimited(
    file: Path, names: Sequence[str], faults: Faults, *, columns: Sequence[str] | None = None, header: bool = True
) -> Iterator[Rows]:
    """Read columns of a file piece by piece.

    Args:
        file: A CSV or TSV file, compressed if its name ends in ``.gz``.
        names: The names of all columns, in their order.
        faults: Handling of lines with more or fewer values.
        columns: The columns to read; all by default.
        header: True if the first line that is not blank holds names.

    Raises:
        ValueError: The file is damaged or empty, or a line has more or fewer values than there are columns.
    """
    reader = _Delimited(file, list(names), faults, header)
    try:
        yield from reader.read(list(columns or names))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk, not of what the file holds
            raise
        reader.report()
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file} cannot be read as {_suffix(file)[1:].upper()} ({reason}): write it anew") from error


def _first_lines(file: Path, delimiter: str) -> list[list[str]]:
    """Return the values of the first two lines that are not blank; none where a value is longer than one may be."""
    with whole_gzip(file), open_text(file, errors="replace") as opened:
        try:
            return list(islice(filter(None, csv.reader(opened, delimiter=delimiter)), 2))
        except csv.Error:
            return []


def _delimiter(file: Path) -> str:
    """Return what stands between values: of a CSV file, the first that parts its first two lines into as many."""
    if _suffix(file) == ".tsv":
        return "\t"
    for delimiter in _DELIMITERS:
        counts = {len(values) for values in _first_lines(file, delimiter)}
        if len(counts) == 1 and max(counts) > 1:
            return delimiter
    return _DELIMITERS[0]


class _Delimited:
    """The parser of one file, which takes note of lines with a wrong number of values."""

    def __init__(self, file: Path, names: list[str], faults: Faults, header: bool) -> None:
        self.file = file
        self.names = names
        self.faults = faults
        self.blank = _blank_lines(file) if header else 0
        self.header = header
        self.delimiter = _delimiter(file)
        self.quoted = _suffix(file) == ".csv" or _is_quoted(file, len(names))
        self.place = Place(str(file), lambda row: line(self.line_of(row)))
        self.wrong: dict[int, tuple[int, int]] = {}
        self.reported = 0

    def read(self, columns: list[str]) -> Iterator[Rows]:
        with pa.input_stream(str(self.file), compression="gzip" if self.file.suffix == ".gz" else None) as stream:
            opened = pyarrow.csv.open_csv(
                stream,
                pyarrow.csv.ReadOptions(
                    use_threads=False,
                    block_size=_BLOCK,
                    column_names=self.names,
                    skip_rows=self.blank,
                    skip_rows_after_names=int(self.header),
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char='"' if self.quoted else False,
                    newlines_in_values=self.quoted,
                    invalid_row_handler=self.handle,
                ),
                pyarrow.csv.ConvertOptions(
                    check_utf8=False, include_columns=columns, column_types=dict.fromkeys(columns, pa.string())
                ),
            )
            first = 0
            for batch in opened:
                numbers = self.numbers(first, len(batch))
                first = int(numbers[-1]) + 1 if len(numbers) else first
                self.report()
                yield Rows.of(pa.Table.from_batches([batch]), self.place, numbers)
        self.report()

    def handle(self, row: pyarrow.csv.InvalidRow) -> str:
        self.wrong[row.number - 1 - int(self.header) - self.blank] = (row.expected_columns, row.actual_columns)
        return "skip" if self.faults.skip else "error"

    def report(self) -> None:
        """Report the lines with a wrong number of values that are new."""
        for row, (expected, found) in islice(self.wrong.items(), self.reported, None):
            self.reported += 1
            problem = f": {found} values, but there are {expected} columns: quote values that hold delimiters"
            self.faults.report(self.place.name, self.place.locate(row), "with too many or too few values", problem)

    def numbers(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """The numbers of the next records: lines with a wrong number of values count too."""
        candidates = np.arange(first, first + count + len(self.wrong))
        return candidates[~np.isin(candidates, list(self.wrong))][:count]

    def line_of(self, row: int) -> int:
        """The line, from 1, on which the record of a number begins: values may hold line breaks."""
        record, inside = -1 - int(self.header), False
        with whole_gzip(self.file), open_text(self.file, errors="replace") as opened:
            for number, text in enumerate(opened, 1):
                if not inside and text.strip("\r\n"):
                    record += 1
                    if record == row:
                        return number
                inside = self.quoted and _ends_quoted(text, inside, self.delimiter)
        raise ValueError(f"{self.file} changed while it was read: try again")


def _blank_lines(file: Path) -> int:
    """The number of lines before the first that is not blank."""
    with whole_gzip(file), open_text(file, errors="replace") as opened:
        return sum(1 for _ in takewhile(lambda text: not text.strip("\r\n"), opened))


def _ends_quoted(text: str, inside: bool, delimiter: str) -> bool:
    """Whether a value in quotes goes on behind a line, of which the first is ``inside`` one.

    Quotes open a value at its beginning alone: elsewhere they are characters, as in ``a 5" screen``.
    """
    at = 0
    while True:
        if inside:
            at = text.find('"', at) + 1
            if not at:
                return True
            if text.startswith('"', at):  # two stand for one
                at += 1
            else:
                inside = False
        elif at == 0 and text.startswith('"'):
            inside, at = True, 1
        else:
            at = text.find(f'{delimiter}"', at) + 2
            if at == 1:
                return False
            inside = True


def _is_quoted(file: Path, count: int) -> bool:
    """Whether quotes enclose values in a TSV file; in many such files they are but characters of the text.

    Each record that reads otherwise with quotes than line by line has a vote; see :func:`_votes`.
    """
    votes, inside = 0, False
    lines: list[str] = []
    with whole_gzip(file), open_text(file, errors="replace") as opened:
        for text in opened:
            lines.append(text)
            inside = _ends_quoted(text, inside, "\t")
            if not inside or len(lines) == _MOST_LINES:
                votes += _votes(lines, count) if not inside else -1
                lines, inside = [], False
    return votes >= int(inside)  # what never ends is no value


def _votes(lines: Sequence[str], count: int) -> int:
    """Whether a record that quotes make of some lines speaks for them (1), against them (-1) or for neither (0).

    It does so where its lines do not have all values by themselves and the record has, and against them where each line
    has all values, or where text stands between a closing quote and the next value.
    """
    if not any(text.startswith('"') or '\t"' in text for text in lines):
        return 0
    whole = [len(text.rstrip("\r\n").split("\t")) == count for text in lines]
    if len(lines) > 1 and all(whole):
        return -1
    try:
        found = len(next(csv.reader(lines, delimiter="\t", strict=True), []))
    except csv.Error:
        return -1
    return int(found == count and not all(whole))
