"""Classes of tokens under the tokenizers' marks of words."""

from __future__ import annotations

import pytest

from runners.reporting.exploring import spaces_before
from runners.reporting.token_classes import CONTENT, FUNCTION, PUNCTUATION, SPECIAL, kinds_of
from trbert_env.envs.rendering import pieces_of

SPECIALS = {"[CLS]", "[SEP]", "<s>", "</s>"}


@pytest.mark.parametrize(
    "tokens",
    [
        ["[CLS]", "The", "drum", "##mer", ",", "not", "the", "##me", "[SEP]"],
        ["<s>", "The", "Ġdrum", "mer", ",", "Ġnot", "Ġthe", "me", "</s>"],
        ["<s>", "▁The", "▁drum", "mer", ",", "▁not", "▁the", "me", "</s>"],
    ],
    ids=["wordpiece", "byte-level", "sentencepiece"],
)
def test_a_word_has_one_class(tokens: list[str]) -> None:
    found = kinds_of(tokens, SPECIALS)
    expected = [SPECIAL, FUNCTION, CONTENT, CONTENT, PUNCTUATION, FUNCTION, CONTENT, CONTENT, SPECIAL]
    assert found == expected
    pieces = pieces_of(tokens)
    spaces = spaces_before(pieces, [kind == SPECIAL for kind in found])
    shown = "".join((" " if spaced else "") + piece.text for piece, spaced in zip(pieces, spaces, strict=True))
    assert shown[len(tokens[0]) : -len(tokens[-1])] == " The drummer, not theme "


def test_markers_of_titles_are_special() -> None:
    assert kinds_of(["[unused1]", "Ada"], SPECIALS) == [SPECIAL, CONTENT]


def test_no_token() -> None:
    assert kinds_of([], SPECIALS) == []
