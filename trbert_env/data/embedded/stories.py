"""Paragraphs about given subjects, and groups of them of which two have to be read to answer one question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from trbert_env.data.embedded.domains import DOMAINS, family
from trbert_env.data.embedded.schema import Domain, Relation
from trbert_env.data.embedded.tables import ValueSampler
from trbert_env.data.embedded.writer import Fact, has_words

#: How often a sentence that is not the first refers to its subject without the name.
_REFERENCE_RATE = 0.5
#: The most further facts and the most fillers of a paragraph.
_MOST_FACTS, _MOST_FILLERS = 1, 1
#: How long to look for a value of which no other one of the group is a part.
_FRESH_TRIES = 1000
#: Words before the name of a place, which many share.
_PREFIXES = frozenset({"Port", "Upper", "New", "Great"})
#: Domains of subjects that are values elsewhere, by the kind of the value.
_TOLD_OF = {domain.subject: domain for domain in DOMAINS}


class Link(NamedTuple):
    """A relation whose value is itself a subject that paragraphs tell of."""

    domain: Domain
    relation: Relation
    target: Domain


#: Links between domains that differ, of relations with a noun.
LINKS: tuple[Link, ...] = tuple(
    Link(domain, relation, _TOLD_OF[relation.kind])
    for domain in DOMAINS
    for relation in domain.relations
    if relation.noun and _TOLD_OF.get(relation.kind, domain) is not domain
)


@dataclass(frozen=True)
class Story:
    """A paragraph about one subject.

    Attributes:
        subject: The name, and the paragraph's title.
        sentences: Its sentences, without blanks between them.
        sentence_of: The index of the sentence that tells a fact.
    """

    subject: str
    sentences: list[str]
    sentence_of: dict[Fact, int]


@dataclass(frozen=True)
class Chain:
    """Paragraphs of which the first leads to the second, which answers: "the birthplace of the captain of the ship".

    Attributes:
        link: The relation that leads from the first subject to the second.
        relation: The relation that is asked for.
        subjects: Subjects of the link's domain, the first the one that is asked about.
        middles: Subjects that the link may lead to, the first the one that it does.
        ends: Values of the relation, one for each subject that the link may lead to; the first is the answer.
        facts: The two facts that have to be put together.
        stories: All paragraphs; the first is about the first subject, the second about the one that it leads to.
    """

    link: Link
    relation: Relation
    subjects: tuple[str, ...]
    middles: tuple[str, ...]
    ends: tuple[str, ...]
    facts: tuple[Fact, Fact]
    stories: tuple[Story, ...]


@dataclass(frozen=True)
class Comparison:
    """Paragraphs of which the first two tell whether a value holds for both of their subjects.

    Attributes:
        domain: Domain of all subjects.
        relation: The relation that is compared.
        value: The value that is asked about; one of the two has it in any case.
        both: True if both have it.
        facts: The two facts that have to be put together.
        stories: All paragraphs; two have the value, whatever the answer is, and the other two another one.
    """

    domain: Domain
    relation: Relation
    value: str
    both: bool
    facts: tuple[Fact, Fact]
    stories: tuple[Story, ...]


class StoryWriter:
    """Writes groups of paragraphs; within a group all names and values differ unless they have to be equal.

    Args:
        split: ``"train"`` or ``"validation"``; chooses the names.
        rng: The source of all randomness.
    """

    def __init__(self, split: str, rng: Random) -> None:
        self._rng = rng
        self._sampler = ValueSampler(split, rng)
        self._used: list[str] = []

    def chain(self, brief: bool = False, num_subjects: int = 2) -> Chain:
        """Write paragraphs of which two have to be read.

        Each subject is linked to one that has a paragraph too; a further such paragraph belongs to another relation
        of the first subject, if it has one of the same kind.

        Args:
            brief: True to leave out the latter, and what is beside the point.
            num_subjects: Subjects of the link, at least 2, of which one is asked about.
        """
        self._used = []
        link = self._rng.choice(LINKS)
        relation = self._rng.choice([relation for relation in link.target.relations if relation.noun])
        subjects = tuple(self._fresh(link.domain.subject) for _ in range(num_subjects))
        middles = self._apart(link.relation.kind, num_subjects + (not brief))
        ends = tuple(self._fresh(relation.kind) for _ in middles)
        told = [[Fact(subject, link.relation, middle)] for subject, middle in zip(subjects, middles, strict=False)]
        others = [other for other in link.domain.relations if other.kind == link.relation.kind]
        others.remove(link.relation)
        if not brief and others:
            told[0].append(Fact(subjects[0], self._rng.choice(others), middles[-1]))
        answers = [Fact(middle, relation, end) for middle, end in zip(middles, ends, strict=True)]
        first, *rest = (self._story(link.domain, facts, brief) for facts in told)
        second, *further = (self._story(link.target, [fact], brief) for fact in answers)
        return Chain(
            link, relation, subjects, middles, ends, (told[0][0], answers[0]), (first, second, *rest, *further)
        )

    def comparison(self, brief: bool = False) -> Comparison:
        """Write paragraphs of which two have to be compared.

        There are two values, with two paragraphs each: that a value comes twice tells nothing.

        Args:
            brief: True to leave out what is beside the point.
        """
        self._used = []
        domain = self._rng.choice(DOMAINS)
        relation = self._rng.choice([relation for relation in domain.relations if relation.noun])
        subjects = [self._fresh(domain.subject) for _ in range(4)]
        value, other = (self._fresh(relation.kind) for _ in range(2))
        both = self._rng.random() < 0.5
        values = [value, value] if both else self._rng.sample([value, other], 2)
        values += [other, other] if both else [value, other]
        facts = [Fact(subject, relation, value) for subject, value in zip(subjects, values, strict=True)]
        stories = tuple(self._story(domain, [fact], brief) for fact in facts)
        return Comparison(domain, relation, value, both, (facts[0], facts[1]), stories)

    def _apart(self, kind: str, count: int) -> tuple[str, ...]:
        """Draw names of which no two share a word, so that a reader cannot mistake one for another."""
        names: list[str] = []
        while len(names) < count:
            name = self._fresh(kind)
            if any((set(name.split()) & set(other.split())) - _PREFIXES for other in names):
                self._used.remove(name)
            else:
                names.append(name)
        return tuple(names)

    def _fresh(self, kind: str) -> str:
        """Draw a value whose words are not part of another one of this group, nor the other way round."""
        for _ in range(_FRESH_TRIES):
            value = self._sampler.draw(kind)
            if not any(has_words(value, other) or has_words(other, value) for other in self._used):
                self._used.append(value)
                return value
        raise RuntimeError(f"no value of kind {kind!r} is left: lengthen its tables")

    def _story(self, domain: Domain, facts: Sequence[Fact], brief: bool) -> Story:
        """Write a paragraph that tells some facts of a subject, and others beside them."""
        subject = facts[0].subject
        # No further fact of a kind that is asked for: only one value of a paragraph may look like an answer.
        asked = {family(fact.relation.kind) for fact in facts}
        free = [relation for relation in domain.relations if family(relation.kind) not in asked]
        count = 0 if brief else self._rng.randint(0, min(_MOST_FACTS, len(free)))
        beside = [Fact(subject, relation, self._fresh(relation.kind)) for relation in self._rng.sample(free, count)]
        fillers = [] if brief else self._rng.sample(domain.fillers, self._rng.randint(0, _MOST_FILLERS))
        items: list[Fact | str] = [*facts, *beside]
        self._rng.shuffle(items)
        for filler in fillers:  # never first: the first sentence has the name
            items.insert(self._rng.randint(1, len(items)), filler)
        sentences = [self._sentence(domain, subject, item, first=not place) for place, item in enumerate(items)]
        return Story(subject, sentences, {item: place for place, item in enumerate(items) if isinstance(item, Fact)})

    def _sentence(self, domain: Domain, subject: str, item: Fact | str, first: bool) -> str:
        name = domain.article + subject
        if not first and self._rng.random() < _REFERENCE_RATE:
            name = self._rng.choice(domain.references)
        if isinstance(item, str):
            text = item.format(e=name)
        else:
            text = self._rng.choice(item.relation.statements).format(e=name, v=item.value)
        return f"{text[0].upper()}{text[1:]}."
