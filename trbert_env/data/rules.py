"""Rules over whole records, which the kinds of single columns cannot state: blank questions, answers that do not fit.

A rule is checked for a form by the columns that it has, once, when a split is loaded.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.rows import Rows

#: Rows that are turned into Python objects at once.
_BATCH = 4096

#: The index of a row, the kind of fault, and what is wrong with the fix.
Broken = tuple[int, str, str]


def obeying(rows: Rows, form: Schema, faults: Faults) -> Rows:
    """Return the rows that obey the rules of their form.

    Args:
        rows: Rows in that form, checked by :func:`~trbert_env.data.checking.conforming`.
        form: A form of :mod:`trbert_env.data.records`.
        faults: Handling of the other rows.

    Raises:
        ValueError: A row breaks a rule.
    """
    kept = np.ones(len(rows), np.bool_)
    keys = rows.table.column(form.key)
    for row, kind, problem in _broken(rows.table, form):
        if kept[row]:
            origin, at = rows.where(row)
            named = f"{at}, {form.key} {reprlib.repr(keys[row].as_py())}"
            faults.report(origin, named, kind, problem)
            kept[row] = False
    return rows.keep(kept)


def blank(values: pa.ChunkedArray) -> list[int]:
    """Return the indices of strings that are empty or white space.

    Args:
        values: Strings.
    """
    stripped = pc.utf8_length(pc.utf8_trim_whitespace(values))
    indices: list[int] = pc.indices_nonzero(pc.equal(stripped, 0)).to_pylist()
    return indices


def _broken(table: pa.Table, form: Schema) -> Iterator[Broken]:
    if "context" in form.columns:
        yield from _empty(table, "question", "context")
        yield from _misplaced(table, ("context", "answers"), _misplaced_answer)
    if "paragraphs" in form.columns:
        yield from _empty(table, "question", "answer")
        yield from _misplaced(table, ("paragraphs", "spans"), _misplaced_span)
    if "options" in form.columns:
        yield from _short(table, "options", table.column("options"), 2)
        yield from _unknown_choice(table, "options")
    if "candidates" in form.columns:
        yield from _empty(table, "query")
        yield from _short(table, "candidates", table.column("candidates"), 2)
        yield from _unknown_choice(table, "candidates")


def _empty(table: pa.Table, *names: str) -> Iterator[Broken]:
    for name in names:
        for row in blank(table.column(name)):
            yield row, f"with an empty {name}", f" has an empty {name}: fill it in or leave the row out"


def _short(table: pa.Table, name: str, lists: pa.ChunkedArray, fewest: int) -> Iterator[Broken]:
    """Lists with too few items."""
    counts = pc.list_value_length(lists)
    for row in pc.indices_nonzero(pc.less(counts, fewest)).to_pylist():
        problem = f" has {counts[row]} {name}: give at least {fewest} or leave the row out"
        yield row, f"with too few {name}", problem


def _misplaced(
    table: pa.Table, names: tuple[str, str], problem_of: Callable[[Any, Mapping[str, list[Any]]], str | None]
) -> Iterator[Broken]:
    """Answers that do not stand where they say.

    Args:
        table: The records.
        names: The column of texts, and that of answers.
        problem_of: Tells what is wrong with the first misplaced answer of a record, if there is one.
    """
    first = 0
    for batch in table.select(list(names)).to_batches(max_chunksize=_BATCH):
        columns = [column.to_pylist() for column in batch.columns]
        for row, (text, answers) in enumerate(zip(*columns, strict=True), first):
            if problem := problem_of(text, answers):
                yield row, f"with an answer that does not fit its {names[0]}", problem
        first += len(batch)


def _misplaced_answer(context: str, answers: Mapping[str, list[Any]]) -> str | None:
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        found = context[start : start + len(text)]
        if found != text or not text.strip():
            return (
                f": its answer {reprlib.repr(text)} does not fit its context at answer_start {start}, "
                f"where {reprlib.repr(found)} stands: check the data (offsets count characters)"
            )
    return None


def _misplaced_span(paragraphs: Mapping[str, list[Any]], spans: Mapping[str, list[Any]]) -> str | None:
    for index, start, text in zip(spans["paragraph"], spans["start"], spans["text"], strict=True):
        paragraph = "".join(paragraphs["sentences"][index]) if index < len(paragraphs["sentences"]) else ""
        found = paragraph[start : start + len(text)]
        if found != text or not text.strip():
            return (
                f": its answer {reprlib.repr(text)} does not fit paragraph {index} at start {start}, where "
                f"{reprlib.repr(found)} stands: check the data (offsets count characters of the joined sentences)"
            )
    return None


def _unknown_choice(table: pa.Table, name: str) -> Iterator[Broken]:
    """Answers that are no option, or no candidate."""
    answers, counts = table.column("answer"), pc.list_value_length(table.column(name))
    for row in pc.indices_nonzero(pc.greater_equal(answers, counts)).to_pylist():
        problem = f": answer is {answers[row]}, but there are {counts[row]} {name}: give the index of one, from 0"
        yield row, f"whose answer is none of the {name}", problem
