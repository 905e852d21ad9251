r"""Half of a surrogate pair, such as ``"\ud83d"``: JSON may spell it, but no text holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples
from trbert_env.data.faults import Faults
from trbert_env.data.own import MultipleChoice, OwnFiles, SpanQA, TextClassification
from trbert_env.data.plain.documents import PlainTexts

HALF = "An emoji \ud83d cut in two."
PLACE = "Oslo lies by the sea."
OWN: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": (TextClassification, {"text": PLACE, "label": "x"}),
    "label": (TextClassification, {"text": PLACE, "label": "x"}),
    "id": (TextClassification, {"id": "a", "text": PLACE, "label": "x"}),
    "context": (SpanQA, {"question": "Where?", "context": PLACE, "answers": ["Oslo"]}),
    "answers": (SpanQA, {"question": "Where?", "context": PLACE, "answers": ["Oslo"]}),
    "options": (MultipleChoice, {"article": PLACE, "question": "Where?", "options": ["Oslo", "Rome"], "answer": 0}),
}
GOLD = {"text": "Oslo", "answer_start": 0}


def squad(text: str) -> dict[str, Any]:
    def paragraph(key: str, context: str) -> dict[str, Any]:
        return {"context": context, "qas": [{"id": key, "question": "Where?", "answers": [GOLD]}]}

    return {"data": [{"title": "Oslo", "paragraphs": [paragraph("a", PLACE), paragraph("b", f"{PLACE} {text}")]}]}


def wikihop(text: str) -> list[dict[str, Any]]:
    question = {
        "id": "a",
        "query": "country mill",
        "answer": "oslo",
        "candidates": ["oslo", "rome"],
        "supports": [PLACE],
    }
    return [question, {**question, "id": "b", "supports": [PLACE, text]}]


def race(text: str) -> dict[str, Any]:
    questions = ["Where is it?", text]
    options = [["Oslo", "Rome", "Bern", "Cork"]] * 2
    return {"article": PLACE, "id": "high1.txt", "questions": questions, "options": options, "answers": ["A", "A"]}


OFFICIAL: dict[str, tuple[str, Callable[[str], Any], str, str]] = {
    "squad_v2": ("dev-v2.0.json", squad, "dev-v2.0.json, question 1", "context"),
    "wikihop": ("dev.json", wikihop, "dev.json, question 1", "supports"),
    "race": ("RACE/dev/high/1.txt", race, "RACE/dev, high/1.txt", "question"),
}


def refused(load: Callable[[bool], Any], start: str, column: str) -> None:
    """The first such record is an error of one line; else the other one is left."""
    with pytest.raises(ValueError, match=rf"^{start}") as caught:
        load(False)
    assert rf": {column} holds '\ud83d', half of a surrogate pair: write the whole character" in str(caught.value)
    assert str(caught.value).endswith("; skip_bad_records leaves such records out")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isascii()
    found = load(True)
    assert len(found.dataset) == 1
    assert found.left_out == {"with half of a surrogate pair": 1}


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize("column", OWN)
def test_own_files(column: str, ending: str, write: Any) -> None:
    reader, record = OWN[column]
    good, bad = {**record}, {**record, column: [*record[column], HALF] if column[-1] == "s" else HALF}
    if "id" in record:
        good["id"] = "b"
    file = write(f"mine.{ending}", [good, bad])
    refused(
        lambda skip: load_examples(reader(OwnFiles(validation_file=str(file))), "validation", skip_bad_records=skip),
        f"{file}, {'line 2' if ending == 'jsonl' else 'record 1'}: ",
        column,
    )


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files(name: str, write: Any, tmp_path: Path) -> None:
    path, made, place, column = OFFICIAL[name]
    write(path, made(HALF))
    if name == "race":
        (tmp_path / "RACE" / "dev" / "middle").mkdir()
    refused(
        lambda skip: load_examples(name, "validation", data_dir=str(tmp_path), skip_bad_records=skip),
        f"{tmp_path}/{place}: ",
        column,
    )


def test_plain_texts(write: Any) -> None:
    file = write("corpus.jsonl", [{"text": PLACE}, {"text": HALF}])
    with pytest.raises(ValueError, match=rf"^{file}, line 2: text holds '\\ud83d', half of a surrogate pair"):
        PlainTexts((file,)).census()
    found = PlainTexts((file,), skip_bad_records=True)
    assert found.census().documents == 1
    assert [list(document) for document in found.documents(Faults(skip=True))] == [[PLACE]]


def test_a_whole_pair_is_one_character(write: Any) -> None:
    file = write("mine.jsonl", '{"text": "\\ud83d\\ude00", "label": "x"}\n')
    found = load_examples(TextClassification(OwnFiles(validation_file=str(file))), "validation")
    assert found.dataset["text"][:] == ["\N{GRINNING FACE}"]
