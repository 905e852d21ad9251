"""Read records of JSON lines and JSON files one by one, without holding a whole file of records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import json_record, lines_of
from trbert_env.data.json_items import items_of
from trbert_env.data.rows import Place, line


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
    for number, entry in enumerate(items_of(file, None if first_character(file) == "[" else "data")):
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
