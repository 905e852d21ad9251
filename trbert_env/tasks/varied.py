"""Texts that are put together anew in each pass over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from trbert_env.encoder.texts import EncodedText
from trbert_env.tasks.text_encoding import LazyTexts

#: Makes the text of an index; in the order that a generator gives, or in the order of the data where it is None.
MakeText = Callable[[int, np.random.Generator | None], EncodedText]


class VariedTexts(LazyTexts):
    """Texts of whose parts some come in another order in each pass, such as the paragraphs of a question.

    Args:
        count: Number of them.
        make: Makes one.
        varied: True if they vary; if not, their parts are in the order of the data.
    """

    def __init__(self, count: int, make: MakeText, varied: bool) -> None:
        self.varied = varied
        self._of_pass = partial(_made, make, varied)
        super().__init__(count, partial(self._of_pass, 0))

    def of_pass(self, index: int, number: int) -> EncodedText:
        """The text of an index in a pass over all of them, counted from 0; the same each time."""
        return self._of_pass(number, index)


def _made(make: MakeText, varied: bool, number: int, index: int) -> EncodedText:
    return make(index, np.random.default_rng([index, number]) if varied else None)


def drawn_text(texts: Sequence[EncodedText], number: int) -> EncodedText:
    """Return a text as it is in a pass over all of them.

    Args:
        texts: Texts that vary from pass to pass, or any others.
        number: Index of the text, and the number of the pass (from 0) times the number of texts.
    """
    of_pass, index = divmod(int(number), len(texts))
    return texts.of_pass(index, of_pass) if isinstance(texts, VariedTexts) else texts[index]


def check_lasting(texts: Sequence[EncodedText]) -> None:
    """Refuse texts of which something is to be remembered, where each pass has others.

    Raises:
        ValueError: They vary.
    """
    if isinstance(texts, VariedTexts) and texts.varied:
        raise ValueError("the parts of these texts come in another order in each pass: leave out --remember-teacher")
