"""Rules over whole records, which the kinds of single columns cannot state: blank questions, answers that do not fit.

A rule is checked for a form by the columns that it has, once, when a split is loaded.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator

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
        for name in ("question", "context"):
            for row in blank(table.column(name)):
                yield row, f"with an empty {name}", f" has an empty {name}: fill it in or leave the row out"
        yield from _broken_spans(table)
    if "options" in form.columns:
        yield from _broken_options(table)


def _broken_spans(table: pa.Table) -> Iterator[Broken]:
    """Answers that do not stand in their context where they say."""
    first = 0
    for batch in table.select(["context", "answers"]).to_batches(max_chunksize=_BATCH):
        columns = [column.to_pylist() for column in batch.columns]
        for row, (context, answers) in enumerate(zip(*columns, strict=True), first):
            for text, start in zip(answers["text"], answers["answer_start"], strict=True):
                found = context[start : start + len(text)]
                if found != text or not text.strip():
                    yield (
                        row,
                        "with an answer that does not fit its context",
                        (
                            f": its answer {reprlib.repr(text)} does not fit its context at answer_start {start}, "
                            f"where {reprlib.repr(found)} stands: check the data (offsets count characters)"
                        ),
                    )
                    break
        first += len(batch)


def _broken_options(table: pa.Table) -> Iterator[Broken]:
    """Answers that are no option."""
    answers, counts = table.column("answer"), pc.list_value_length(table.column("options"))
    for row in pc.indices_nonzero(pc.greater_equal(answers, counts)).to_pylist():
        yield (
            row,
            "whose answer is none of the options",
            (f": answer is {answers[row]}, but there are {counts[row]} options: give the index of an option, from 0"),
        )
