"""Titled paragraphs of multi-hop questions: their order by a ranking file, and where answers stand in them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from trbert_env.data.files import json_of
from trbert_env.data.making import Note
from trbert_env.data.occurrences import AnswerFinder, Span, exact_occurrences


class Paragraph(NamedTuple):
    """A paragraph; its text is its sentences, joined with nothing between them."""

    title: str
    sentences: list[str]

    @property
    def text(self) -> str:
        """The sentences as one text."""
        return "".join(self.sentences)


class AnswerPlace(NamedTuple):
    """Where an answer stands: the index of a paragraph, and characters of its text."""

    paragraph: int
    start: int
    end: int


def answer_places(
    paragraphs: Sequence[Paragraph], answer: str, supports: Iterable[tuple[str, int]]
) -> list[AnswerPlace]:
    """Return where an answer stands: in the supporting sentences if it does, else in the paragraphs that they are of.

    It is looked for elsewhere only where none of these paragraphs is there. Exact occurrences go before those
    that differ in case or punctuation.

    Args:
        paragraphs: The paragraphs.
        answer: The answer.
        supports: Title and index of each supporting sentence; there need not be such sentences.
    """
    finder = AnswerFinder([answer])
    exact = _places(paragraphs, [exact_occurrences(paragraph.text, answer) for paragraph in paragraphs])
    loose = _places(paragraphs, [finder.find(paragraph.text) for paragraph in paragraphs])
    wanted = set(supports)
    titles = {title for title, _ in wanted}
    of_support = [paragraph.title in titles for paragraph in paragraphs]
    for places in (exact, loose):
        if found := [place for place in places if _sentence_of(paragraphs[place.paragraph], place.start) in wanted]:
            return found
    if not any(of_support):
        return exact or loose
    led = [[place for place in places if of_support[place.paragraph]] for places in (exact, loose)]
    return led[0] or led[1]


def _places(paragraphs: Sequence[Paragraph], found: Sequence[Sequence[Span]]) -> list[AnswerPlace]:
    return [AnswerPlace(index, *span) for index, spans in enumerate(found) for span in spans]


def _sentence_of(paragraph: Paragraph, start: int) -> tuple[str, int]:
    """Title and index of the sentence that holds a character."""
    end = 0
    for index, sentence in enumerate(paragraph.sentences):
        end += len(sentence)
        if start < end:
            return paragraph.title, index
    raise IndexError(start)


@dataclass(frozen=True)
class Ranking:
    """A ranking file: a JSON object that names, for the id of each question, titles of its paragraphs, best first.

    A title may also be a pair of title and score. The file is read when an order is first asked for.

    Attributes:
        file: The file, plain or ``.gz``.
    """

    file: str

    @cached_property
    def titles(self) -> Mapping[str, list[str]]:
        """The titles of each question.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not such a file.
        """
        file = self.check_file()
        content = json_of(file)
        if not isinstance(content, dict):
            raise ValueError(f"{file} is not a JSON object: write {{id: [title, ...]}}")
        return {key: _titles(file, key, titles) for key, titles in content.items()}

    def check_file(self) -> Path:
        """Return the path, before any reading.

        Raises:
            FileNotFoundError: There is no such file.
        """
        file = Path(self.file).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"ranking file {file} does not exist: check its path")
        return file

    def arranged(self, key: str, paragraphs: Sequence[Paragraph], note: Note) -> list[Paragraph]:
        """Return paragraphs in their order: those that are ranked, then the others as they come.

        Args:
            key: The id of the question.
            paragraphs: Its paragraphs.
            note: Counts questions whose ranking does not fit.
        """
        titles = self.titles.get(key)
        if not titles:
            note("without a ranking (their paragraphs keep their order)")
            return list(paragraphs)
        known = {paragraph.title for paragraph in paragraphs}
        if not known.issuperset(titles):
            note("whose ranking names paragraphs that they lack (the others are ranked)")
        rank = {title: place for place, title in reversed(list(enumerate(titles)))}
        return sorted(paragraphs, key=lambda paragraph: rank.get(paragraph.title, len(titles)))

    def check(self, keys: Iterable[str], what: str) -> None:
        """Refuse a file that ranks the paragraphs of other questions.

        Args:
            keys: The ids of all questions.
            what: The questions, for the message.

        Raises:
            ValueError: The file names none of them.
        """
        if self.titles.keys().isdisjoint(keys):
            raise ValueError(f"ranking file {self.file} names no question of {what}: give the ranking of that split")


def _titles(file: Path, key: str, titles: Any) -> list[str]:
    found = [title[0] if isinstance(title, list) and title else title for title in titles] if _is_list(titles) else []
    if not _is_list(titles) or not all(isinstance(title, str) for title in found):
        raise ValueError(f"{file}: the ranking of {key!r} is {titles!r:.80}: give a list of titles")
    return [html.unescape(title) for title in found]


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
