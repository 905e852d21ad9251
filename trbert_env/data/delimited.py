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
    if names := _first_line(file, _delimiter(file)):
        return [name.strip() for name in names]
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


def _first_line(file: Path, delimiter: str) -> list[str]:
    """Return the values of the first line that is not blank; none of an empty file."""
    with whole_gzip(file), open_text(file, errors="replace") as opened:
        return next(filter(None, csv.reader(opened, delimiter=delimiter)), [])


def _delimiter(file: Path) -> str:
    """Return what stands between values: the first of :data:`_DELIMITERS` that parts the first line of a CSV file."""
    if _suffix(file) == ".tsv":
        return "\t"
    parting = (delimiter for delimiter in _DELIMITERS if len(_first_line(file, delimiter)) > 1)
    return next(parting, _DELIMITERS[0])


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

    They are characters if they would join lines that have all values each, or never end, or if they join no lines and a
    value has quotes that enclose nothing.
    """
    odd, joins, inside, whole = False, False, False, 0
    with whole_gzip(file), open_text(file, errors="replace") as opened:
        for text in opened:
            values = text.rstrip("\r\n").split("\t")
            goes_on, inside = inside, _ends_quoted(text, inside, "\t")
            whole = (whole if goes_on else 0) + (len(values) == count)
            if whole > 1 and (goes_on or inside):
                return False
            joins = joins or goes_on
            odd = odd or any(_has_odd_quotes(value) for value in values)
    return not inside and (joins or not odd)


def _has_odd_quotes(value: str) -> bool:
    if not value.startswith('"'):
        return False
    return len(value) == 1 or not value.endswith('"') or '"' in value[1:-1].replace('""', "")
