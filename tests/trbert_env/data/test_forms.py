"""Records of questions over several paragraphs and of candidates: their types, layouts and rules."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from trbert_env.data.checking import conforming
from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.records import CANDIDATES, MULTI_HOP
from trbert_env.data.rows import Place, Rows
from trbert_env.data.rules import obeying

PARAGRAPHS = [
    {"title": "Old Mill", "sentences": ["The mill is old.", " Ada Roy built it."]},
    {"title": "Ada Roy", "sentences": ["Ada Roy was born in Oslo."]},
]
MULTI: dict[str, Any] = {
    "id": "q1",
    "question": "Where was the builder of Old Mill born?",
    "paragraphs": PARAGRAPHS,
    "answer": "Oslo",
    "kind": "span",
    "spans": [{"paragraph": 1, "start": 20, "text": "Oslo"}],
    "supports": [{"title": "Old Mill", "sentence": 1}, {"title": "Elsewhere", "sentence": 9}],
    "subset": "bridge",
}
CHOICE: dict[str, Any] = {
    "id": "q1",
    "query": "place_of_birth ada roy",
    "candidates": ["oslo", "rome"],
    "supports": ["Ada Roy was born in Oslo ."],
    "answer": 0,
}


def of_lists(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [record[name] for record in records] for name in records[0]}


def checked(record: dict[str, Any], form: Schema, faults: Faults | None = None) -> list[dict[str, Any]]:
    faults = faults or Faults()
    rows = Rows.of(pa.Table.from_pylist([record]), Place("a.json"))
    found: list[dict[str, Any]] = obeying(conforming(rows, form, faults), form, faults).table.to_pylist()
    return found


def test_lists_of_records_and_records_of_lists() -> None:
    nested = ("paragraphs", "spans", "supports")
    expected = {**MULTI, **{name: of_lists(MULTI[name]) for name in nested}}
    assert checked(MULTI, MULTI_HOP) == [expected]
    assert checked(expected, MULTI_HOP) == [expected]


@pytest.mark.parametrize("kind", ["yes", "no", "span"])
def test_questions_without_a_span(kind: str) -> None:
    record = {**MULTI, "kind": kind, "answer": kind, "spans": {"paragraph": [], "start": [], "text": []}}
    assert len(checked(record, MULTI_HOP)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, " has an empty question: fill it in or leave the row out"),
        ({"answer": ""}, " has an empty answer"),
        ({"kind": "maybe"}, ": kind is 'maybe': give one of span, yes, no"),
        ({"paragraphs": {"title": [], "sentences": []}}, "does not fit paragraph 1 at start 20, where '' stands"),
        ({"paragraphs": {"title": ["a"], "sentences": []}}, ": paragraphs has 1 title but 0 sentences"),
        ({"spans": [{"paragraph": 1, "start": 19, "text": "Oslo"}]}, "not fit paragraph 1 at start 19, where ' Osl'"),
        ({"spans": [{"paragraph": 2, "start": 0, "text": "Oslo"}]}, "does not fit paragraph 2 at start 0, where ''"),
        ({"spans": [{"paragraph": 0, "start": 3, "text": " "}]}, "its answer ' ' does not fit paragraph 0"),
        ({"spans": [{"paragraph": -1, "start": 0, "text": "O"}]}, ": spans.paragraph[0] is -1: give a whole number"),
        ({"supports": [{"title": None, "sentence": 0}]}, ": supports.title[0] is null"),
    ],
)  # fmt: skip
def test_faults_of_multi_hop_questions(change: dict[str, Any], message: str) -> None:
    refused({**MULTI, **change}, MULTI_HOP, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": ""}, " has an empty query"),
        ({"candidates": ["oslo"]}, " has 1 candidates: give at least 2 or leave the row out"),
        ({"answer": 2}, ": answer is 2, but there are 2 candidates: give the index of one, from 0"),
        ({"answer": -1}, ": answer is -1: give a whole number from 0"),
        ({"supports": [None, "a"]}, ": supports[0] is null"),
    ],
)
def test_faults_of_candidates(change: dict[str, Any], message: str) -> None:
    refused({**CHOICE, **change}, CANDIDATES, message)


def refused(record: dict[str, Any], form: Schema, message: str) -> None:
    with pytest.raises(ValueError, match=r"^a.json, row 0, id 'q1'") as caught:
        checked(record, form)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    faults = Faults(skip=True)
    assert checked(record, form, faults) == []
    assert sum(faults.counts.values()) == 1


def test_a_span_within_joined_sentences() -> None:
    text = "old. Ada Roy"
    record = {**MULTI, "spans": [{"paragraph": 0, "start": 12, "text": text}]}
    (found,) = checked(record, MULTI_HOP)
    assert found["spans"]["text"] == [text]


def test_seventy_nine_candidates() -> None:
    candidates = [f"town {number}" for number in range(79)]
    (found,) = checked({**CHOICE, "candidates": candidates, "answer": 78}, CANDIDATES)
    assert found["candidates"][found["answer"]] == "town 78"
