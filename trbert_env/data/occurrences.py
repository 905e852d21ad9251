"""Find where answers stand in a text: whole words, whatever the case and the punctuation between them."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: A character range: begin and exclusive end.
Span = tuple[int, int]

#: Words, and every sign that the normalisation of answers does not take out.
_TOKEN = re.compile(r"[^\W_]+|[^\w\s!-/:-@\[-`{-~‘’´]")
_ARTICLES = frozenset({"a", "an", "the"})


def exact_occurrences(text: str, answer: str) -> list[Span]:
    """Return where an answer stands character by character, not within a longer word.

    Args:
        text: The text.
        answer: The answer.

    Example:
        >>> exact_occurrences("Oslo, not Oslofjord: Oslo.", "Oslo")
        [(0, 4), (21, 25)]
    """
    if not answer.strip():
        return []
    before = r"(?<!\w)" if re.match(r"\w", answer) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", answer) else ""
    return [match.span() for match in re.finditer(before + re.escape(answer) + after, text)]


class AnswerFinder:
    """Finds any of several answers, word by word.

    Case, white space and ASCII punctuation between words play no part, as in the normalisation of answers. Of
    answers that overlap, the one that begins first counts, and of those the longest. Answers that are articles alone
    are not looked for, and those of one character only in their own case: they would be found in every sentence.

    Args:
        answers: The answers.

    Example:
        >>> AnswerFinder(["rock n roll", "U.S."]).find("Rock-n-Roll came from the US or u.s.")
        [(0, 11), (32, 35)]
    """

    def __init__(self, answers: Iterable[str]) -> None:
        self._characters: set[str] = set()
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for words in dict.fromkeys(tuple(_TOKEN.findall(answer)) for answer in answers):
            lower = tuple(word.lower() for word in words)
            if _ARTICLES.issuperset(lower):
                continue
            if len(words) == 1 and len(words[0]) == 1:
                self._characters.add(words[0])
            elif lower not in (known := self._by_first.setdefault(lower[0], [])):
                known.append(lower)
        for known in self._by_first.values():
            known.sort(key=len, reverse=True)

    def find(self, text: str) -> list[Span]:
        """Return where the answers stand, in order and without overlap.

        Args:
            text: The text.
        """
        matches = list(_TOKEN.finditer(text))
        words = [match[0].lower() for match in matches]
        found, at = [], 0
        while at < len(matches):
            count = self._longest(words, at) or int(matches[at][0] in self._characters)
            if count:
                found.append((matches[at].start(), matches[at + count - 1].end()))
            at += count or 1
        return found

    def find_in_lines(self, text: str) -> list[Span]:
        r"""Return where the answers stand within a line, in order and without overlap.

        Args:
            text: The text, with a paragraph a line: what the end of one and the begin of the next make is no answer.

        Example:
            >>> AnswerFinder(["New York"]).find_in_lines("It is new.\nYork is old; New York is not.")
            [(24, 32)]
        """
        lines = re.finditer(r"[^\n]+", text)
        return [(line.start() + start, line.start() + end) for line in lines for start, end in self.find(line[0])]

    def _longest(self, words: list[str], at: int) -> int:
        """The number of words of the longest answer that begins at a place; 0 if none does."""
        for answer in self._by_first.get(words[at], ()):
            if tuple(words[at : at + len(answer)]) == answer:
                return len(answer)
        return 0
