"""The records that the fact tables of the embedded corpus are made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Relation:
    """Something that can be said of a subject, and asked about it.

    Attributes:
        kind: The kind of its value, as :class:`~trbert_env.data.embedded.tables.ValueSampler` knows it.
        statements: Sentences without capital and full stop, with ``{e}`` (subject) and one ``{v}`` (value).
        questions: Questions with ``{e}``, worded unlike the statements.
        noun: The value's name, as in "the captain of {e}"; empty where there is no good one.
    """

    kind: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    noun: str = ""


@dataclass(frozen=True)
class Domain:
    """A kind of subject: how it is named, what is said of it, and what is said beside it.

    Attributes:
        name: Name in ids and tests.
        subject: The kind of the subject's name.
        article: Put before the name in running text.
        references: Noun phrases that stand for the subject just mentioned.
        relations: Relations that sentences and questions are about.
        fillers: Sentences that answer no question, some with ``{e}``.
    """

    name: str
    subject: str
    article: str
    references: tuple[str, ...]
    relations: tuple[Relation, ...]
    fillers: tuple[str, ...]


def relation(kind: str, statements: str, questions: str, noun: str = "") -> Relation:
    """A relation from its alternatives, one a line."""
    return Relation(kind, _lines(statements), _lines(questions), noun)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
