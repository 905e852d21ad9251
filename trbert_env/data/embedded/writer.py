"""Puts passages and questions of the embedded corpus together from its tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any

from trbert_env.data.embedded.schema import Domain, Relation
from trbert_env.data.embedded.tables import ASIDES, ValueSampler

_SLOT = re.compile(r"\{(\w+)\}")
#: How often two facts share a sentence.
_JOIN_RATE = 0.25
#: How often an unanswerable question is about a subject of the passage, rather than an absent one.
_MIXED_UP_RATE = 0.55
#: How often a further subject shares a word of its name with one of the passage.
_SIBLING_RATE = 0.4
#: How long to look for a name that shares a word with another one: some kinds have single-word names.
_SIBLING_TRIES = 60
#: How long to look for a value that shares no characters with another one, and then for one that shares no words.
_FRESH_TRIES = 1000
#: Words without which two names do not count as alike.
_MINOR_WORDS = frozenset({"The", "A", "for", "of", "and", "Museum", "Expedition", "Port", "Upper", "New", "Great"})


def has_words(text: str, words: str) -> bool:
    """Return whether words stand side by side in a text.

    Example:
        >>> has_words("New Alderwick", "Alderwick"), has_words("1906", "19")
        (True, False)
    """
    return f" {words} " in f" {text} "


@dataclass(frozen=True)
class Fact:
    """One stated relation of one subject."""

    subject: str
    relation: Relation
    value: str


@dataclass(frozen=True)
class Passage:
    """A passage, and what it tells.

    Attributes:
        domain: Domain of the passage.
        subjects: The names that it describes, the main one first.
        facts: The facts that it tells of them.
        context: The text.
        starts: Offsets of the values of the facts in the text, in characters.
    """

    domain: Domain
    subjects: list[str]
    facts: list[Fact]
    context: str
    starts: dict[Fact, int]


@dataclass(frozen=True)
class Measure:
    """How much a passage tells.

    Attributes:
        num_words: The fewest and the most words, as far as fillers decide; the longest facts may exceed it.
        num_others: Numbers of further subjects, of which one is drawn.
        num_main_facts: The fewest and the most facts of the main subject.
        num_other_facts: The fewest and the most facts of each further one.
        num_shared: The most facts of each further subject whose relations the main one has too.
        num_fillers: The most fillers of the domain.
        num_asides: The most sentences beside the point.
    """

    num_words: tuple[int, int] = (70, 110)
    num_others: tuple[int, ...] = (1, 2, 2)
    num_main_facts: tuple[int, int] = (3, 4)
    num_other_facts: tuple[int, int] = (1, 3)
    num_shared: int = 0
    num_fillers: int = 3
    num_asides: int = 5


@dataclass(frozen=True)
class _Clause:
    """A clause before it is written out: no capital, ``{e}`` for the subject, ``{v}`` for the value."""

    template: str
    subject: str | None = None
    fact: Fact | None = None


class PassageWriter:
    """Writes passages with their questions; no subject is described in two passages.

    Args:
        split: ``"train"`` or ``"validation"``; chooses the names.
        rng: The source of all randomness.
    """

    def __init__(self, split: str, rng: Random) -> None:
        self._rng = rng
        self._measure = Measure()
        self._sampler = ValueSampler(split, rng)
        self._subjects: set[str] = set()
        self._used: list[str] = []

    def write(self, domain: Domain) -> list[dict[str, Any]]:
        """Return the three rows of one new passage of ``domain``, without ids, in random order."""
        passage = self.compose(domain)
        rows = []
        for fact in self._asked(passage.subjects[0], passage.facts):
            start = passage.starts[fact]
            answers = {"text": [passage.context[start : start + len(fact.value)]], "answer_start": [start]}
            rows.append({"question": self.question(domain, fact.subject, fact.relation), "answers": answers})
        rows.append({"question": self.unanswerable(passage), "answers": {"text": [], "answer_start": []}})
        self._rng.shuffle(rows)
        return [{"title": passage.subjects[0], "context": passage.context, **row} for row in rows]

    def compose(self, domain: Domain, measure: Measure | None = None) -> Passage:
        """Write one new passage.

        Args:
            domain: Domain of the passage.
            measure: Amount that it tells; without it, 80 to 250 wordpieces.
        """
        self._measure = measure or Measure()
        self._used = []
        subjects = self._draw_subjects(domain)
        facts = self._draw_facts(domain, subjects)
        context, starts = self._render(domain, self._arrange(domain, subjects, facts))
        return Passage(domain, subjects, facts, context, starts)

    def question(self, domain: Domain, subject: str, relation: Relation) -> str:
        """Ask for a relation of a subject."""
        return self._rng.choice(relation.questions).format(e=domain.article + subject)

    def unanswerable(self, passage: Passage) -> str:
        """Ask the passage that was composed last for something that it does not tell."""
        return self.question(passage.domain, *self._untold(passage.domain, passage.subjects, passage.facts))

    def absent(self, kind: str) -> str:
        """Draw a value that the passage that was composed last does not have."""
        return self._fresh(kind)

    def _fresh(self, kind: str) -> str:
        """Draw a value that neither contains nor is part of another one of this passage."""
        for attempt in range(2 * _FRESH_TRIES):
            value = self._sampler.draw(kind)
            # A count of 19 is part of every year of its century: then it is enough that words differ.
            part_of = str.__contains__ if attempt < _FRESH_TRIES else has_words
            if not any(part_of(value, other) or part_of(other, value) for other in self._used):
                self._used.append(value)
                return value
        raise RuntimeError(f"no value of kind {kind!r} is left: lengthen its tables")

    def _new_subject(self, kind: str, like: str | None = None) -> str:
        """A name of no passage so far; if possible one that shares a word with the name ``like``."""
        words = set(like.split()) - _MINOR_WORDS if like else set()
        for attempt in range(10_000):
            name = self._sampler.draw(kind)
            taken = name in self._subjects or any(name in other or other in name for other in self._used)
            if not taken and (attempt >= _SIBLING_TRIES or not words or words & set(name.split())):
                self._subjects.add(name)
                self._used.append(name)
                return name
        raise RuntimeError(f"no unused name of kind {kind!r} is left: lengthen its tables")

    def _draw_subjects(self, domain: Domain) -> list[str]:
        subjects = [self._new_subject(domain.subject)]
        for _ in range(self._rng.choice(self._measure.num_others)):
            like = subjects[0] if self._rng.random() < _SIBLING_RATE else None
            subjects.append(self._new_subject(domain.subject, like))
        return subjects

    def _draw_facts(self, domain: Domain, subjects: list[str]) -> list[Fact]:
        facts: list[Fact] = []
        for subject in subjects:
            main = subject == subjects[0]
            fewest, most = self._measure.num_main_facts if main else self._measure.num_other_facts
            told = [fact.relation for fact in facts if fact.subject == subjects[0]]
            for relation in self._draw_relations(domain, told, self._rng.randint(fewest, most)):
                facts.append(Fact(subject, relation, self._fresh(relation.kind)))
        return facts

    def _draw_relations(self, domain: Domain, told: list[Relation], count: int) -> list[Relation]:
        """Draw relations of a subject, some of them from those ``told`` of the main one."""
        shared = self._rng.sample(told, min(self._measure.num_shared, len(told), count))
        rest = [relation for relation in domain.relations if relation not in shared]
        return shared + self._rng.sample(rest, count - len(shared))

    def _arrange(self, domain: Domain, subjects: list[str], facts: list[Fact]) -> list[_Clause]:
        """Facts grouped by subject, or mixed, with sentences beside the point strewn in."""
        order = self._rng.sample(subjects, len(subjects))
        if self._rng.random() < 0.35:
            facts = self._rng.sample(facts, len(facts))
        else:
            facts = sorted(facts, key=lambda fact: order.index(fact.subject))
        clauses = [_Clause(self._rng.choice(fact.relation.statements), fact.subject, fact) for fact in facts]
        fillers = [_Clause(text, subjects[0] if "{e}" in text else None) for text in domain.fillers]
        fillers = self._rng.sample(fillers, self._measure.num_fillers)
        fillers += [_Clause(text) for text in self._rng.sample(ASIDES, self._measure.num_asides)]
        self._rng.shuffle(fillers)
        num_words = self._rng.randint(*self._measure.num_words)
        while fillers and sum(_num_words(clause) for clause in clauses) < num_words:
            clauses.insert(self._rng.randint(0, len(clauses)), fillers.pop())
        return clauses

    def _render(self, domain: Domain, clauses: list[_Clause]) -> tuple[str, dict[Fact, int]]:
        """The text of a passage, and where the value of each fact starts in it."""
        context = ""
        starts: dict[Fact, int] = {}
        previous: _Clause | None = None
        for clause in clauses:
            joined = bool(previous and previous.fact and clause.fact and self._rng.random() < _JOIN_RATE)
            if previous:
                context += self._joiner(previous, clause) if joined else ". "
            text, value_start = self._write_clause(domain, clause, previous)
            if clause.fact:
                starts[clause.fact] = len(context) + value_start
            context += text if joined else text[0].upper() + text[1:]
            previous = _second(previous, clause) if joined and previous else clause
        return context + ".", starts

    def _joiner(self, previous: _Clause, clause: _Clause) -> str:
        word = ", and " if previous.subject == clause.subject else ", while "
        return self._rng.choice(("; ", word))

    def _write_clause(self, domain: Domain, clause: _Clause, previous: _Clause | None) -> tuple[str, int]:
        """The clause in words, and the offset of its value in them (0 if it has none)."""
        name = domain.article + clause.subject if clause.subject else ""
        if previous and clause.subject and previous.subject == clause.subject and self._rng.random() < 0.6:
            name = self._rng.choice(domain.references)
        before, _, after = clause.template.partition("{v}")
        slots = {match: self._fresh(match) for match in _SLOT.findall(before + after) if match != "e"}
        before = before.format(e=name, **slots)
        value = clause.fact.value if clause.fact else ""
        return before + value + after.format(e=name, **slots), len(before)

    def _asked(self, main: str, facts: list[Fact]) -> list[Fact]:
        """One fact of the main subject and one of any subject."""
        first = self._rng.choice([fact for fact in facts if fact.subject == main])
        return [first, self._rng.choice([fact for fact in facts if fact != first])]

    def _untold(self, domain: Domain, subjects: list[str], facts: list[Fact]) -> tuple[str, Relation]:
        """A subject and a relation that the passage does not state, though it states something like it."""
        stated = {(fact.subject, fact.relation) for fact in facts}
        told = [relation for relation in domain.relations if any(fact.relation == relation for fact in facts)]
        mixed_up = [(name, rel) for name in subjects for rel in told if (name, rel) not in stated]
        if mixed_up and self._rng.random() < _MIXED_UP_RATE:
            return self._rng.choice(mixed_up)
        like = self._rng.choice(subjects) if self._rng.random() < _SIBLING_RATE else None
        return self._new_subject(domain.subject, like), self._rng.choice(told)


def _second(first: _Clause, second: _Clause) -> _Clause:
    """A clause that shares its sentence: no third one joins, and two subjects leave "it" ambiguous."""
    return _Clause(second.template, second.subject if first.subject == second.subject else None)


def _num_words(clause: _Clause) -> int:
    """About how many words the clause will have: a name or value counts as two."""
    return len(clause.template.split()) + clause.template.count("{")
