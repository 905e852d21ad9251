"""Texts in a terminal, skipped tokens struck out."""

from __future__ import annotations

from collections.abc import Sequence

_STRIKE, _PLAIN = "\x1b[9;2m", "\x1b[0m"


def render_reduction(tokens: Sequence[str], in_play: Sequence[bool]) -> str:
    r"""One line of text; tokens that are no longer in play are struck out and dim.

    Args:
        tokens: The tokens of a text.
        in_play: As long or longer: True where the token is still in play.

    Example:
        >>> render_reduction(["[CLS]", "play", "##ing"], [True, True, False])
        '[CLS] play\x1b[9;2ming\x1b[0m'
    """
    # Byte-level tokenizers mark where a word begins, wordpiece ones where it goes on.
    byte_level = any(token.startswith("Ġ") for token in tokens)
    pieces = []
    for index, token in enumerate(tokens):
        continues = not token.startswith("Ġ") if byte_level else token.startswith("##")
        word = token.removeprefix("Ġ" if byte_level else "##")
        shown = word if in_play[index] else f"{_STRIKE}{word}{_PLAIN}"
        pieces.append(shown if continues or index == 0 else f" {shown}")
    return "".join(pieces)
