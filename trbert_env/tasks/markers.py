"""Markers: tokens that a tokenizer keeps free, which set off titles, paragraphs and candidates."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

#: Names of free tokens in the vocabularies of the families, in the order in which they are taken.
_FREE = (
    ("[unused1]", "[unused2]"),  # BERT, DistilBERT, ELECTRA
    ("madeupword0000", "madeupword0001"),  # RoBERTa
)


#: All of these tokens.
MARKERS = frozenset(marker for pair in _FREE for marker in pair)


def marker_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return the ids of two tokens that no text is made of.

    Raises:
        ValueError: The tokenizer has none of them.
    """
    vocabulary = tokenizer.get_vocab()
    for first, second in _FREE:
        if first in vocabulary and second in vocabulary:
            return vocabulary[first], vocabulary[second]
    names = " nor ".join(f"{first} and {second}" for first, second in _FREE)
    raise ValueError(
        f"the tokenizer has neither {names} to mark titles and candidates with: add one of the pairs to its vocabulary"
    )
