"""Texts in a terminal, in TensorBoard, on a page or as an image: tokens as words, skipped ones struck out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from tokenizers.decoders import ByteLevel

#: What Markdown would take for markup.
_MARKUP, _ESCAPED = re.compile(r"([\\`*_<])"), r"\\\1"
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_STRIKE, _PLAIN = "\x1b[9;2m", "\x1b[0m"
#: What stands before the first token of a word: of byte-level tokenizers, and of SentencePiece.
_BYTE_LEVEL = "Ġ"
_BEGINS = (_BYTE_LEVEL, "▁")


class Piece(NamedTuple):
    """A token as a reader sees it.

    Attributes:
        text: Its characters.
        begins: True if it begins a word, and False if it goes on with the one before.
    """

    text: str
    begins: bool


def pieces_of(tokens: Sequence[str]) -> list[Piece]:
    """Return tokens as pieces of words.

    Byte-level and SentencePiece tokenizers mark where a word begins, wordpiece ones where it goes on.

    Args:
        tokens: The tokens of a text, in order.

    Example:
        >>> [piece.text if piece.begins else "+" + piece.text for piece in pieces_of(["[CLS]", "play", "##ing"])]
        ['[CLS]', 'play', '+ing']
        >>> [piece.text if piece.begins else "+" + piece.text for piece in pieces_of(["ĠcafÃ©", "s"])]
        ['café', '+s']
    """
    mark = next((mark for mark in _BEGINS if any(token.startswith(mark) for token in tokens)), None)
    if mark is None:
        return [Piece(token.removeprefix("##"), not token.startswith("##") or not place)
                for place, token in enumerate(tokens)]  # fmt: skip
    decode = _decoded if mark == _BYTE_LEVEL else str
    return [Piece(decode(token.removeprefix(mark)), token.startswith(mark) or not place)
            for place, token in enumerate(tokens)]  # fmt: skip


def _decoded(token: str) -> str:
    """The characters of a byte-level token, which stand for bytes."""
    return str(ByteLevel().decode([token]))


#: Width and height of a token's cell in an image, pixels; cells in a line; letters that fit into a cell.
_CELL, _COLUMNS, _LETTERS = (84, 18), 8, 13


def render_reduction(tokens: Sequence[str], in_play: Sequence[bool]) -> str:
    r"""One line of text; tokens that are no longer in play are struck out and dim.

    Args:
        tokens: The tokens of a text.
        in_play: True for each token that is still in play; as long as ``tokens`` or longer.

    Example:
        >>> render_reduction(["[CLS]", "play", "##ing"], [True, True, False])
        '[CLS] play\x1b[9;2ming\x1b[0m'
    """
    shown = []
    for index, (word, begins) in enumerate(pieces_of(tokens)):
        styled = word if in_play[index] else f"{_STRIKE}{word}{_PLAIN}"
        shown.append(f" {styled}" if begins and index else styled)
    return "".join(shown)


def render_stops(tokens: Sequence[str], stops: Sequence[int], num_reductions: int) -> str:
    """Markdown: one paragraph a reduction, what goes on in bold, what stops there struck out.

    Args:
        tokens: The tokens of a text, in order.
        stops: The reduction that each stopped at, ``num_reductions`` where it went to the end.
        num_reductions: T.

    Example:
        >>> print(render_stops(["[CLS]", "who", "?"], [1, 0, 1], 1))
        **Reduction 1:** **[CLS]** w̶h̶o̶ **?**
    """
    paragraphs = []
    for reduction in range(num_reductions):
        words = [
            f"**{_MARKUP.sub(_ESCAPED, token)}**" if stop > reduction else _struck_out(token)
            for token, stop in zip(tokens, stops, strict=True)
            if stop >= reduction
        ]
        paragraphs.append(f"**Reduction {reduction + 1}:** " + " ".join(words))
    return "\n\n".join(paragraphs)


def render_layers(tokens: Sequence[str], layers: Sequence[int], depth: int) -> str:
    """Markdown: tokens that stop carry the layer that made their last state, those that run to the end are bold.

    Args:
        tokens: In text order.
        layers: Layer that made the last state of each, counted from 1.
        depth: Layers of the encoder.

    Example:
        >>> print(render_layers(["[CLS]", "who", "drums"], [12, 1, 12], 12))
        **[CLS]** who₁ **drums**
    """
    words = []
    for token, layer in zip(tokens, layers, strict=True):
        word = _MARKUP.sub(_ESCAPED, token)
        words.append(f"**{word}**" if layer == depth else f"{word}{str(layer).translate(_SUBSCRIPTS)}")
    return " ".join(words)


def render_image(tokens: Sequence[str], in_play: Sequence[bool]) -> npt.NDArray[np.uint8]:
    """Return a picture with one cell a token, in text order; those no longer in play are grey and struck out.

    Args:
        tokens: Tokens of a text.
        in_play: True for each token that is still in play; as long as ``tokens`` or longer. Its length alone gives
            the size of the picture, so that all texts of an environment have one size, as videos need.

    Returns:
        ``(height, width, 3)`` uint8, RGB.

    Example:
        >>> render_image(["[CLS]", "play", "##ing"], [True, True, False]).shape
        (18, 672, 3)
    """
    (width, height), lines = _CELL, -(-len(in_play) // _COLUMNS)
    picture = Image.new("RGB", (width * _COLUMNS, height * lines), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for index, token in enumerate(tokens):
        left, top = width * (index % _COLUMNS), height * (index // _COLUMNS)
        # Pillow's own font knows Latin letters only.
        shown = token[:_LETTERS].encode("latin-1", "replace").decode("latin-1")
        draw.text((left + 2, top + 3), shown, fill="black" if in_play[index] else "darkgrey", font=font)
        if not in_play[index]:
            draw.line([(left + 1, top + height // 2), (left + width - 4, top + height // 2)], fill="darkgrey")
    return np.asarray(picture, dtype=np.uint8)


def _struck_out(token: str) -> str:
    """Every letter with a stroke of its own: TensorBoard's Markdown knows no other."""
    return "".join(f"{letter}\u0336" for letter in token)
