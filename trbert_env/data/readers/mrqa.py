"""NewsQA and NaturalQA in the form of the MRQA shared task: span question answering without a null answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from trbert_env.data.columns import Schema
from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import json_record, lines_of, value_of
from trbert_env.data.hub import Hub
from trbert_env.data.kinds import ListOf, Text
from trbert_env.data.making import LeftOutError, Maker, Note
from trbert_env.data.readers.base import Reader
from trbert_env.data.records import MRQA
from trbert_env.data.rows import Place, Rows, line
from trbert_env.data.source_kinds import Nested, each

_UNANSWERED = "without a detected answer"
_SHIFTED = "of whose detected answers some do not stand at their span (the others are kept)"
_TWICE = "with the qid of an earlier one"

#: How folders and files of the release name the splits.
_RELEASE = {"train": ("train",), "validation": ("dev", "validation")}


def _record(training: bool, question: Mapping[str, Any], note: Note) -> dict[str, Any]:
    context = value_of(question, "context", str, "the question")
    spans, all_fit = spans_of(context, question.get("detected_answers") or [])
    if not all_fit:
        note(_SHIFTED)
    if not spans and training:
        raise LeftOutError(_UNANSWERED)
    texts = [context[start:end] for start, end in spans]
    aliases = question.get("answers") or texts
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise BadRecordError("with faulty answers", ": its answers are no list of strings: write them as one")
    if not aliases:
        raise BadRecordError("without any answer", ": the question has no answers: fill them in or leave it out")
    return {
        "id": question.get("qid") or value_of(question, "id", str, "the question"),
        "context": context,
        "question": value_of(question, "question", str, "the question"),
        "answers": {"text": texts, "answer_start": [start for start, _ in spans]},
        "aliases": list(dict.fromkeys(aliases)),
        "group": hashlib.sha256(context.encode("utf-8", "replace")).hexdigest()[:16],
    }


def spans_of(context: str, detected: Any) -> tuple[list[tuple[int, int]], bool]:
    """Return the spans of all detected answers, each once, and whether all of them stand in the context.

    Args:
        context: The passage.
        detected: Answers with ``text`` and ``char_spans``, whose ends are inclusive; in either layout, see
            :func:`~trbert_env.data.source_kinds.each`.

    Returns:
        Begin and exclusive end of each span whose characters are the answer's text, up to white space and case.

    Raises:
        BadRecordError: An answer has no text or spans.
    """
    found: dict[tuple[int, int], None] = {}
    all_fit = True
    for answer in each(detected):
        text = _folded(value_of(answer, "text", str, "a detected answer"))
        for start, last in _char_spans(answer.get("char_spans")):
            fits = 0 <= start <= last < len(context) and _folded(context[start : last + 1]) == text != ""
            all_fit = all_fit and fits
            if fits:
                found[start, last + 1] = None
    return list(found), all_fit


def _char_spans(spans: Any) -> Iterator[tuple[int, int]]:
    """Spans as pairs, as records of start and end, or as a record of lists."""
    try:
        for span in each(spans):
            start, last = (span["start"], span["end"]) if isinstance(span, Mapping) else span
            yield int(start), int(last)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        problem = ": a detected answer has no char_spans [[start, inclusive end], ...]: give them"
        raise BadRecordError("with faulty char_spans", problem) from error


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _maker(split: str) -> Maker:
    return Maker(MRQA, partial(_record, split == "train"), key="qid")


def _convert(subset: str, rows: Rows, split: str, faults: Faults) -> Rows:
    rows = rows.keep(pc.equal(rows.table.column("subset"), subset).to_numpy(zero_copy_only=False))
    return _maker(split).of_rows(rows, faults)


def _finish(rows: Rows, split: str, faults: Faults) -> Rows:
    """Leave out questions that come twice: the metric counts each qid once."""
    seen: set[str] = set()
    kept = np.ones(len(rows), np.bool_)
    for row, qid in enumerate(rows.table.column("id").to_pylist()):
        if qid in seen:
            faults.leave_out(*rows.where(row), _TWICE)
            kept[row] = False
        seen.add(qid)
    return rows.keep(kept)


def _official(subset: str, folder: Path, split: str, faults: Faults) -> Rows | None:
    stems = [path for name in _RELEASE[split] for path in (f"{name}/{subset}", name)]
    for file in (folder / f"{stem}.jsonl{suffix}" for stem in stems for suffix in (".gz", "")):
        if file.is_file():
            place = Place(str(file), line)
            return _maker(split).of_items(_questions(file, place, subset, faults), place, faults)
    return None


def _questions(file: Path, place: Place, subset: str, faults: Faults) -> Iterator[tuple[int, Any]]:
    """The questions of each line, with its number and its context."""
    for number, text in lines_of(file):
        try:
            entry = json_record(text)
            if "header" in entry:
                _check_header(entry["header"], subset, file)
                continue
            context, questions = value_of(entry, "context", str, "the line"), value_of(entry, "qas", list, "the line")
        except BadRecordError as fault:
            faults.report(place.name, place.locate(number), fault.kind, fault.problem)
            continue
        for question in questions:
            is_record = isinstance(question, dict)
            yield number, {"qid": question.get("id"), **question, "context": context} if is_record else question


def _check_header(header: Any, subset: str, file: Path) -> None:
    found = header.get("dataset", subset) if isinstance(header, dict) else subset
    if found != subset:
        raise ValueError(f"{file} holds {found}, as its first line says, but {subset} is needed: give that file")


def _mrqa(name: str, subset: str) -> Reader:
    columns = {
        "qid": Text(),
        "subset": Text(),
        "context": Text(),
        "question": Text(),
        "detected_answers": Nested(("text", "char_spans")),
        "answers": ListOf(Text()),
    }
    return Reader(
        name=name,
        form=MRQA,
        # It holds all 18 data sets of the shared task: all are downloaded, but only one is read.
        hub=Hub("mrqa-workshop/mrqa", "plain_text", {"filters": [("subset", "==", subset)]}),
        splits={"train": "train", "validation": "validation"},
        columns=Schema(name, columns, key="qid"),
        convert=partial(_convert, subset),
        official=partial(_official, subset),
        official_files=f"train/{subset}.jsonl.gz and dev/{subset}.jsonl.gz, or train.jsonl.gz and dev.jsonl.gz",
        finish=_finish,
    )


NEWSQA = _mrqa("mrqa_newsqa", "NewsQA")
NATURALQA = _mrqa("mrqa_naturalqa", "NaturalQuestionsShort")
