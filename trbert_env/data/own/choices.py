"""Own multiple-choice questions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.own.files import OwnFiles
from trbert_env.data.own.guesses import CHOSEN, CONTEXTS, IDS, OPTIONS, QUESTIONS, announced, check_apart, chosen
from trbert_env.data.own.reader import OwnReader, OwnSplit
from trbert_env.data.own.tables import ColumnRequest, Table
from trbert_env.data.records import CHOICES
from trbert_env.data.rows import Place, Rows, rows_of_records


class _Columns(NamedTuple):
    question: str
    options: str
    answer: str
    article: str | None
    id: str | None


@dataclass(frozen=True)
class MultipleChoice(OwnReader):
    """Reads own questions with a list of options, with or without an article.

    The answer is the index of an option from 0, its letter (``"A"`` is the first), or the option itself.
    Columns that are not named are guessed by their names, which :attr:`OwnSplit.origin` says.

    Attributes:
        files: Files of the data.
        question: The column of the question, or None to guess.
        options: The column of the options: a list of strings, in CSV as JSON.
        answer: The column of the answer.
        article: The column of the text that the question is about; ``""`` for none.
        id: The column of the id; ``""`` to number the records.
    """

    files: OwnFiles
    question: str | None = None
    options: str | None = None
    answer: str | None = None
    article: str | None = None
    id: str | None = None

    @property
    def name(self) -> str:
        """The name of the file or data set."""
        return self.files.name

    def read(self, split: str, faults: Faults) -> OwnSplit:
        """Read a split; see :meth:`OwnReader.read`."""
        table, is_part = self.files.table(split)
        columns = self._columns(table)
        check_apart(table, columns._asdict())
        names = list(dict.fromkeys(name for name in columns if name is not None))
        pieces = []
        for piece in table.read(ColumnRequest(names, nested=[columns.options]), faults):
            place = Place(table.name, _locator(piece))
            made = rows_of_records(_records(piece, table, columns, place, faults), CHOICES, place, faults)
            pieces.append(piece.take(made.numbers).with_table(made.table))
        if not sum(map(len, pieces)):
            left_out = f" ({faults.summary})" if faults.summary else ""
            raise ValueError(f"{table.name} has no rows{left_out}: give at least one example")
        rows = Rows.concat(pieces)
        if is_part:
            rows = self.files.part(rows, split)
        given = {name: getattr(self, name) for name in columns._fields}
        origin = f"{table.name}{self.files.said(split, is_part)}: {announced(table, columns._asdict(), given)}"
        return OwnSplit(rows, CHOICES, self.files.source, origin)

    def _columns(self, table: Table) -> _Columns:
        question = chosen(table, "question", self.question, QUESTIONS)
        options = chosen(table, "options", self.options, OPTIONS)
        answer = chosen(table, "answer", self.answer, CHOSEN)
        assert question is not None
        assert options is not None
        assert answer is not None
        article = chosen(table, "article", self.article, ("article", *CONTEXTS), required=False)
        return _Columns(question, options, answer, article, chosen(table, "id", self.id, IDS, required=False))


def _locator(piece: Rows) -> Callable[[int], str]:
    return lambda row: piece.where(row)[1]


def _records(
    piece: Rows, table: Table, columns: _Columns, place: Place, faults: Faults
) -> Iterator[tuple[int, dict[str, Any]]]:
    for row, values in enumerate(piece.table.to_pylist()):
        try:
            key = f"{table.stem}:{piece.numbers[row]}" if columns.id is None else _filled(values, columns.id)
            yield row, {"id": str(key), **_record(values, columns, table.typed)}
        except BadRecordError as fault:
            faults.report(place.name, place.locate(row), fault.kind, fault.problem)


def _record(values: Mapping[str, Any], columns: _Columns, typed: bool) -> dict[str, Any]:
    question = _filled(values, columns.question)
    article = "" if columns.article is None else _filled(values, columns.article)
    options = _options(_filled(values, columns.options), typed)
    # Questions without an article stand alone.
    group = hashlib.sha256(str(article or question).encode("utf-8", "replace")).hexdigest()[:16]
    answer = _answer(_filled(values, columns.answer), options)
    return {"group": group, "article": article, "question": question, "options": options, "answer": answer}


def _filled(values: Mapping[str, Any], column: str) -> Any:
    value = values[column]
    if value is None or value == "":
        raise BadRecordError(f"without {column}", f": {column} is missing: fill it in or leave the row out")
    return value


def _options(options: Any, typed: bool) -> list[str]:
    """The options of a question.

    Raises:
        BadRecordError: They are no list of strings.
    """
    if not typed and isinstance(options, str):
        try:
            options = json.loads(options)
        except json.JSONDecodeError:
            options = None
    if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
        raise BadRecordError("with faulty options", ": options are no list of strings: write them as one")
    return options


def _answer(answer: Any, options: list[str]) -> int:
    """The index of the right option, given by index, letter or text.

    Raises:
        BadRecordError: It names none of the options, two that are equal, or one by its text and another by its place.
    """
    place = _place(str(answer).strip())
    if place is None and answer not in options:  # pandas writes 1.0 where an answer is missing
        place = _place(re.sub(r"^(\d+)\.0+$", r"\1", str(answer).strip()))
    placed = place is not None and place < len(options)
    if isinstance(answer, str) and options.count(answer) == 1:
        index = options.index(answer)
        if placed and place != index:
            fix = "give its letter" if answer.isdigit() else "give its index from 0"
            problem = f": answer is {answer!r}, the text of one option and the place of another: {fix}"
            raise BadRecordError("whose answer names two options", problem)
        return index
    if place is None or not placed:
        fix = f"give an index from 0, a letter from A, or one of the {len(options)} options, which must differ"
        raise BadRecordError("whose answer is none of the options", f": answer is {answer!r:.80}: {fix}")
    return place


def _place(answer: str) -> int | None:
    """The place that an index or a letter names; None for other answers."""
    if answer.isascii() and answer.isdigit():
        return int(answer)
    if len(answer) == 1 and answer.isascii() and answer.isalpha():
        return ord(answer.upper()) - ord("A")
    return None
