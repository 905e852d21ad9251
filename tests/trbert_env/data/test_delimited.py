"""CSV and TSV files of odd but legal form: every record is read, and every fault named by its line."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trbert_env.data.delimited import header_of, read_delimited
from trbert_env.data.faults import Faults


def read(file: Path, faults: Faults | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """The line and the values of each record."""
    for rows in read_delimited(file, header_of(file), faults or Faults(skip=True)):
        for row, values in enumerate(rows.table.to_pylist()):
            yield rows.where(row)[1], values


def lines_by_csv(file: Path) -> list[str]:
    """The line that each record begins on, by the standard library's parser."""
    begins, found = 1, []
    with file.open(newline="") as opened:
        reader = csv.reader(opened)
        for values in reader:
            if values:
                found.append(f"line {begins}")
            begins = reader.line_num + 1
    return found[1:]


@pytest.mark.parametrize(
    "text",
    [
        'text,label\nA 5" screen,x\nplain,y\n"quoted, ""twice""",z\n6" and 7",x\n',
        'text,label\n"two\nlines",x\n5" of "rain",y\n\n"a ""b""\n""c""",z\nlast,x\n',
        '\n\n"text","label"\nfirst,x\n"5""\n",y\nlast,z\n',
        'text,"label\nof two lines"\na,x\n"b",y\n',
        'text,label\r\n"a\r\nb",x\r\n5",y\r\nc,z\r\n',
        'text,label\n"",x\n"a"b"c",y\n"""",z\n,x\n',
    ],
)
def test_records_and_their_lines_are_those_of_the_standard_parser(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(text.encode())
    with file.open(newline="") as opened:
        names, *records = [values for values in csv.reader(opened) if values]
    assert header_of(file) == names
    found = list(read(file))
    assert [list(values.values()) for _, values in found] == records
    assert [line for line, _ in found] == lines_by_csv(file)


def test_random_files_agree_with_the_standard_parser(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "a.csv"
    for _ in range(60):
        cells = ["".join(rng.choice(list('a",\n'), int(rng.integers(1, 6)))) for _ in range(20)]
        with file.open("w", newline="") as opened:
            writer = csv.writer(opened, quoting=int(rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])))
            writer.writerows([["text", "label"], *zip(cells[::2], cells[1::2], strict=True)])
        assert [line for line, _ in read(file)] == lines_by_csv(file)


def test_lines_with_a_wrong_number_of_values_behind_blank_lines_and_quotes(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('\ntext,label\na 5" screen,x\nb\n"c\nd",y\ne,x,y\nf,z\n')
    faults = Faults(skip=True)
    assert [(line, values["text"]) for line, values in read(file, faults)] == [
        ("line 3", 'a 5" screen'),
        ("line 5", "c\nd"),
        ("line 8", "f"),
    ]
    assert "2 with too many or too few values (first: line 4)" in faults.summary


@pytest.mark.parametrize("ending", ["csv.gz", "tsv.gz"])
@pytest.mark.parametrize("content", [b"text,label\na,x\n", gzip.compress(b"text\tlabel\na\tx\n" * 9, mtime=0)[:15]])
def test_what_is_no_whole_gzip_file_is_named(content: bytes, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{ending}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{file} is not a whole gzip file \(.*\): copy it anew$"):
        header_of(file)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_spreadsheets_part_values_by_other_characters_too(delimiter: str, quoting: int, tmp_path: Path) -> None:
    file, rows = tmp_path / "a.csv", [["3,5 metres; long", "x"], ['a 5" screen', "y"], ["two\nlines\tand more", "z"]]
    with file.open("w", newline="") as opened:
        csv.writer(opened, delimiter=delimiter, quoting=quoting).writerows([["text", "label"], *rows])
    assert header_of(file) == ["text", "label"]
    assert [list(values.values()) for _, values in read(file)] == rows


def test_a_comma_parts_before_other_characters_and_a_single_column_stays_one(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text;more,label\na;b,x\n")
    assert header_of(file) == ["text;more", "label"]
    assert [values for _, values in read(file)] == [{"text;more": "a;b", "label": "x"}]
    for name in ("text", "text; body"):
        file.write_text(f"{name}\na, or b\n" if name == "text" else f"{name}\nhello\n")
        assert header_of(file) == [name]
    file.write_text("text\na; b\n")
    assert [values for _, values in read(file)] == [{"text": "a; b"}]
