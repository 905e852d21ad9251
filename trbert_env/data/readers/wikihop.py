"""WikiHop (QAngaroo): a relation of a subject, whose value is one of several candidates; passages support it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trbert_env.data.columns import Schema
from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import value_of
from trbert_env.data.hub import Hub
from trbert_env.data.json_items import items_of
from trbert_env.data.kinds import ListOf, Text
from trbert_env.data.making import Maker, Note
from trbert_env.data.readers.base import Reader, first_folder
from trbert_env.data.records import CANDIDATES
from trbert_env.data.rows import Place, Rows

#: How the official files name the splits.
_FILES = {"train": "train", "validation": "dev"}
_COLUMNS = {
    "id": Text(),
    "query": Text(),
    "candidates": ListOf(Text()),
    "supports": ListOf(Text()),
    "answer": Text(),
}
#: What stands for a candidate in the masked form.
_MASK = re.compile(r"___MASK\d+___")
_PLAIN = "the masked form hides the candidates: give train.json and dev.json of wikihop"


def _record(question: Mapping[str, Any], note: Note) -> dict[str, Any]:
    answer = value_of(question, "answer", str, "the question")
    candidates = _texts(question, "candidates")
    if any(_MASK.fullmatch(candidate) for candidate in candidates):
        raise BadRecordError("with masked candidates", f": its candidates are masked: {_PLAIN}")
    if candidates.count(answer) != 1:
        count = candidates.count(answer) or "none"
        problem = f": its answer {answer!r} is {count} of its {len(candidates)} candidates: exactly one must be"
        raise BadRecordError("whose answer is not exactly one candidate", problem)
    supports = list(dict.fromkeys(support for support in _texts(question, "supports") if support.strip()))
    if not supports:
        raise BadRecordError("without supports", ": the question has no supports: fill them in or leave it out")
    return {
        "id": value_of(question, "id", str, "the question"),
        "query": value_of(question, "query", str, "the question"),
        "candidates": candidates,
        "supports": supports,
        "answer": candidates.index(answer),
    }


def _texts(question: Mapping[str, Any], name: str) -> list[str]:
    texts: list[str] = value_of(question, name, list, "the question")
    if not all(isinstance(text, str) for text in texts):
        raise BadRecordError(f"with faulty {name}", f": {name} are not all strings: write a list of strings")
    return texts


_MAKER = Maker(CANDIDATES, _record)


def _convert(rows: Rows, split: str, faults: Faults) -> Rows:
    return _MAKER.of_rows(rows, faults)


def _official(folder: Path, split: str, faults: Faults) -> Rows | None:
    stem, inner = _FILES[split], ("qangaroo_v1.1/wikihop", "wikihop", ".")
    for name in (f"{stem}.json", f"{stem}.json.gz"):
        if (root := first_folder(folder, inner, name)) is not None:
            place = Place(str(root / name), lambda number: f"question {number}")
            return _MAKER.of_items(enumerate(items_of(root / name)), place, faults)
    if (root := first_folder(folder, inner, f"{stem}.masked.json")) is not None:
        raise FileNotFoundError(f"{root} holds {stem}.masked.json but no {stem}.json: {_PLAIN}")
    return None


WIKIHOP = Reader(
    name="wikihop",
    form=CANDIDATES,
    hub=Hub("community-datasets/qangaroo", "wikihop"),
    splits={"train": "train", "validation": "validation"},
    columns=Schema("wikihop", _COLUMNS),
    convert=_convert,
    official=_official,
    official_files="qangaroo_v1.1/wikihop/{train,dev}.json",
)
