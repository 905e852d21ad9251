"""Read the items of a long JSON list one by one, so that a file of half a gigabyte needs little memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from trbert_env.data.files import open_text, whole_gzip

#: Characters that are read at once; twice as many each time that an item turns out to be longer.
_CHUNK = 1 << 20
_WORD = re.compile(r"[^ \t\r\n]")
_DECODER = json.JSONDecoder()


def items_of(file: Path, key: str | None = None) -> Iterator[Any]:
    """Iterate over the items of a JSON list.

    Args:
        file: A UTF-8 file, plain or gzip, that holds one list, or one object that has a list.
        key: The key of the list in that object; without it, the file holds the list. What stands in the object
            behind the list is not read.

    Raises:
        ValueError: The file is not such JSON, not UTF-8, or its compression is damaged.
    """
    try:
        with whole_gzip(file), open_text(file) as opened:
            reader = _Reader(file, opened)
            if key is not None:
                _find(reader, key, file)
            if reader.next() != "[":
                raise _no_list(file, key)
            yield from _items(reader)
            if key is None and reader.next():
                raise reader.faulty("there is text behind the list", reader.at)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error.reason}): write it as UTF-8") from error


class _Reader:
    """Reads JSON values and the signs between them; ``at`` is the place in the piece of text that is held."""

    def __init__(self, file: Path, opened: IO[str]) -> None:
        self.file, self.opened = file, opened
        self.text, self.at, self.line = "", 0, 1

    def next(self) -> str:
        """The next character that is not white space, or nothing at the end of the file; it stays unread."""
        while True:
            found = _WORD.search(self.text, self.at)
            self.at = len(self.text) if found is None else found.start()
            if found is not None or not self.fill(_CHUNK):
                return self.text[self.at : self.at + 1]

    def skip(self, wanted: str) -> None:
        """Read one character."""
        if self.next() != wanted:
            raise self.faulty(f"expected {wanted}", self.at)
        self.at += 1

    def value(self) -> Any:
        """Read one value."""
        self.next()
        size = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:  # perhaps only because the rest is not read yet
                if not self.fill(size):
                    raise self.faulty(error.msg, error.pos) from error
                size *= 2
                continue
            # What ends with the piece may go on, such as a number, of which "1." is read as 1.
            if self.text[end : end + 1] not in ("", ".", "e", "E") or not self.fill(_CHUNK):
                self.at = end
                return value

    def fill(self, size: int) -> bool:
        """Forget what has been read, and read more; return whether there was more."""
        more = self.opened.read(size)
        if more:
            self.line += self.text.count("\n", 0, self.at)
            self.text, self.at = self.text[self.at :] + more, 0
        return bool(more)

    def faulty(self, what: str, at: int) -> ValueError:
        line = self.line + self.text.count("\n", 0, at)
        return ValueError(
            f"{self.file}, line {line}, is not JSON ({what}): correct it, copy the file anew, or end its name in "
            ".jsonl if each line is one record"
        )


def _items(reader: _Reader) -> Iterator[Any]:
    reader.skip("[")
    if reader.next() != "]":
        yield reader.value()
    while reader.next() != "]":
        if reader.next() != ",":
            raise reader.faulty("expected , or ]", reader.at)
        reader.skip(",")
        yield reader.value()
    reader.skip("]")


def _find(reader: _Reader, key: str, file: Path) -> None:
    """Read an object as far as the value of a key."""
    if reader.next() == "{":
        reader.skip("{")
        while reader.next() == '"':
            found = reader.value()
            reader.skip(":")
            if found == key:
                return
            reader.value()
            if reader.next() == ",":
                reader.skip(",")
    raise _no_list(file, key)


def _no_list(file: Path, key: str | None) -> ValueError:
    what = "a JSON list" if key is None else f"a JSON object with a list {key!r}"
    return ValueError(f"{file} is not {what}: give a file that is")
