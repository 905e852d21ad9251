"""Several windows of a context as one text: what is encoded, how likely its answer is, and what is decoded."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trbert_env.encoder.texts import TextBatch
from trbert_env.tasks.span_decoding import SpanDecoder, best_of_all
from trbert_env.tasks.span_encoding import Piece
from trbert_env.tasks.span_qa import SpanQA, SpanText

#: One token a word; 12-token windows leave room for 7 of them behind the question "Where ?".
CONTEXT = "oslo is far but rome is near and rome has one old mill by the sea and old oslo has two"
WORDS = CONTEXT.split()
ROOM = 7


def record(key: str, *words: str, context: str = CONTEXT) -> dict[str, Any]:
    """A question whose answers are all occurrences of some words."""
    starts = [place for word in words for place in range(len(context)) if context.startswith(word, place)]
    texts = [word for word in words for place in range(len(context)) if context.startswith(word, place)]
    return {"id": key, "context": context, "question": "Where?", "answers": {"text": texts, "answer_start": starts}}


def task(max_slices: int, **settings: Any) -> SpanQA:
    values: dict[str, Any] = {"max_tokens": 12, "stride": 2, "null_answer": False, "golds": "all", **settings}
    return SpanQA(max_slices=max_slices, **values)


def encode(task: SpanQA, bert: PreTrainedTokenizerBase, *rows: dict[str, Any], training: bool = False) -> Any:
    return task.encode(Dataset.from_list(list(rows)), bert, training=training)


def words_of(text: SpanText) -> list[list[str]]:
    """The words of the context in each slice."""
    return [CONTEXT[piece.offsets[0, 0] : piece.offsets[-1, 1]].split() for piece in text.pieces]


def word_at(text: SpanText, place: int) -> tuple[int, str]:
    """The slice and the word of the context at an index of the text."""
    for number, piece in enumerate(text.pieces):
        if piece.start <= place < piece.start + len(piece.offsets):
            begin, end = piece.offsets[place - piece.start]
            return number, CONTEXT[begin:end]
    raise AssertionError(f"index {place} is no token of the context")


@pytest.mark.parametrize("stride", [0, 2])
@pytest.mark.parametrize("max_slices", [1, 2, 3, 9])
def test_slices_are_the_first_windows_laid_end_to_end(
    max_slices: int, stride: int, bert: PreTrainedTokenizerBase
) -> None:
    short = record("short", "rome", context="rome is near")
    sliced = encode(task(max_slices, stride=stride), bert, record("long", "rome"), short)
    windows = encode(task(0, stride=stride), bert, record("long", "rome"), short)
    assert [text.text_id for text in sliced] == ["long#0", "short#0"]
    for text in sliced:
        own = [window for window in windows if window.example_id == text.example_id][:max_slices]
        assert text.sequence_lengths == tuple(map(len, own))
        assert text.input_ids.tolist() == [token for window in own for token in window.input_ids]
        assert text.token_type_ids.tolist() == [kind for window in own for kind in window.token_type_ids]
        assert {text.input_ids.dtype.name, text.token_type_ids.dtype.name} == {"int32"}
        starts = np.cumsum([0, *text.sequence_lengths[:-1]])
        assert (text.input_ids[starts] == bert.cls_token_id).all()
        assert [piece.start for piece in text.pieces] == [start + own[0].pieces[0].start for start in starts]
        for piece, window in zip(text.pieces, own, strict=True):
            assert piece.offsets.tolist() == window.pieces[0].offsets.tolist()
    long, _ = sliced
    assert len(long.pieces) == min(max_slices, 4 if stride else 3)
    assert len(sliced[1].pieces) == 1
    for left, right in pairwise(words_of(long)):
        assert (left[-stride:] == right[:stride]) if stride else (left[-1] != right[0])
    assert len(long) <= task(max_slices).max_text_tokens == 12 * max_slices


def test_the_answer_may_stand_in_a_later_slice(bert: PreTrainedTokenizerBase) -> None:
    (text,) = encode(task(3), bert, record("q", "old mill"))
    ((start, end),) = text.target.tolist()
    assert [word_at(text, start), word_at(text, end)] == [(2, "old"), (2, "mill")]
    assert start > sum(text.sequence_lengths[:2])


def test_every_occurrence_counts_in_every_slice(bert: PreTrainedTokenizerBase) -> None:
    (text,) = encode(task(4), bert, record("q", "rome", "oslo"))
    assert [row.count("rome") for row in words_of(text)] == [1, 1, 0, 0]
    found = sorted(word_at(text, place) for place in text.target[:, 0])
    inside = [(number, word) for number, row in enumerate(words_of(text)) for word in row if word in ("rome", "oslo")]
    assert found == sorted(inside)
    assert text.target[:, 0].tolist() == text.target[:, 1].tolist()
    # Slices overlap by two words: what stands there counts twice, be it the first answer alone.
    shared = words_of(text)[0][-1]
    (twice,) = encode(task(4, golds="first"), bert, record("q", shared))
    assert [word_at(twice, place) for place in twice.target[:, 0]] == [(0, shared), (1, shared)]


def test_an_answer_beyond_the_last_slice_is_cut(bert: PreTrainedTokenizerBase) -> None:
    rows = [record("early", "rome"), record("late", "two")]
    assert [text.example_id for text in encode(task(2), bert, *rows, training=True)] == ["early"]
    assert len(encode(task(9), bert, *rows, training=True)) == 2
    _, late = encode(task(2), bert, *rows)
    assert late.target.tolist() == [[-1, -1]]
    # Where questions may have no answer, none is what there is to learn.
    assert len(encode(task(2, null_answer=True), bert, *rows, training=True)) == 2
    # In evaluation the question is scored, and the answer missed.
    sliced, records = task(2), Dataset.from_list(rows)
    texts = sliced.encode(records, bert)
    found = sliced.predict(texts, [np.zeros((len(text), 2), np.float32) for text in texts], records)
    assert sliced.metrics(found, records)["exact_match"] < 100.0
    assert found.keys() == {"early", "late"}


def test_none_of_the_texts_may_hold_an_answer(bert: PreTrainedTokenizerBase) -> None:
    for max_slices in (0, 1):
        assert list(encode(task(max_slices), bert, record("late", "nowhere"), training=True)) == []


def test_one_softmax_over_all_slices(bert: PreTrainedTokenizerBase) -> None:
    sliced = task(3)
    texts = encode(sliced, bert, record("a", "rome"), record("b", "old mill"))
    layout = TextBatch.from_texts(list(texts)).layout
    logits = torch.randn(layout.total_tokens, 2, generator=torch.Generator().manual_seed(0))
    found = sliced.log_likelihood(logits, layout, sliced.targets(texts))
    for text, own, likelihood in zip(texts, logits.split([len(text) for text in texts]), found.tolist(), strict=True):
        probabilities = (own.double().exp() / own.double().exp().sum(0)).numpy()
        sides = [sum(probabilities[list(set(text.target[:, side]) - {-1}), side]) for side in (0, 1)]
        assert likelihood == pytest.approx(float(np.log(sides).mean()), abs=1e-5)


def test_a_span_never_crosses_slices(bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([record("q", "rome")])
    sliced = task(3, max_answer_tokens=30)
    (text,) = sliced.encode(records, bert)
    scores = np.zeros((len(text), 2), dtype=np.float32)
    scores[text.pieces[0].start + ROOM - 1, 0] = 9.0  # the best start is the last word of the first slice
    scores[text.pieces[1].start + 3, 1] = 9.5  # the best end stands in the second
    assert sliced.predict([text], [scores], records) == {"q": " ".join(words_of(text)[1][:4])}
    scores[text.pieces[0].start + ROOM - 1, 1] = 1.0
    assert sliced.predict([text], [scores], records) == {"q": words_of(text)[0][-1]}


@pytest.mark.parametrize("null_answer", [True, False])
@pytest.mark.parametrize("num_best", [1, 3, 20])
def test_slices_are_decoded_as_windows_are_but_for_no_answer(
    num_best: int, null_answer: bool, bert: PreTrainedTokenizerBase
) -> None:
    records = Dataset.from_list([record("a", "rome"), record("b", "old mill")])
    settings: dict[str, Any] = {"num_best": num_best, "max_answer_tokens": 4, "null_answer": null_answer}
    sliced, apart = task(9, **settings), task(0, **settings)
    texts, windows = sliced.encode(records, bert), apart.encode(records, bert)
    random = np.random.default_rng(0)
    answers = set()
    for _ in range(30):
        logits = [random.normal(size=(len(text), 2)).astype(np.float32) for text in texts]
        cut = [part for own, text in zip(logits, texts, strict=True)
               for part in np.split(own, np.cumsum(text.sequence_lengths)[:-1])]  # fmt: skip
        for window, own in zip(windows, cut, strict=True):
            if not window.text_id.endswith("#0"):
                own[0] = 9.0  # those of windows are the least that counts; of later slices nothing does
        found = sliced.predict(texts, logits, records)
        assert found == apart.predict(windows, cut, records)
        answers |= set(found.values())
    assert len(answers) > 10


def test_no_answer_is_the_first_token_of_the_first_slice(bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([record("q", "rome")])
    sliced = task(3, null_answer=True)
    (text,) = sliced.encode(records, bert)
    scores = np.zeros((len(text), 2), dtype=np.float32)
    scores[text.sequence_lengths[0]] = 50.0  # the second slice's
    assert sliced.predict([text], [scores], records) != {"q": ""}
    scores[0] = 1.0
    assert sliced.predict([text], [scores], records) == {"q": ""}


def test_windows_must_move_on_where_there_are_several(bert: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match=r"question 'q' leaves room for 7 context tokens .* the stride 7"):
        encode(task(2, stride=ROOM), bert, record("q", "rome"))
    (text,) = encode(task(1, stride=ROOM), bert, record("q", "rome"))
    assert words_of(text) == [WORDS[:ROOM]]


def test_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match="max_slices is -1: give the windows of a text, or 0 to keep them apart"):
        SpanQA(max_slices=-1)
    assert (SpanQA().max_text_tokens, SpanQA(max_slices=1).max_text_tokens) == (384, 384)
    assert SpanQA(max_tokens=512, max_slices=8).max_text_tokens == 4096


def test_trivia_counts_aliases_by_its_own_normalisation() -> None:
    rows = [{**record("q", "rome"), "aliases": ["rock n roll"]}, {**record("r", "rome"), "aliases": []}]
    trivia = SpanQA(null_answer=False, metric="trivia")
    predictions = {"q": "Rock-n-Roll", "r": "Rome"}
    assert trivia.metrics(predictions, Dataset.from_list(rows)) == {"f1": 100.0, "exact_match": 100.0}
    assert trivia.metric_names == ("f1", "exact_match")
    # MRQA's drops the hyphens, so that one word is left.
    assert SpanQA(metric="mrqa").metrics(predictions, Dataset.from_list(rows))["exact_match"] == 50.0
    bare = Dataset.from_list(rows).remove_columns("aliases")
    assert trivia.metrics(predictions, bare)["exact_match"] == 50.0


@pytest.mark.parametrize("seed", range(5))
def test_the_best_of_all_spans_is_the_one_of_all_pairs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(40, 2)).astype(np.float32)
    stretches = np.sort(generator.integers(0, 4, 40))
    pairs = [(a, b) for a in range(40) for b in range(a, min(a + 6, 40)) if stretches[a] == stretches[b]]
    assert best_of_all(scores, stretches, 6) == max(pairs, key=lambda pair: scores[pair[0], 0] + scores[pair[1], 1])


def test_decoding_a_long_text_takes_no_memory_by_the_square_of_its_length() -> None:
    count = 20_000
    ends = np.arange(1, count + 1, dtype=np.int32)
    piece = Piece(0, np.stack([ends - 1, ends], 1))
    nothing = np.zeros(count, np.int32)
    text = SpanText("t#0", nothing, nothing, (count,), np.zeros((1, 2), np.int64), "t", (piece,))
    scores = np.stack([ends, -ends], 1).astype(np.float32)  # all best starts lie behind all best ends
    scores[700, 0] = scores[702, 1] = 3 * count
    tracemalloc.start()
    found = SpanDecoder(num_best=1, max_answer_tokens=2, always=True).ranked(text, scores, 1)[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20
    assert (found.start, found.end) == (702, 703)
