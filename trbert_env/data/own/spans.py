"""Own questions whose answers are spans of a context."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.checking import conforming
from trbert_env.data.columns import Schema
from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import json_of
from trbert_env.data.kinds import Text
from trbert_env.data.occurrences import exact_occurrences
from trbert_env.data.own.files import OwnFiles
from trbert_env.data.own.guesses import (
    ANSWERS,
    CONTEXTS,
    IDS,
    QUESTIONS,
    STARTS,
    announced,
    check_apart,
    chosen,
    named_role,
)
from trbert_env.data.own.json_files import first_character
from trbert_env.data.own.reader import OwnReader, OwnSplit
from trbert_env.data.own.tables import ColumnRequest, JsonTable, Table
from trbert_env.data.readers.squad import is_squad, question_place, squad_records
from trbert_env.data.records import SPAN_QA
from trbert_env.data.rows import Place, Rows, rows_of_records
from trbert_env.data.rules import blank
from trbert_env.data.source_kinds import each

#: Rows that are turned into Python objects at once.
_BATCH = 4096


#: What is made of each row in Python.
_MADE = Schema("answers", {name: SPAN_QA.columns[name] for name in ("id", "answers")})


_NONE_FIX = "give the answers, or [] where the context has none"


class _Columns(NamedTuple):
    question: str
    context: str
    answers: str
    answer_start: str | None
    id: str | None


@dataclass(frozen=True)
class SpanQA(OwnReader):
    """Reads own questions with answers that stand in a context, or with none.

    Answers are records ``{"text": [...], "answer_start": [...]}`` as in SQuAD, lists of records or of strings, or
    one string a question; starts may have a column of their own. An answer without a start is looked up: the first
    occurrence counts. An empty answer, ``[]`` or null, means that the context has none; a JSON record without the key
    is malformed. Official SQuAD files (JSON) are read too.

    Columns that are not named are guessed by their names, which :attr:`OwnSplit.origin` says.

    Attributes:
        files: Files of the data.
        question: The column of the question, or None to guess.
        context: The column of the context.
        answers: The column of the answers, or of the text of one answer.
        answer_start: The column of the start of one answer, in characters from 0; ``""`` for none.
        id: The column of the id; ``""`` to number the records.
    """

    files: OwnFiles
    question: str | None = None
    context: str | None = None
    answers: str | None = None
    answer_start: str | None = None
    id: str | None = None

    @property
    def name(self) -> str:
        """The name of the file or data set."""
        return self.files.name

    def read(self, split: str, faults: Faults) -> OwnSplit:
        """Read a split; see :meth:`OwnReader.read`."""
        table, is_part = self.files.table(split)
        squad = _squad_content(table)
        if squad is None:
            columns = self._columns(table)
            check_apart(table, columns._asdict())
            given = {name: getattr(self, name) for name in columns._fields}
            said = f": {announced(table, columns._asdict(), given)}"
            rows = _of_columns(table, columns, faults)
        else:
            self._check_no_columns(table)
            said = ": SQuAD's form"
            file = Path(table.name)
            rows = rows_of_records(squad_records(squad, table.name, faults), SPAN_QA, question_place(file), faults)
        if not len(rows):
            left_out = f" ({faults.summary})" if faults.summary else ""
            raise ValueError(f"{table.name} has no rows{left_out}: give at least one example")
        if is_part:
            rows = self.files.part(rows, split)
        origin = f"{table.name}{self.files.said(split, is_part)}{said}{_without_answer(rows)}"
        return OwnSplit(rows, SPAN_QA, self.files.source, origin)

    def _check_no_columns(self, table: Table) -> None:
        """Refuse columns that are named of a file that has none.

        Raises:
            ValueError: Some are named.
        """
        named = [name for name in _Columns._fields if getattr(self, name) is not None]
        if named:
            raise ValueError(
                f"{table.name} is in SQuAD's own form, which has no columns: leave the column of {', '.join(named)} out"
            )

    def _columns(self, table: Table) -> _Columns:
        question = chosen(table, "question", self.question, QUESTIONS)
        context = chosen(table, "context", self.context, CONTEXTS)
        answers = chosen(table, "answers", self.answers, ANSWERS)
        assert question is not None
        assert context is not None
        assert answers is not None
        start = chosen(table, "answer_start", self.answer_start, STARTS, required=False)
        return _Columns(question, context, answers, start, chosen(table, "id", self.id, IDS, required=False))


def _without_answer(rows: Rows) -> str:
    """A phrase on how many questions have no answer, for descriptions; nothing where all have one."""
    answers = rows.table.column("answers").combine_chunks()
    none = int(pc.sum(pc.equal(pc.list_value_length(pc.struct_field(answers, "text")), 0)).as_py())
    return f"; {none:,} of {len(rows):,} questions have no answer ([], null or blank)" if none else ""


def _squad_content(table: Table) -> Any:
    """The content of an official SQuAD file, or None if the table is another one."""
    if not isinstance(table, JsonTable) or ".json" not in table.file.suffixes or first_character(table.file) != "{":
        return None
    content = json_of(table.file)
    return content if is_squad(content) else None


def _of_columns(table: Table, columns: _Columns, faults: Faults) -> Rows:
    """Make records piece by piece; questions and contexts stay in arrow."""
    names = list(dict.fromkeys(name for name in columns if name is not None))
    pieces = []
    fill = "fill it in or leave the row out"
    # A question that lacks its answers by mistake must not pass for one that has none.
    fixes = {columns.question: fill, columns.context: fill, columns.answers: _NONE_FIX}
    wanted = ColumnRequest(names, fixes, nested=[columns.answers, columns.answer_start])
    for piece in table.read(wanted, faults):
        raw = _with_texts(piece, columns, faults)
        texts = {"question": raw.table.column(columns.question), "context": raw.table.column(columns.context)}
        others = {name: raw.table.column(column) for name, column in columns._asdict().items() if column is not None}
        piece = raw.with_columns({**others, **texts})
        place = Place(table.name, _locator(piece))
        made = rows_of_records(_records(piece, table, place, faults), _MADE, place, faults)
        kept = np.zeros(len(piece), np.bool_)
        kept[made.numbers] = True
        piece = piece.keep(kept)
        both = {
            **{name: piece.table.column(name) for name in texts},
            **{n: made.table.column(n) for n in _MADE.columns},
        }
        pieces.append(piece.with_columns({name: both[name] for name in SPAN_QA.columns}))
    if not pieces:
        raise ValueError(f"{table.name} has no rows: give at least one example")
    return Rows.concat(pieces)


def _with_texts(rows: Rows, columns: _Columns, faults: Faults) -> Rows:
    """The rows that have a question and a context; the others are reported by the names of their columns."""
    texts = {"question": columns.question, "context": columns.context}
    checked = conforming(rows, Schema("questions", {column: Text() for column in texts.values()}), faults)
    rows = rows.keep(np.isin(rows.numbers, checked.numbers))
    for role, column in texts.items():
        filled = np.ones(len(rows), np.bool_)
        for row in blank(rows.table.column(column).cast(pa.string())):
            origin, at = rows.where(row)
            problem = f" has an empty {named_role(role, column)}: fill it in or leave the row out"
            faults.report(origin, at, f"with an empty {role}", problem)
            filled[row] = False
        rows = rows.keep(filled)
    return rows


def _locator(piece: Rows) -> Callable[[int], str]:
    return lambda row: piece.where(row)[1]


def _records(piece: Rows, table: Table, place: Place, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """The id and the answers of each row of a piece, with the row."""
    columns = piece.table.column_names
    contexts = piece.table.column("context")
    starts = piece.table.column("answer_start").to_pylist() if "answer_start" in columns else [None] * len(piece)
    keys = piece.table.column("id").to_pylist() if "id" in columns else None
    for row, answers in enumerate(piece.table.column("answers").to_pylist()):
        try:
            key = f"{table.stem}:{piece.numbers[row]}" if keys is None else _key(keys[row])
            found = [
                (text, _start(text, start, contexts, row))
                for text, start in _answers(answers, starts[row], table.typed)
            ]
            yield row, {"id": key, "answers": {"text": [t for t, _ in found], "answer_start": [at for _, at in found]}}
        except BadRecordError as fault:
            faults.report(place.name, place.locate(row), fault.kind, fault.problem)


def _key(value: Any) -> str:
    if value is None or value == "":
        raise BadRecordError("without an id", ": id is missing: fill it in, or number the records with --columns id=")
    return str(value)


def _answers(answers: Any, start: Any, typed: bool) -> Iterator[tuple[str, Any]]:
    """The texts of answers, and their starts where they are given; no answer at all if it is empty."""
    if not typed and isinstance(answers, str) and answers.lstrip()[:1] in ("{", "["):
        answers = _parsed_answers(answers)
    if isinstance(answers, Mapping) and "text" in answers and answers.get("answer_start") is None:
        answers = answers["text"]
    if answers is None or (isinstance(answers, str) and not answers.strip()):
        return
    if isinstance(answers, str):
        yield answers, start
        return
    try:
        if isinstance(answers, list) and all(isinstance(answer, str) for answer in answers):
            yield from zip(answers, _starts(start, len(answers), typed), strict=True)
        else:
            yield from ((answer["text"], answer.get("answer_start")) for answer in _each_answer(answers))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        problem = f": answers are {answers!r:.80}: give {{'text': [...], 'answer_start': [...]}}, a list or a string"
        raise BadRecordError("with faulty answers", problem) from error


def _starts(start: Any, count: int, typed: bool) -> Sequence[Any]:
    """The starts of a list of answers, of a column of their own; None for each where there are none.

    Raises:
        ValueError: There is not one a text.
    """
    if not typed and isinstance(start, str) and start.lstrip()[:1] == "[":
        start = _parsed(start)
    if not count or start is None or start == "":
        return [None] * count
    found = start if isinstance(start, list) else [start]
    if len(found) != count:
        raise ValueError(f"{len(found)} starts for {count} answers")
    return found


def _each_answer(answers: Any) -> Iterator[Mapping[str, Any]]:
    """Records of answers; a record may also hold one text, not a list."""
    if isinstance(answers, Mapping):
        answers = {name: answers[name] for name in ("text", "answer_start") if answers.get(name) is not None}
        if isinstance(answers.get("text"), str):
            answers = [answers]
    return each(answers)


def _parsed_answers(cell: str) -> Any:
    """The record or list of answers in a cell, or the string itself: an answer may be "[1990]"."""
    found = _parsed(cell)
    is_list = isinstance(found, list) and all(isinstance(answer, str | Mapping) for answer in found)
    return found if is_list or isinstance(found, Mapping) else cell


def _parsed(cell: str) -> Any:
    """JSON in a cell, or the string itself: it may begin with a bracket."""
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        return cell


def _start(text: Any, start: Any, contexts: pa.ChunkedArray, row: int) -> int:
    """Where an answer stands: as it is said, or its first occurrence, which is part of a longer word at worst."""
    if not isinstance(text, str):
        raise BadRecordError("with faulty answers", f": answer {text!r} is no string: write it as one")
    if start is None or start == "":
        context: str = contexts[row].as_py()
        whole = exact_occurrences(context, text)
        found = whole[0][0] if whole else context.find(text)
        if found < 0:
            problem = f": its answer {text!r:.80} does not occur in its context: correct it, or leave the row out"
            raise BadRecordError("with an answer that does not occur in its context", problem)
        return found
    try:
        number = float(start)
        if not number.is_integer():
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        problem = f": answer_start is {start!r}: give a whole number, in characters from 0"
        raise BadRecordError("with a faulty answer_start", problem) from None
    return int(number)
