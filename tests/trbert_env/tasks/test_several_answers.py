"""Questions with several right answers, and questions that always have one: MRQA's sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, PreTrainedTokenizerBase

from trbert_env.encoder.texts import TextBatch
from trbert_env.tasks.span_qa import SpanQA, SpanText

CONTEXT = "Oslo lies by the sea and Oslo has a mill by the old town hall"
#: As they are used for MRQA's sets.
MRQA: dict[str, Any] = {"null_answer": False, "golds": "all", "metric": "mrqa"}


def record(key: str, *answers: tuple[str, int], aliases: tuple[str, ...] = ()) -> dict[str, Any]:
    golds = {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]}
    return {"id": key, "context": CONTEXT, "question": "Where?", "answers": golds, "aliases": list(aliases)}


SEA = CONTEXT.index("the sea")
SECOND = CONTEXT.index("Oslo", 1)
HALL = CONTEXT.index("old town hall")
#: "Oslo", and "Oslo lies": two answers that begin at one token; the second "Oslo" ends elsewhere.
SHARED = record("shared", ("Oslo", 0), ("Oslo lies", 0), ("Oslo", SECOND))
LATE = record("late", ("old town hall", HALL), ("town hall", HALL + 4))
NOTHING = record("nothing")


def words(text: SpanText, target: Any) -> list[str]:
    """The words of the context at indices of a window, "" for padding."""
    found = []
    for place in target.tolist():
        begin, end = text.pieces[0].offsets[place - text.pieces[0].start] if place >= 0 else (0, 0)
        found.append(CONTEXT[begin:end])
    return found


def holds_answer(text: SpanText) -> bool:
    """Whether an answer, which is never [CLS], is among the tokens."""
    return bool((text.target > 0).any())


def test_targets_are_the_distinct_starts_and_ends(bert: PreTrainedTokenizerBase) -> None:
    (text,) = SpanQA(**MRQA).encode(Dataset.from_list([SHARED]), bert)
    assert (text.target.shape, text.target.dtype.name) == ((3, 2), "int64")
    # Starts: both places of Oslo, once each. Ends: Oslo, lies, the second Oslo.
    assert words(text, text.target[:, 0]) == ["Oslo", "Oslo", ""]
    assert words(text, text.target[:, 1]) == ["Oslo", "lies", "Oslo"]
    assert text.target[:, 0].tolist()[2] == -1
    assert len(set(text.target[:2, 0].tolist())) == 2
    (first,) = SpanQA().encode(Dataset.from_list([SHARED]), bert)
    assert first.target.tolist() == [[text.target[0, 0], text.target[0, 1]]]


def test_a_batch_pads_targets_and_null_is_the_first_token(bert: PreTrainedTokenizerBase) -> None:
    task = SpanQA(golds="all")
    texts = task.encode(Dataset.from_list([SHARED, LATE, NOTHING]), bert)
    targets = task.targets(texts)
    assert targets.shape == (3, 3, 2)
    assert targets[2].tolist() == [[0, 0], [-1, -1], [-1, -1]]
    assert targets[1, :, 1].tolist()[1:] == [-1, -1]  # both answers of "late" end at one token
    assert targets[1, 2].tolist() == [-1, -1]


def test_every_window_has_the_answers_that_lie_in_it(bert: PreTrainedTokenizerBase) -> None:
    texts = SpanQA(max_tokens=12, stride=3, **MRQA).encode(Dataset.from_list([SHARED, LATE]), bert)
    assert len(texts) > 4
    for text in texts:
        inside = CONTEXT[text.pieces[0].offsets[0, 0] : text.pieces[0].offsets[-1, 1]]
        starts = words(text, text.target[:, 0]) if holds_answer(text) else []
        if text.example_id == "shared":
            assert starts.count("Oslo") == inside.count("Oslo")
        elif "old town hall" in inside:
            assert starts == ["old", "town"]
        elif "town hall" in inside:
            assert starts == ["town"]
        else:
            assert starts == []


@pytest.mark.parametrize(
    ("null_answer", "training", "left_out"),
    [(False, True, True), (False, False, False), (True, True, False), (True, False, False), (None, True, False)],
)
def test_windows_without_an_answer(
    null_answer: bool | None, training: bool, left_out: bool, bert: PreTrainedTokenizerBase
) -> None:
    task = SpanQA(max_tokens=12, stride=3, golds="all", null_answer=null_answer)
    records = Dataset.from_list([SHARED, LATE])
    texts = task.encode(records, bert, training=training)
    assert all(map(holds_answer, texts)) is left_out
    null = [[-1, -1]] if null_answer is False else [[0, 0]]
    assert all(text.target.tolist() == null for text in texts if not holds_answer(text))
    everything = SpanQA(max_tokens=12, stride=3, golds="all").encode(records, bert)
    wanted = [text.text_id for text in everything if holds_answer(text) or not left_out]
    assert [text.text_id for text in texts] == wanted


def test_windows_without_an_answer_add_nothing_where_there_is_always_one(bert: PreTrainedTokenizerBase) -> None:
    task = SpanQA(max_tokens=12, stride=3, **MRQA)
    texts = task.encode(Dataset.from_list([SHARED, LATE]), bert)
    layout = TextBatch.from_texts(list(texts)).layout
    logits = torch.randn(layout.total_tokens, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = task.targets(texts)
    assert task.has_gold(targets).tolist() == list(map(holds_answer, texts))
    assert not all(map(holds_answer, texts))
    found = task.log_likelihood(logits, layout, targets)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    for text, likelihood, own in zip(texts, found.tolist(), gradient.split(list(map(len, texts))), strict=True):
        assert (likelihood < 0, bool(own.any())) == (holds_answer(text), holds_answer(text))
    with_null = SpanQA(max_tokens=12, stride=3, golds="all")  # where there may be none, that is the answer
    assert with_null.has_gold(with_null.targets(with_null.encode(Dataset.from_list([SHARED, LATE]), bert))).all()


def test_the_records_tell_whether_there_may_be_no_answer() -> None:
    for rows, expected in (([SHARED, LATE], False), ([SHARED, NOTHING], True)):
        task = SpanQA(null_answer=None)
        task.configure(BertConfig(), Dataset.from_list(rows))
        assert task.null_answer is expected
    given = SpanQA(null_answer=True)
    given.configure(BertConfig(), Dataset.from_list([SHARED]))
    assert given.null_answer is True


@pytest.mark.parametrize("num_best", [1, 2, 20])
def test_it_never_abstains_where_there_is_always_an_answer(num_best: int, bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([SHARED, LATE])
    task = SpanQA(max_tokens=12, stride=3, num_best=num_best, max_answer_tokens=3, **MRQA)
    texts = task.encode(records, bert)
    random = np.random.default_rng(0)
    for _ in range(30):
        logits = [random.normal(size=(len(text), 2)).astype(np.float32) for text in texts]
        for scores in logits:
            scores[0] = 50.0  # no answer, by far
        assert all(task.predict(texts, logits, records).values())


def test_starts_behind_ends_still_give_the_best_span(bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([SHARED])
    task = SpanQA(num_best=1, **MRQA)
    (text,) = task.encode(records, bert)
    scores = np.zeros((len(text), 2), dtype=np.float32)
    scores[text.pieces[0].start + 3, 0] = 9.0  # "the"
    scores[text.pieces[0].start + 1, 1] = 9.5  # "lies", before it
    assert task.predict([text], [scores], records) == {"shared": "Oslo lies"}
    scores[text.pieces[0].start + 4, 1] = 1.0  # "the sea": 10 in all
    assert task.predict([text], [scores], records) == {"shared": "the sea"}


def test_the_best_window_wins_whatever_its_null(bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([LATE])
    task = SpanQA(max_tokens=12, stride=3, **MRQA)
    texts = task.encode(records, bert)
    for best in range(len(texts)):
        logits = [np.zeros((len(text), 2), dtype=np.float32) for text in texts]
        for index, (text, scores) in enumerate(zip(texts, logits, strict=True)):
            scores[text.pieces[0].start + 1] = 5.0 if index == best else 4.0
            scores[0] = 100.0 if index == best else -100.0
        begin, end = texts[best].pieces[0].offsets[1]
        assert task.predict(texts, logits, records) == {"late": CONTEXT[begin:end]}


def test_aliases_count_for_the_metric(bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([record("a", ("Oslo", 0), aliases=("Christiania", "Oslo")), LATE])
    task = SpanQA(**MRQA)
    assert task.metrics({"a": "Christiania", "late": "town hall"}, records)["exact_match"] == 100.0
    assert task.metrics({"a": "Oslo", "late": "hall"}, records) == {
        "f1": pytest.approx(100 * (1 + 2 / 3) / 2),
        "exact_match": 50.0,
    }
    # What was found in the context, and is none of the answers, is none by the official script either.
    other = Dataset.from_list([record("a", ("Oslo lies", 0), aliases=("Christiania", "Oslo")), LATE])
    assert task.metrics({"a": "Oslo lies", "late": "town hall"}, other)["exact_match"] == 50.0
    # SQuAD's metric knows no aliases, and neither does a data set without such a column.
    assert SpanQA().metrics({"a": "Christiania", "late": "town hall"}, records)["exact_match"] == 50.0
    bare = records.remove_columns("aliases")
    assert task.metrics({"a": "Christiania", "late": "town hall"}, bare)["exact_match"] == 50.0
