"""What share of the tokens each class keeps at each reduction, over explored texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runners.reporting.exploring import ExploredText, Token
from runners.reporting.token_classes import CONTENT, FUNCTION, PUNCTUATION, SPECIAL

#: Name of the class of tokens of the gold answer.
ANSWER = "gold answer"


@dataclass(frozen=True)
class KeptClass:
    """A class of tokens.

    Attributes:
        name: Name of the class.
        share: Its share of all tokens, from 0 to 1.
        kept: Share of the class that runs through the layers behind each reduction, from 0 to 1.
    """

    name: str
    share: float
    kept: tuple[float, ...]


@dataclass(frozen=True)
class KeptGroup:
    """Classes of tokens that are told apart in one way.

    Attributes:
        title: How they are told apart.
        classes: The classes.
    """

    title: str
    classes: Sequence[KeptClass]


def kept_groups(texts: Sequence[ExploredText], num_reductions: int) -> list[KeptGroup]:
    """Return what is kept of each part of the texts, of each class of words, and of all.

    Special tokens are in a class of their own both ways; tokens of the gold answer are counted in their part too.

    Args:
        texts: The texts.
        num_reductions: T.
    """
    tokens = [token for text in texts for token in text.tokens]

    def group(title: str, classes: Sequence[str], belongs: Callable[[Token, str], bool]) -> KeptGroup:
        found = [_kept(name, [token for token in tokens if belongs(token, name)], tokens, num_reductions)
                 for name in classes]  # fmt: skip
        return KeptGroup(title, [one for one in found if one.share > 0])

    parts = [*dict.fromkeys(token.part for token in tokens if token.part != SPECIAL), SPECIAL]
    return [
        KeptGroup("all tokens", [_kept("all tokens", tokens, tokens, num_reductions)]),
        group("by part of the text", [*parts[:-1], ANSWER, SPECIAL], _is_of_part),
        group("by class of word", [CONTENT, FUNCTION, PUNCTUATION], lambda token, name: token.kind == name),
    ]


def _is_of_part(token: Token, name: str) -> bool:
    return token.gold if name == ANSWER else token.part == name


def _kept(name: str, own: Sequence[Token], every: Sequence[Token], num_reductions: int) -> KeptClass:
    kept = tuple(sum(token.stop > cut for token in own) / max(len(own), 1) for cut in range(num_reductions))
    return KeptClass(name, len(own) / max(len(every), 1), kept)
