"""Read records of JSON lines and JSON files one by one, without holding a whole file of records."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import json_of, json_record, lines_of, open_text
from trbert_env.data.rows import Place, line

#: Characters of a JSON list that are read at once.
_CHUNK = 1 << 22


def records_of(file: Path, place: Place, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the records of a JSON file: lines, a list, or an object with a list ``data``.

    Args:
        file: A file, compressed if its name ends in ``.gz``.
        place: The file as a place.
        faults: Handling of entries that are no JSON objects.

    Yields:
        The number of each record, as :func:`place_of` counts, and the record.

    Raises:
        ValueError: The file or a record is malformed.
    """
    if is_lines(file):
        yield from _of_lines(file, place, faults)
        return
    entries = _of_list(file) if first_character(file) == "[" else enumerate(_data_of(file))
    for number, entry in entries:
        if isinstance(entry, dict):
            yield number, entry
        else:
            problem = ": not a JSON object: write {...} with one key a column"
            faults.report(place.name, place.locate(number), "that are not JSON objects", problem)


def place_of(file: Path) -> Place:
    """Return a file as a place of records: they are counted by lines, or as records from 0.

    Args:
        file: The file.
    """
    return Place(str(file), line if is_lines(file) else lambda number: f"record {number}")


def is_lines(file: Path) -> bool:
    """Return whether a file is named as JSON lines.

    Args:
        file: The file.
    """
    return Path(file.name.removesuffix(".gz")).suffix.lower() in {".jsonl", ".ndjson"}


def first_character(file: Path) -> str:
    """Return the first character of a file that is not white space.

    Args:
        file: A text file.
    """
    for _, text in lines_of(file):
        return text.lstrip()[0]
    raise ValueError(f"{file} is empty: give a file with at least one example")


def _of_lines(file: Path, place: Place, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, text in lines_of(file):
        try:
            yield number, json_record(text)
        except BadRecordError as fault:
            faults.report(place.name, place.locate(number), fault.kind, fault.problem)


def _data_of(file: Path) -> list[Any]:
    content = json_of(file)
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, list):
        raise ValueError(f"{file} is neither a list of records nor an object with a list 'data': write one of them")
    return data


def _of_list(file: Path) -> Iterator[tuple[int, Any]]:
    """The entries of a list, of which only a piece is held as text.

    Raises:
        ValueError: The file is not JSON, not UTF-8, or its compression is damaged.
    """
    number = 0
    try:
        for number, entry in enumerate(_entries(file)):
            yield number, entry
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error.reason}): write it as UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{file} is not a whole gzip file ({error}): copy it anew") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}, after record {number}, is not JSON ({error.msg}): correct it, or end its name in .jsonl "
            "if each line is one record"
        ) from error


def _entries(file: Path) -> Iterator[Any]:
    with open_text(file) as opened:
        text = opened.read(_CHUNK)
        at, first = text.index("[") + 1, True
        while True:
            entry, end, problem = None, len(text), None
            try:
                entry, end = _next(text, at, first)
            except json.JSONDecodeError as error:  # perhaps only because the rest is not read yet
                problem = error
            # What ends with the piece may go on, such as a number.
            if end == len(text) and (more := opened.read(max(_CHUNK, len(text) - at))):
                text, at = text[at:] + more, 0
                continue
            if problem is not None:
                raise problem
            if entry is _END:
                if text[end:].strip() or opened.read(_CHUNK).strip():
                    raise json.JSONDecodeError("text after the end of the list", text, end)
                return
            yield entry
            at, first = end, False


_END = object()
_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")


def _next(text: str, at: int, first: bool) -> tuple[Any, int]:
    """The next entry of a list, or ``_END``, and where it ends."""
    at = _skip_blanks(text, at)
    if text[at : at + 1] == "]":
        return _END, at + 1
    if not first:
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("expected , or ]", text, at)
        at = _skip_blanks(text, at + 1)
    return _DECODER.raw_decode(text, at)


def _skip_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()
