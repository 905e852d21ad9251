"""Texts with a label that few sentences decide, among many that point elsewhere.

What somebody else says, or what is said of something else, is worded with the same phrases as what the author
says, so the words alone do not give the label: a reader must tell who speaks, of what, and with which negation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from trbert_env.data.embedded.tables import ValueSampler

#: How often a deciding sentence is plain, a contrast, a denial.
_WEIGHTS = (5, 3, 2)
#: How many fillers a brief text has.
_BRIEF_FILLERS = 2
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Flavour:
    """A kind of text: its labels, and the sentences that its texts are made of.

    Sentences have no capital and no full stop. Their slots are ``{e}`` (the subject of the text), ``{person}``,
    ``{place}``, ``{year}`` and ``{count}``, and for phrases ``{p}`` (of the label), ``{q}`` (of another label)
    and ``{r}`` (of any label, drawn without regard to that of the text).

    Attributes:
        name: The folder name of the data set whose place the corpus takes.
        subject: The kind of the subject's name, as the value sampler knows it.
        article: Put before the subject's name.
        phrases: The phrases that carry each label, in the order of the labels.
        plain: Deciding sentences with ``{p}``.
        contrasts: Deciding sentences with ``{p}`` and ``{q}``.
        denials: Deciding sentences with ``{q}`` that deny it; only where there are two labels.
        others: Sentences with ``{r}`` that do not decide: somebody else speaks, or something else is meant.
        fillers: Sentences without phrases.
        num_deciding: The fewest and the most deciding sentences of a text.
        num_others: The fewest and the most sentences with ``{r}``.
        num_sentences: The fewest and the most sentences in all.
    """

    name: str
    subject: str
    article: str
    phrases: Mapping[str, tuple[str, ...]]
    plain: tuple[str, ...]
    contrasts: tuple[str, ...]
    denials: tuple[str, ...]
    others: tuple[str, ...]
    fillers: tuple[str, ...]
    num_deciding: tuple[int, int] = (1, 3)
    num_others: tuple[int, int] = (1, 3)
    num_sentences: tuple[int, int] = (9, 14)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        return tuple(self.phrases)


@dataclass(frozen=True)
class Sentence:
    """A sentence of a text.

    Attributes:
        text: The sentence, with its capital and full stop.
        decides: True if the label follows from it.
    """

    text: str
    decides: bool


def lines(text: str) -> tuple[str, ...]:
    """Return the items of a table that has one item a line."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def phrases(text: str) -> tuple[str, ...]:
    """Return the items of a table whose items are divided by bars; line breaks count as blanks.

    Example:
        >>> phrases("a delight | hard to fault")
        ('a delight', 'hard to fault')
    """
    return tuple(" ".join(item.split()) for item in text.split("|"))


class VerdictWriter:
    """Writes the texts of a flavour.

    Args:
        flavour: The sentences and phrases.
        names: ``"train"`` or ``"validation"``: which part of the name tables is used.
        rng: The source of all randomness.
    """

    def __init__(self, flavour: Flavour, names: str, rng: Random) -> None:
        self._flavour = flavour
        self._rng = rng
        self._sampler = ValueSampler(names, rng)

    def write(self, label: str, brief: bool = False) -> list[Sentence]:
        """Return the sentences of one new text.

        Args:
            label: The class that the text belongs to.
            brief: True to leave out most of what does not decide.
        """
        flavour, rng = self._flavour, self._rng
        subject = flavour.article + self._sampler.draw(flavour.subject)
        kinds = (flavour.plain, flavour.contrasts, flavour.denials)
        deciding: list[str] = []
        for _ in range(self._count("num_deciding")):
            (kind,) = rng.choices(kinds, weights=[_WEIGHTS[i] * bool(kind) for i, kind in enumerate(kinds)])
            deciding.append(rng.choice([text for text in kind if text not in deciding]))
        others = rng.sample(flavour.others, 0 if brief else self._count("num_others"))
        num_fillers = _BRIEF_FILLERS if brief else self._count("num_sentences") - len(deciding) - len(others)
        fillers = rng.sample(flavour.fillers, num_fillers)
        templates = [(text, True) for text in deciding] + [(text, False) for text in (*others, *fillers)]
        rng.shuffle(templates)
        return [Sentence(self._fill(text, subject, label), decides) for text, decides in templates]

    def _count(self, attribute: str) -> int:
        return self._rng.randint(*getattr(self._flavour, attribute))

    def _fill(self, template: str, subject: str, label: str) -> str:
        """Write a template out, with its capital and full stop."""

        def value(slot: re.Match[str]) -> str:
            return subject if slot[1] == "e" else self._value(slot[1], label)

        text = _SLOT.sub(value, template)
        return text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")

    def _value(self, slot: str, label: str) -> str:
        """Draw what stands in a slot: a phrase, or a name or number of its kind."""
        labels = self._flavour.labels
        carried = {"p": [label], "q": [other for other in labels if other != label], "r": labels}
        if slot not in carried:
            return self._sampler.draw(slot)
        return self._rng.choice(self._flavour.phrases[self._rng.choice(carried[slot])])
