"""Passages of a long context: where they are, and the context that an order of them makes.

The documents of a context stand between blank lines, the paragraphs of a document on lines of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trbert_env.data.occurrences import Span

#: Between two documents, and between two paragraphs of one.
DOCUMENT_BREAK, PARAGRAPH_BREAK = "\n\n", "\n"
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Passage:
    """A run of paragraphs of one document.

    Attributes:
        start: Its first character in the context.
        end: The character behind its last.
        words_before: Words of the document that stand before it.
    """

    start: int
    end: int
    words_before: int


def joined_documents(documents: Iterable[str]) -> str:
    r"""Return the context that documents make; their blank lines are dropped, and documents without text.

    Args:
        documents: Texts with line ends of any kind.

    Example:
        >>> joined_documents(["One\r\n\r\ntwo ", " ", "Three"])
        'One\ntwo\n\nThree'
    """
    lines = ([line.strip() for line in document.splitlines()] for document in documents)
    texts = (PARAGRAPH_BREAK.join(line for line in document if line) for document in lines)
    return DOCUMENT_BREAK.join(text for text in texts if text)


def passages_of(context: str, max_words: int) -> list[Passage]:
    r"""Return the passages of a context: paragraphs of a document are put together while they fit.

    Args:
        context: Documents, from :func:`joined_documents`.
        max_words: The most words of a passage; a longer paragraph is cut.

    Example:
        >>> [(passage.start, passage.end) for passage in passages_of("a b\nc\nd e\n\nf", 3)]
        [(0, 5), (6, 9), (11, 12)]
    """
    return [passage for lines in _documents(context) for passage in _merged(lines, max_words)]


def _documents(context: str) -> Iterator[list[list[Span]]]:
    """The words of each line of each document."""
    at = 0
    for document in context.split(DOCUMENT_BREAK):
        lines = []
        for line in document.split(PARAGRAPH_BREAK):
            lines.append([(at + word.start(), at + word.end()) for word in _WORD.finditer(line)])
            at += len(line) + len(PARAGRAPH_BREAK)
        at += len(DOCUMENT_BREAK) - len(PARAGRAPH_BREAK)
        yield [line for line in lines if line]


def _merged(lines: list[list[Span]], max_words: int) -> Iterator[Passage]:
    held: list[Span] = []
    before = 0
    for piece in (line[first : first + max_words] for line in lines for first in range(0, len(line), max_words)):
        if held and len(held) + len(piece) > max_words:
            yield Passage(held[0][0], held[-1][1], before)
            before, held = before + len(held), []
        held += piece
    if held:
        yield Passage(held[0][0], held[-1][1], before)


def arranged(context: str, passages: Iterable[Passage], max_words: int | None) -> str:
    """Return the text of passages in an order, cut behind so many words.

    Args:
        context: The context.
        passages: Passages of it, in the order that is wanted.
        max_words: The most words of the result; None for all.
    """
    texts: list[str] = []
    left = max_words
    for passage in passages:
        text = context[passage.start : passage.end]
        if left is not None:
            text, count = _first_words(text, left)
            left -= count
        texts.append(text)
        if left == 0:
            break
    return PARAGRAPH_BREAK.join(texts)


def _first_words(text: str, count: int) -> tuple[str, int]:
    """As much of a text as has so many words, and how many it has."""
    ends = [word.end() for word, _ in zip(_WORD.finditer(text), range(count), strict=False)]
    return text[: ends[-1]], len(ends)
