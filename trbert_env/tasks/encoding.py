"""Strings as token ids, without special tokens, truncation or padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

_TOKENIZER_BATCH = 1024

Ids = npt.NDArray[np.int32]


class Tokens(NamedTuple):
    """A tokenised string: ``(n,)`` ids and ``(n, 2)`` character offsets, without special tokens.

    Offsets begin behind the white space in front of a word, which some tokenizers (ModernBERT's) count to it.
    """

    ids: Ids
    offsets: Ids


def tokenise(backend: Tokenizer, strings: Sequence[str]) -> dict[str, Tokens]:
    """Tokenise each distinct string once: a SQuAD context serves seven questions."""
    distinct = list(dict.fromkeys(strings))
    result: dict[str, Tokens] = {}
    for first in range(0, len(distinct), _TOKENIZER_BATCH):
        batch = distinct[first : first + _TOKENIZER_BATCH]
        for string, encoding in zip(batch, backend.encode_batch(batch, add_special_tokens=False), strict=True):
            trimmed = [(_behind_space(string, start, end), end) for start, end in encoding.offsets]
            offsets = np.array(trimmed, dtype=np.int32).reshape(-1, 2)
            result[string] = Tokens(np.array(encoding.ids, dtype=np.int32), offsets)
    return result


def _behind_space(string: str, start: int, end: int) -> int:
    """Return where a token begins without its leading white space; its start where it is nothing else."""
    if start == end or not string[start].isspace():
        return start
    word = string[start:end].lstrip()
    return end - len(word) if word else start
