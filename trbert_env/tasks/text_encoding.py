"""One text, or a pair of texts, as sequences of token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from trbert_env.data.bare_tokenizer import bare_backend
from trbert_env.encoder.texts import EncodedText
from trbert_env.tasks.encoding import Ids
from trbert_env.tasks.span_encoding import Frame, frame_of

#: Share of a cut text that is taken from its beginning, where its end is kept too (Sun et al. 2019, section 5.3.1).
HEAD_SHARE = 0.25


class LazyTexts(Sequence[EncodedText]):
    """Texts that are encoded when they are asked for, so that a split of any size is ready at once.

    Args:
        count: Number of them.
        encode: Makes the text of an index, the same each time.
    """

    def __init__(self, count: int, encode: Callable[[int], EncodedText]) -> None:
        self._count, self._encode = count, encode

    def __len__(self) -> int:
        """The number of texts."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> EncodedText: ...

    @overload
    def __getitem__(self, index: slice) -> list[EncodedText]: ...

    def __getitem__(self, index: int | slice) -> EncodedText | list[EncodedText]:
        """The text of an index, or the list of those of a slice."""
        if isinstance(index, slice):
            return [self._encode(place) for place in range(*index.indices(self._count))]
        place = int(index)
        if not -self._count <= place < self._count:
            raise IndexError(f"text {place}: there are {self._count}")
        return self._encode(place % self._count)

    def __iter__(self) -> Iterator[EncodedText]:
        """All texts in their order."""
        return (self._encode(place) for place in range(self._count))


class SequenceEncoder:
    """Encodes ``[CLS] text [SEP]`` or ``[CLS] text [SEP] pair [SEP]``, cut at a number of tokens.

    Texts lose their end, or their beginning where the tokenizer's ``truncation_side`` is ``"left"``.

    Args:
        tokenizer: A fast tokenizer; left as it is.
        max_tokens: The most tokens, special tokens included.
        keep_tail: True to keep the end of a text that is cut too, not its beginning alone.

    Raises:
        ValueError: The special tokens leave no room.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int, keep_tail: bool = False) -> None:
        self._backend: Tokenizer = bare_backend(tokenizer)
        has_segments = "token_type_ids" in tokenizer.model_input_names
        self._pair = frame_of(self._backend.encode("a", "a"), has_segments)
        single = self._backend.encode("a")
        places = [index for index, owner in enumerate(single.sequence_ids) if owner == 0]
        ids = np.array(single.ids, dtype=np.int32)
        self._before, self._after = ids[: places[0]], ids[places[-1] + 1 :]
        self._max_tokens, self._keep_tail = max_tokens, keep_tail
        self._from_left = tokenizer.truncation_side == "left"
        if max_tokens <= len(self._pair) + 1:
            raise ValueError(f"max_tokens is {max_tokens}: give more than the {len(self._pair) + 1} of special tokens")

    def ids(self, text: str) -> Ids:
        """Token ids of a string, without special tokens, uncut."""
        return np.array(self._backend.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def single(self, text: str) -> tuple[Ids, Ids]:
        """Token ids and token type ids of one text, ``(n,)`` each."""
        return self.around_one(self.ids(text))

    def windows(self, text: str, most: int) -> list[tuple[Ids, Ids]]:
        """One text as at most ``most`` consecutive windows without overlap, each with its special tokens."""
        ids = self._cut(self.ids(text), most * self.room)
        return [self.around_one(ids[first : first + self.room]) for first in range(0, max(len(ids), 1), self.room)]

    @property
    def frame(self) -> Frame:
        """The special tokens of a pair."""
        return self._pair

    @property
    def room(self) -> int:
        """The most tokens of one text, without special tokens."""
        return self._max_tokens - len(self._before) - len(self._after)

    def around_one(self, text: Ids) -> tuple[Ids, Ids]:
        """One text that is tokenised already, cut where it is longer than :attr:`room`."""
        ids = np.concatenate([self._before, self._cut(text, self.room), self._after])
        return ids, np.zeros(len(ids), dtype=np.int32)

    def pair(self, first: str, second: str) -> tuple[Ids, Ids]:
        """Token ids and token type ids of two texts, ``(n,)`` each; the longer one is cut until both fit."""
        one, two = self.ids(first), self.ids(second)
        kept_one, kept_two = longest_first(len(one), len(two), self._max_tokens - len(self._pair))
        return self._pair.around(self._cut(one, kept_one), self._cut(two, kept_two))

    def room_beside(self, first: Ids, least: int) -> int:
        """Return how many tokens the second of two texts may have: what the first leaves, and at least ``least``."""
        return max(least, self._max_tokens - len(self._pair) - len(first))

    def around(self, first: Ids, second: Ids) -> tuple[Ids, Ids]:
        """Two texts that are tokenised already: the second is whole, and the first fills what it leaves."""
        return self._pair.around(self._cut(first, self._max_tokens - len(self._pair) - len(second)), second)

    def _cut(self, ids: Ids, room: int) -> Ids:
        if len(ids) <= room:
            return ids
        if not self._keep_tail:
            return ids[len(ids) - room :] if self._from_left else ids[:room]
        head = round(room * HEAD_SHARE)
        return np.concatenate([ids[:head], ids[len(ids) - (room - head) :]])


def shortened(ids: Ids, most: int, tail: int) -> Ids:
    """Cut tokens so that the last ``tail`` of them stay, or the first of these where there is no room for all.

    Example:
        >>> shortened(np.arange(9), 5, tail=2).tolist(), shortened(np.arange(9), 3, tail=4).tolist()
        ([0, 1, 2, 7, 8], [5, 6, 7])
    """
    if len(ids) <= most:
        return ids
    kept = ids[len(ids) - tail :][:most]
    return np.concatenate([ids[: most - len(kept)], kept])


def text_of(text_id: str, sequences: Sequence[tuple[Ids, Ids]], target: npt.NDArray[Any]) -> EncodedText:
    """Join sequences to one text.

    Args:
        text_id: Id of the text.
        sequences: Token ids and token type ids of each.
        target: The gold answer.
    """
    ids, types = (np.concatenate(pieces) for pieces in zip(*sequences, strict=True))
    return EncodedText(text_id, ids, types, tuple(len(own) for own, _ in sequences), target)


def longest_first(one: int, two: int, room: int) -> tuple[int, int]:
    """Return how many tokens of two texts fit a room, where the longer one gives up tokens first.

    Equals the truncation ``longest_first`` of fast tokenizers: of an odd room the longer text has one token more, and
    the second one where both are as long.

    Example:
        >>> longest_first(10, 3, 8), longest_first(10, 9, 8), longest_first(9, 9, 7)
        ((5, 3), (4, 4), (3, 4))
    """
    if one + two <= room:
        return one, two
    shorter = min(one, two, room // 2)
    return (shorter, room - shorter) if one <= two else (room - shorter, shorter)
