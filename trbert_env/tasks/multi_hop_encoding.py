"""Questions over several paragraphs as token ids: ``(marker title marker text)*`` behind the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from trbert_env.data.records import ANSWER_KINDS
from trbert_env.encoder.texts import EncodedText
from trbert_env.tasks.encoding import Ids, Tokens, tokenise
from trbert_env.tasks.slices import Sliced, cut_into_slices, slice_room
from trbert_env.tasks.span_encoding import Frame, gold_tokens
from trbert_env.tasks.windows import span_target

Numbers = npt.NDArray[np.int64]

#: What a token belongs to where it is in no paragraph's text.
OUTSIDE = -1


class Sentence(NamedTuple):
    """A sentence that is read: the title of its paragraph, its number there, and where its first token stands."""

    title: str
    number: int
    place: int


class ReadTokens(NamedTuple):
    """The tokens of paragraphs' texts that are read, in their order.

    Attributes:
        places: ``(n,)`` int64, where each stands in the text.
        stretches: ``(n,)`` int64, the stretch of each: a span lies within one, which is a paragraph in a slice.
        paragraphs: ``(n,)`` int64, the paragraph of each, counted as in the record.
        numbers: ``(n,)`` int64, which of its paragraph's tokens each is.
        offsets: ``(n, 2)`` int32, where each begins and ends in its paragraph's text, in characters.
    """

    places: Numbers
    stretches: Numbers
    paragraphs: Numbers
    numbers: Numbers
    offsets: Ids


@dataclass(frozen=True)
class MultiHopText(EncodedText):
    """A question with its paragraphs, in one or more slices.

    Attributes:
        tokens: The tokens that are read of the paragraphs.
        sentences: The sentences of which something is read.
    """

    tokens: ReadTokens
    sentences: tuple[Sentence, ...]


class _Body(NamedTuple):
    """All paragraphs end to end: token ids, and paragraph, number and offsets of those of their texts."""

    ids: Ids
    paragraphs: Numbers
    numbers: Numbers
    offsets: Ids


#: A question may come without paragraphs, where a search found none.
_NOTHING = _Body(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), dtype=np.int32))


class MultiHopEncoder:
    """Makes texts of records.

    Args:
        backend: The tokenizer, which neither cuts nor pads.
        frame: The special tokens.
        markers: Ids of what stands before a title and before a text.
        max_question_tokens: Tokens that a question is cut at.
        max_tokens: The most tokens of a slice.
        max_slices: The most slices.
    """

    def __init__(
        self,
        backend: Tokenizer,
        frame: Frame,
        markers: tuple[int, int],
        *,
        max_question_tokens: int,
        max_tokens: int,
        max_slices: int,
    ) -> None:
        self._backend, self._frame, self._markers = backend, frame, markers
        self._max_question_tokens = max_question_tokens
        self._max_tokens, self._max_slices = max_tokens, max_slices

    def encode(self, row: Mapping[str, Any], order: np.random.Generator | None) -> MultiHopText:
        """Make the text of a record.

        Args:
            row: A record of :data:`~trbert_env.data.records.MULTI_HOP`.
            order: Draws another order, and which paragraphs are read: those that lead to the answer, and as many
                others as fit. None for all in their own order, up to the length.
        """
        titles, sentences = row["paragraphs"]["title"], row["paragraphs"]["sentences"]
        texts = ["".join(of_one) for of_one in sentences]
        question = row["question"].lstrip()  # white space would take the place of its words
        tokens_of = tokenise(self._backend, [question, *titles, *texts])
        query = tokens_of[question].ids[: self._max_question_tokens]
        heads, bodies = ([tokens_of[string] for string in strings] for strings in (titles, texts))
        sizes = [2 + len(head.ids) + len(body.ids) for head, body in zip(heads, bodies, strict=True)]
        room = slice_room(query, self._frame, self._max_tokens) * self._max_slices
        chosen = list(range(len(titles))) if order is None else _drawn(row, sizes, room, order)
        body = self._body(heads, bodies, chosen)
        sliced = cut_into_slices(query, body.ids, self._frame, self._max_tokens, self._max_slices)
        tokens = _read(body, sliced)
        sentences = _sentences(row, tokens)
        return MultiHopText(
            text_id=row["id"],
            input_ids=sliced.input_ids,
            token_type_ids=sliced.token_type_ids,
            sequence_lengths=sliced.lengths,
            target=_target(row, _spans(row, tokens, bodies), sentences),
            tokens=tokens,
            sentences=sentences,
        )

    def _body(self, heads: Sequence[Tokens], bodies: Sequence[Tokens], chosen: Sequence[int]) -> _Body:
        pieces = [self._paragraph(index, heads[index], bodies[index]) for index in chosen] or [_NOTHING]
        return _Body(*(np.concatenate(column) for column in zip(*pieces, strict=True)))

    def _paragraph(self, index: int, head: Tokens, body: Tokens) -> _Body:
        title, text = (np.array([marker], dtype=np.int32) for marker in self._markers)
        outside, count = 2 + len(head.ids), len(body.ids)
        return _Body(
            np.concatenate([title, head.ids, text, body.ids]),
            np.repeat([OUTSIDE, index], [outside, count]),
            np.concatenate([np.full(outside, OUTSIDE), np.arange(count)]),
            np.concatenate([np.zeros((outside, 2), dtype=np.int32), body.offsets]),
        )


def _read(body: _Body, sliced: Sliced) -> ReadTokens:
    """What the slices hold of paragraphs' texts."""
    read = np.flatnonzero(body.paragraphs[: len(sliced.body)] != OUTSIDE)
    paragraphs = body.paragraphs[read]
    stretches = sliced.slice_of[read] * (1 + int(body.paragraphs.max(initial=0))) + paragraphs
    return ReadTokens(sliced.body[read], stretches, paragraphs, body.numbers[read], body.offsets[read])


def _drawn(row: Mapping[str, Any], sizes: Sequence[int], room: int, order: np.random.Generator) -> list[int]:
    """Paragraphs in random order: those that lead to the answer, and as many others as fit."""
    titles = row["paragraphs"]["title"]
    wanted = {*row["supports"]["title"]}
    gold = [index for index, title in enumerate(titles) if title in wanted or index in row["spans"]["paragraph"]]
    left = room - sum(sizes[index] for index in gold)
    chosen, cut = set(gold), None
    for index in order.permutation(len(titles)).tolist():
        if index not in chosen and left > 0:
            chosen.add(index)
            left -= sizes[index]
            cut = index if left < 0 else None
    mixed: list[int] = order.permutation(sorted(chosen)).tolist()
    # What does not fit is cut at the end: of this one, which alone is surely longer than that.
    return mixed if cut is None else [*(index for index in mixed if index != cut), cut]


def _sentences(row: Mapping[str, Any], tokens: ReadTokens) -> tuple[Sentence, ...]:
    """The sentences of which a token is read."""
    found = []
    paragraphs = row["paragraphs"]
    for index, (title, sentences) in enumerate(zip(paragraphs["title"], paragraphs["sentences"], strict=True)):
        own = np.flatnonzero(tokens.paragraphs == index)
        starts, ends = tokens.offsets[own].T
        begin = 0
        for number, sentence in enumerate(sentences):
            inside = own[(ends > begin) & (starts < begin + len(sentence))]
            begin += len(sentence)
            if len(inside):
                found.append(Sentence(title, number, int(tokens.places[inside[0]])))
    return tuple(found)


def _spans(row: Mapping[str, Any], tokens: ReadTokens, bodies: Sequence[Tokens]) -> list[tuple[int, int]]:
    """First and last token of each place of the answer that is read, within one stretch."""
    found = []
    spans = row["spans"]
    for index, start, answer in zip(spans["paragraph"], spans["start"], spans["text"], strict=True):
        bounds = gold_tokens(bodies[index], (start, start + len(answer)))
        if bounds is None:
            continue
        own = tokens.paragraphs == index
        ends = [np.flatnonzero(own & (tokens.numbers == number)) for number in bounds]
        if all(map(len, ends)) and len({int(tokens.stretches[place[0]]) for place in ends}) == 1:
            first, last = (int(tokens.places[place[0]]) for place in ends)
            found.append((first, last))
    return found


def _target(row: Mapping[str, Any], spans: Sequence[tuple[int, int]], sentences: Sequence[Sentence]) -> Numbers:
    """``(n, 5)``: kind of answer, starts, ends, places of sentences, and 1 where one supports the answer, else 0.

    An answer that is not read has neither start nor end: nothing is to be learned from where it is not.
    """
    supports = set(zip(row["supports"]["title"], row["supports"]["sentence"], strict=True))
    places = span_target(spans) if spans else np.full((1, 2), -1)
    target = np.full((max(len(places), len(sentences)), 5), -1, dtype=np.int64)
    target[0, 0] = ANSWER_KINDS.index(row["kind"])
    target[: len(places), 1:3] = places
    for line, sentence in enumerate(sentences):
        target[line, 3:] = sentence.place, (sentence.title, sentence.number) in supports
    return target
