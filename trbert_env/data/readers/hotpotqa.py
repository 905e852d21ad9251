"""HotpotQA: questions over several paragraphs, whose answer is words of a paragraph, or yes or no."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trbert_env.data.columns import Schema
from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import value_of
from trbert_env.data.hub import Hub
from trbert_env.data.json_items import items_of
from trbert_env.data.kinds import Integer, ListOf, Struct, Text
from trbert_env.data.making import LeftOutError, Maker, Note
from trbert_env.data.paragraphs import Paragraph, Ranking, answer_places
from trbert_env.data.readers.base import Reader, told
from trbert_env.data.records import MULTI_HOP
from trbert_env.data.rows import Place, Rows
from trbert_env.data.source_kinds import each

CONFIGS = ("distractor", "fullwiki")
#: Levels of training questions; those of the other splits are hard.
LEVELS = ("easy", "medium", "hard")
#: Names of the official files of a split, the first preferred.
_FILES = {
    "train": ("hotpot_train_v1.1.json", "hotpot_train.json"),
    "validation": ("hotpot_dev_{config}_v1.json", "hotpot_dev.json"),
}
_COLUMNS = {
    "id": Text(),
    "question": Text(),
    "answer": Text(),
    "type": Text(nullable=True),
    "level": Text(nullable=True),
    "supporting_facts": Struct({"title": ListOf(Text()), "sent_id": ListOf(Integer())}, aligned=True),
    "context": Struct({"title": ListOf(Text()), "sentences": ListOf(ListOf(Text()))}, aligned=True),
}


@dataclass(frozen=True)
class _Settings:
    """Settings of the reader; see :func:`hotpotqa`."""

    config: str
    ranking: Ranking | None
    level: str | None

    def maker(self, split: str) -> Maker:
        return Maker(MULTI_HOP, partial(_record, self, split == "train"))


def _record(settings: _Settings, training: bool, question: Mapping[str, Any], note: Note) -> dict[str, Any]:
    key = value_of(question, "id", str, "the question")
    if training and settings.level is not None and question.get("level") != settings.level:
        raise LeftOutError(f"of another level than {settings.level}")
    paragraphs = [Paragraph(html.unescape(title), sentences) for title, sentences in _paragraphs(question)]
    if settings.ranking is not None:
        paragraphs = settings.ranking.arranged(key, paragraphs, note)
    supports = [(html.unescape(title), index) for title, index in _supports(question)]
    answer = value_of(question, "answer", str, "the question")
    kind = answer if answer in ("yes", "no") else "span"
    places = answer_places(paragraphs, answer, supports) if kind == "span" else []
    if training and not paragraphs:
        raise LeftOutError("without paragraphs")
    if training and kind == "span" and not places:
        raise LeftOutError("whose answer stands in no paragraph that it follows from")
    return {
        "id": key,
        "question": value_of(question, "question", str, "the question"),
        "paragraphs": {
            "title": [paragraph.title for paragraph in paragraphs],
            "sentences": [paragraph.sentences for paragraph in paragraphs],
        },
        "answer": answer,
        "kind": kind,
        "spans": {
            "paragraph": [place.paragraph for place in places],
            "start": [place.start for place in places],
            "text": [paragraphs[place.paragraph].text[place.start : place.end] for place in places],
        },
        "supports": {"title": [title for title, _ in supports], "sentence": [index for _, index in supports]},
        "subset": value_of(question, "type", str, "the question") if question.get("type") is not None else None,
    }


def _paragraphs(question: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for title, sentences in _pairs(question, "context", "title", "sentences"):
        is_text = isinstance(sentences, list) and all(isinstance(sentence, str) for sentence in sentences)
        if not isinstance(title, str) or not is_text:
            raise _faulty("context", [title, sentences], "a title and a list of sentences")
        yield title, sentences


def _supports(question: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for title, index in _pairs(question, "supporting_facts", "title", "sent_id"):
        if not isinstance(title, str) or not isinstance(index, int) or index < 0:
            raise _faulty("supporting_facts", [title, index], "a title and the index of a sentence, from 0")
        yield title, index


def _pairs(question: Mapping[str, Any], name: str, first: str, second: str) -> Iterator[tuple[Any, Any]]:
    """Pairs as the official files and as the hub's columns have them."""
    nested = question.get(name)
    try:
        for item in each(nested):
            one, other = (item[first], item[second]) if isinstance(item, Mapping) else item
            yield one, other
    except (TypeError, ValueError, KeyError) as error:
        raise _faulty(name, nested, f"a list of pairs of {first} and {second}") from error


def _faulty(name: str, value: Any, wanted: str) -> BadRecordError:
    return BadRecordError(f"with faulty {name}", f": {name} has {value!r:.80}: give {wanted}")


def _convert(settings: _Settings, rows: Rows, split: str, faults: Faults) -> Rows:
    return settings.maker(split).of_rows(rows, faults)


def _official(settings: _Settings, folder: Path, split: str, faults: Faults) -> Rows | None:
    names = [name.format(config=settings.config) for name in _FILES[split]]
    for file in (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz")):
        if file.is_file():
            place = Place(str(file), lambda number: f"question {number}")
            return settings.maker(split).of_items(_questions(file), place, faults)
    return None


def _questions(file: Path) -> Iterator[tuple[int, Any]]:
    """The questions of an official file under the names that the hub's columns have."""
    for number, question in enumerate(items_of(file)):
        yield number, {"id": question.get("_id"), **question} if isinstance(question, dict) else question


def _finish(ranking: Ranking | None, rows: Rows, split: str, faults: Faults) -> Rows:
    # Training may do without: the paper ranks the paragraphs that it is tested on.
    if ranking is not None and split != "train":
        ranking.check(rows.table.column("id").to_pylist(), f"HotpotQA {split}")
    return rows


@told
def hotpotqa(config: str = "distractor", ranking: str | None = None, level: str | None = None) -> Reader:
    """Return the reader of HotpotQA.

    Args:
        config: ``"distractor"`` (the paragraphs that lead to the answer and eight others) or ``"fullwiki"`` (those
            that a search found, which may lack the former).
        ranking: A ranking file, which gives the paragraphs their order; see
            :class:`~trbert_env.data.paragraphs.Ranking`.
        level: Level of the training questions, ``"easy"``, ``"medium"`` or ``"hard"``; None for all. The questions of
            the other splits are all hard, and all are read.

    Raises:
        ValueError: The configuration or the level is unknown.
        FileNotFoundError: There is no such ranking file.
    """
    if config not in CONFIGS:
        raise ValueError(f"HotpotQA has no configuration {config!r}: choose from {', '.join(CONFIGS)}")
    if level is not None and level not in LEVELS:
        raise ValueError(f"HotpotQA has no level {level!r}: choose from {', '.join(LEVELS)}")
    order = None if ranking is None else Ranking(ranking)
    if order is not None:
        order.check_file()
    settings = _Settings(config, order, level)
    return Reader(
        name="hotpot_qa",
        form=MULTI_HOP,
        hub=Hub("hotpotqa/hotpot_qa", config),
        splits={"train": "train", "validation": "validation"},
        columns=Schema("hotpot_qa", _COLUMNS),
        convert=partial(_convert, settings),
        official=partial(_official, settings),
        official_files=f"hotpot_train_v1.1.json and hotpot_dev_{config}_v1.json",
        finish=partial(_finish, order),
    )
