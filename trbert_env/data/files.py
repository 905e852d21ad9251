"""Open official files, plain or compressed, and name what cannot be read."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trbert_env.data.faults import BadRecordError


def open_text(file: Path, errors: str = "strict") -> IO[str]:
    """Open a UTF-8 file, decompressed if its name ends in ``.gz``; line ends stay as they are.

    Args:
        file: The file.
        errors: Handling of bytes that are not UTF-8, as ``open`` takes it.
    """
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", errors=errors, newline="")
    return file.open(encoding="utf-8-sig", errors=errors, newline="")


@contextmanager
def whole_gzip(file: Path) -> Iterator[None]:
    """Say of which file it is that its compression is damaged.

    Args:
        file: The file that is read.

    Raises:
        ValueError: It is no gzip file, or not all of one.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{file} is not a whole gzip file ({error}): copy it anew") from error


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """Iterate over the lines of a file that are not blank, with their numbers from 1.

    Args:
        file: A UTF-8 text file, plain or gzip.

    Raises:
        ValueError: The file is not UTF-8, or its compression is damaged.
    """
    number = 0
    try:
        with whole_gzip(file), open_text(file) as opened:
            for number, text in enumerate(opened, 1):
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}, after line {number}: not UTF-8 ({error.reason}): write it as UTF-8") from error


def json_of(file: Path) -> Any:
    """Read a JSON file.

    Args:
        file: A UTF-8 file, plain or gzip.

    Raises:
        ValueError: It is not JSON, not UTF-8, or its compression is damaged.
    """
    try:
        with whole_gzip(file), open_text(file) as opened:
            return json.load(opened)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}, line {error.lineno}, is not JSON ({error.msg}): correct it, or end its name in .jsonl "
            "if each line is one record"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error.reason}): write it as UTF-8") from error


def json_record(text: str) -> dict[str, Any]:
    """Parse one line of JSON lines.

    Args:
        text: The line.

    Raises:
        BadRecordError: It is not a JSON object.
    """
    line = text.rstrip()
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        if error.pos >= len(line) or error.msg.startswith("Unterminated string"):
            problem = ": not JSON, for the line ends early: complete or remove it"
            raise BadRecordError("that are not JSON", problem) from error
        raise BadRecordError("that are not JSON", f": not JSON ({error.msg}): correct or remove the line") from error
    if not isinstance(record, dict):
        raise BadRecordError("that are not JSON objects", ": not a JSON object: write {...} with one key a column")
    return record


def value_of(record: Any, name: str, kind: type[Any], what: str) -> Any:
    """Return a value of a JSON object.

    Args:
        record: The object.
        name: The key.
        kind: The type that the value must be of.
        what: Name of the object in messages, such as ``"the question"``.

    Raises:
        BadRecordError: It is missing, or of another type.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if value is None:
        raise BadRecordError(f"without {name}", f": {what} has no {name}: fill it in or leave it out")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise BadRecordError(
            f"with a faulty {name}", f": {name} of {what} is {type(value).__name__}, but {kind.__name__} is needed"
        )
    return value
