"""Sequences that are cut from documents, and some of them held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trbert_env.data.plain.tokens import DocumentTokens
from trbert_env.encoder.texts import EncodedText
from trbert_env.tasks.text_encoding import LazyTexts, SequenceEncoder


def cut(tokens: DocumentTokens, encoder: SequenceEncoder, seed: int) -> LazyTexts:
    """Cut documents into texts of one sequence each, as long as they may be; a document's last one is what is left.

    Args:
        tokens: The documents, which come in an order that the seed fixes.
        encoder: Puts special tokens around the tokens of a sequence, and says how many fit.
        seed: Seed of the order.
    """
    order = np.random.default_rng(seed).permutation(len(tokens))
    ends = np.cumsum(-(-tokens.lengths[order] // encoder.room))
    nothing = np.zeros(0, np.int64)

    def text(index: int) -> EncodedText:
        place = int(np.searchsorted(ends, index, side="right"))
        document = int(order[place])
        number = index - (int(ends[place - 1]) if place else 0)
        ids, types = encoder.around_one(tokens.slice(document, number * encoder.room, encoder.room))
        return EncodedText(f"{document}:{number}", ids, types, (len(ids),), nothing)

    return LazyTexts(int(ends[-1]), text)


def hold_out_last(texts: LazyTexts, share: float, name: str) -> tuple[LazyTexts, LazyTexts]:
    """Set the last texts aside, so that at most one document is on both sides.

    Args:
        texts: Texts of :func:`cut`.
        share: Share to set aside, above 0 and below 1; at least one text is.
        name: Name of the texts in errors.

    Raises:
        ValueError: There is but one text.
    """
    count = max(1, round(share * len(texts)))
    if count >= len(texts):
        raise ValueError(
            f"{name} gives {len(texts)} sequences, of which {count} cannot be held out: give more text, or a "
            "validation file"
        )
    rest = len(texts) - count
    return LazyTexts(rest, lambda index: texts[index]), LazyTexts(count, lambda index: texts[rest + index])


def sampled(texts: LazyTexts, count: int) -> Sequence[EncodedText]:
    """Return a random sample of texts, always the same; all of them where there are no more.

    Args:
        texts: The texts.
        count: The most texts.
    """
    order = np.random.default_rng(0).permutation(len(texts))[:count]
    return LazyTexts(len(order), lambda index: texts[int(order[index])])
