"""SQuAD 1.1 and 2.0: span question answering, in the hub's columns or the official JSON files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import json_of, value_of
from trbert_env.data.hub import Hub
from trbert_env.data.readers.base import Reader
from trbert_env.data.records import SQUAD_V2
from trbert_env.data.rows import Place, Rows, rows_of_records

#: How the official files name the splits, and their versions, the first preferred.
_FILE_SPLITS = {"train": "train", "validation": "dev"}
_VERSIONS = ("v2.0", "v1.1")


def squad_records(content: Any, name: str, faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the questions of an official SQuAD file of version 1.1 or 2.0.

    Args:
        content: The parsed file: an object with ``data``, a list of articles.
        name: The name of the file, for messages.
        faults: Handling of malformed questions.

    Yields:
        The running number of each question, and its record with id, title, context, question and answers.

    Raises:
        ValueError: The file is no SQuAD file, or a question is malformed.
    """
    number = 0
    for article in content["data"]:
        title = article.get("title")
        for paragraph in article.get("paragraphs", []):
            for question in _questions(paragraph):
                try:
                    yield number, {"title": title, **_question(question, paragraph)}
                except BadRecordError as fault:
                    key = question.get("id") if isinstance(question, dict) else None
                    named = f"question {number}" + (f", id {key!r}" if key else "")
                    faults.report(name, named, fault.kind, fault.problem)
                number += 1


def _questions(paragraph: Any) -> list[Any]:
    """The questions of a paragraph; a faulty one where that is no object, or has no list of them."""
    if not isinstance(paragraph, dict):
        return [None]
    found = paragraph.get("qas")
    if found is None:
        return []
    return found if isinstance(found, list) else [None]


def is_squad(content: Any) -> bool:
    """Return whether a parsed JSON file is laid out like the official SQuAD files.

    Args:
        content: The parsed file.
    """
    articles = content.get("data") if isinstance(content, dict) else None
    return (
        isinstance(articles, list)
        and bool(articles)
        and all(isinstance(article, dict) and isinstance(article.get("paragraphs"), list) for article in articles)
    )


def _question(question: Any, paragraph: Any) -> dict[str, Any]:
    what = "the question"
    answers: list[Any] = []
    if not (isinstance(question, dict) and question.get("is_impossible")):
        # Tools that convert write null for what is not there.
        unanswered = isinstance(question, dict) and question.get("answers", "") is None
        answers = [] if unanswered else value_of(question, "answers", list, what)
    number = question.get("id") if isinstance(question, dict) else None
    counted = isinstance(number, int) and not isinstance(number, bool)  # as annotation tools do
    return {
        "id": str(number) if counted else value_of(question, "id", str, what),
        "context": value_of(paragraph, "context", str, "the paragraph"),
        "question": value_of(question, "question", str, what),
        "answers": {
            "text": [value_of(answer, "text", str, "an answer") for answer in answers],
            "answer_start": [value_of(answer, "answer_start", int, "an answer") for answer in answers],
        },
    }


def question_place(file: Path) -> Place:
    """Return the place of questions in an official file, which are counted from 0.

    Args:
        file: The file.
    """
    return Place(str(file), lambda number: f"question {number}")


def _official(folder: Path, split: str, faults: Faults) -> Rows | None:
    for version in _VERSIONS:
        for suffix in ("", ".gz"):
            file = folder / f"{_FILE_SPLITS[split]}-{version}.json{suffix}"
            if file.is_file():
                content = json_of(file)
                if not is_squad(content):
                    raise ValueError(f"{file} is no SQuAD file (data, paragraphs, qas): take the official one")
                records = squad_records(content, str(file), faults)
                return rows_of_records(records, SQUAD_V2, question_place(file), faults)
    return None


SQUAD = Reader(
    name="squad_v2",
    form=SQUAD_V2,
    hub=Hub("rajpurkar/squad_v2"),
    splits={"train": "train", "validation": "validation"},
    columns=SQUAD_V2,
    official=_official,
    official_files="train-v2.0.json and dev-v2.0.json, or train-v1.1.json and dev-v1.1.json",
)
