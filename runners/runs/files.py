"""Files that are either wholly there or not there at all, even if the machine stops in between."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from trbert_env.folders import sync


def write_durably(path: Path, text: str) -> None:
    """Write a text file and wait until it is on the disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step: a reader sees the old one or the new one, whole."""
    partial = path.with_name(path.name + ".partial")
    write_durably(partial, json.dumps(value, indent=2, allow_nan=False) + "\n")
    os.replace(partial, path)
    sync(path.parent)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a CSV file; columns are the rows' keys in order of appearance, empty where a row lacks one."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    partial = path.with_name(path.name + ".partial")
    write_durably(partial, text.getvalue())
    os.replace(partial, path)
    sync(path.parent)


def read_csv(path: Path, texts: Container[str]) -> list[dict[str, Any]]:
    """Read a CSV file of :func:`write_csv`; a row has no key where its cell is empty.

    Args:
        path: The file.
        texts: Columns of text, whatever it looks like; the cells of others are JSON where they can be.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not text; the message names the file.
    """

    def value(name: str, cell: str) -> Any:
        if name in texts:
            return cell
        try:
            return json.loads(cell)
        except json.JSONDecodeError:
            return cell

    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file ({error}); restore it or start a new run") from error
    # Behind the last column stands what is too much in a row.
    return [{name: value(name, cell) for name, cell in row.items() if name is not None and cell} for row in rows]


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON; the message names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError too
        raise ValueError(f"{path} is not valid JSON ({error}); restore it or start a new run") from error


def read_record(path: Path, needs: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON file that holds one record.

    Args:
        path: The file.
        needs: Names that the record must have.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no record, or lacks a name; the message names the file.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise ValueError(f"{path} holds {type(record).__name__}, not a record: restore it, or delete it to run again")
    if missing := [name for name in needs if name not in record]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: restore it, or delete it to run again")
    return record
