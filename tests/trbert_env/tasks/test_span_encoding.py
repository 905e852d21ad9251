"""Windows and gold spans against the stock tokenizers."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trbert_env.data import load_examples, sample
from trbert_env.tasks.span_qa import SpanQA, SpanText
from trbert_env.tasks.squad_metrics import normalize_answer


def by_example(texts: list[SpanText]) -> dict[str, list[SpanText]]:
    groups: dict[str, list[SpanText]] = {}
    for text in texts:
        groups.setdefault(text.example_id, []).append(text)
    return groups


def row(key: str, question: str, context: str, answer: str) -> dict[str, Any]:
    gold = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"id": key, "question": question, "context": context, "answers": gold}


def test_windows_equal_those_of_the_stock_tokenizer(
    family: str, tokenizer: PreTrainedTokenizerBase, examples: Dataset
) -> None:
    texts = by_example(SpanQA(max_tokens=48, stride=10).encode(examples, tokenizer))
    assert list(texts) == examples["id"][:]
    assert len(texts["who"]) > 1
    for example in examples:
        stock = tokenizer(
            example["question"],
            example["context"],
            truncation="only_second",
            max_length=48,
            stride=10,
            padding=False,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        windows = texts[example["id"]]
        assert [text.text_id for text in windows] == [f"{example['id']}#{i}" for i in range(len(stock["input_ids"]))]
        for i, text in enumerate(windows):
            context = [k for k, owner in enumerate(stock.sequence_ids(i)) if owner == 1]
            has_types = "token_type_ids" in tokenizer.model_input_names
            types = stock["token_type_ids"][i] if has_types else [0] * len(text)
            assert text.input_ids.tolist() == stock["input_ids"][i]
            assert text.token_type_ids.tolist() == types
            assert text.pieces[0].start == context[0]
            words = [stock["offset_mapping"][i][k] for k in context]
            if family in ("deberta-v2", "modernbert"):  # whose own offsets begin with the space in front of a word
                words = [
                    (start + (end - start > 1 and example["context"][start].isspace()), end) for start, end in words
                ]
            assert text.pieces[0].offsets.tolist() == [list(word) for word in words]
            arrays = (text.input_ids, text.token_type_ids, text.pieces[0].offsets)
            assert {array.dtype.name for array in arrays} == {"int32"}
            assert text.sequence_lengths == (len(text),)


def test_windows_cover_the_context_and_overlap_by_the_stride(
    tokenizer: PreTrainedTokenizerBase, examples: Dataset
) -> None:
    for windows in by_example(SpanQA(max_tokens=40, stride=7).encode(examples, tokenizer)).values():
        ids = [text.input_ids[text.pieces[0].start :][: len(text.pieces[0].offsets)].tolist() for text in windows]
        joined = ids[0] + [token for piece in ids[1:] for token in piece[7:]]
        context = examples[examples["id"][:].index(windows[0].example_id)]["context"]
        stock = tokenizer(context, add_special_tokens=False, truncation=False, padding=False)
        assert joined == stock["input_ids"]
        assert all(len(text) == 40 for text in windows[:-1])
        assert all(text.input_ids[0] == tokenizer.cls_token_id for text in windows)
        for left, right in pairwise(ids):
            assert left[-7:] == right[:7]


def test_gold_spans_decode_to_the_first_answer_or_are_null(
    tokenizer: PreTrainedTokenizerBase, examples: Dataset
) -> None:
    # Windows so small that some cut an answer in two.
    texts = SpanQA(max_tokens=30, stride=12, max_question_tokens=8).encode(examples, tokenizer)
    answered = set()
    for text in texts:
        example = examples[examples["id"][:].index(text.example_id)]
        golds = example["answers"]
        start = golds["answer_start"][0] if golds["text"] else -1
        end = start + len(golds["text"][0]) if golds["text"] else -1
        (piece,) = text.pieces
        whole = start >= piece.offsets[0, 0] and end <= piece.offsets[-1, 1]
        if not whole:
            assert text.target.tolist() == [[0, 0]]
            continue
        first, last = (text.target[0] - piece.start).tolist()
        assert example["context"][piece.offsets[first, 0] : piece.offsets[last, 1]] == golds["text"][0]
        answered.add(text.example_id)
    assert answered == {"who", "carts", "year", "word"}


def test_a_long_question_is_cut_and_the_tokenizer_is_left_alone(bert: PreTrainedTokenizerBase) -> None:
    before = bert.backend_tokenizer.to_str()
    assert bert.backend_tokenizer.truncation["max_length"] == 128  # what the arguments must override
    question = "why " * 90
    context = "stone " * 300
    texts = SpanQA().encode(Dataset.from_list([row("long", question, context, "stone")]), bert)
    assert [len(text) for text in texts] == [367]
    assert texts[0].pieces[0].start == 1 + 64 + 1
    assert bert.backend_tokenizer.to_str() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " \n"}, "example 'x' has an empty question"),
        ({"context": ""}, "example 'x' has an empty context"),
        ({"context": "\u200b"}, "example 'x' has no token in its question or context"),
        (
            {"answers": {"text": ["Oslo"], "answer_start": [3]}},
            "'x': its answer 'Oslo' .* answer_start 3.*check the data",
        ),
        (
            {"answers": {"text": ["Oslo", "lies"], "answer_start": [0, 4]}},
            "'x': its answer 'lies' .* answer_start 4",
        ),
        (
            {"answers": {"text": ["Oslo"], "answer_start": [-9]}},
            r"id 'x': answers.answer_start\[0\] is -9: give",
        ),
        (
            {"answers": {"text": ["Oslo"], "answer_start": [0, 1]}},
            "row 1, id 'x': answers has 1 text but 2 answer_start: give as many",
        ),
        ({"answers": {"text": [""], "answer_start": [0]}}, "'x': its answer '' does not fit"),
        ({"id": "ok"}, "row 1: id 'ok' comes twice, first in row 0"),
    ],
)
def test_bad_examples_are_named(change: dict[str, Any], message: str, bert: PreTrainedTokenizerBase) -> None:
    good = row("ok", "Where?", "Oslo lies by the sea.", "Oslo")
    none: dict[str, list[Any]] = {"text": [], "answer_start": []}
    bad = {**good, "id": "x", "answers": none, **change}
    with pytest.raises(ValueError, match=message) as error:
        SpanQA().encode(Dataset.from_list([good, bad]), bert)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"max_tokens": 8, "stride": 2}, {"max_tokens": 40, "stride": 35}])
def test_a_question_without_room_is_named(
    settings: dict[str, int], bert: PreTrainedTokenizerBase, examples: Dataset
) -> None:
    with pytest.raises(ValueError, match=r"question 'who' leaves room for .* raise max_tokens"):
        SpanQA(**settings).encode(examples, bert)


def test_bad_settings_and_missing_columns(bert: PreTrainedTokenizerBase, examples: Dataset) -> None:
    for name in ("max_tokens", "max_question_tokens", "num_best", "max_answer_tokens"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            SpanQA(**{name: 0})
    with pytest.raises(ValueError, match="stride is -1"):
        SpanQA(stride=-1)
    with pytest.raises(ValueError, match=r"the data set lacks the columns context: .* needs id"):
        SpanQA().encode(examples.remove_columns("context"), bert)


@pytest.mark.skipif(not os.environ.get("TRBERT_DATA"), reason="TRBERT_DATA names no folder with the real SQuAD 2.0")
def test_gold_spans_of_real_questions(bert: PreTrainedTokenizerBase) -> None:
    data = sample(load_examples("squad_v2", "train", source="local").dataset, 500)
    contexts = dict(zip(data["id"][:], data["context"][:], strict=True))
    golds = {key: gold["text"][0] for key, gold in zip(data["id"][:], data["answers"][:], strict=True) if gold["text"]}
    right = set()
    for text in SpanQA().encode(data, bert):
        assert len(text) <= 384
        assert text.target.any() <= (text.example_id in golds)
        if text.target.any():
            (piece,) = text.pieces
            first, last = text.target[0] - piece.start
            found = contexts[text.example_id][piece.offsets[first, 0] : piece.offsets[last, 1]]
            if normalize_answer(found) == normalize_answer(golds[text.example_id]):
                right.add(text.example_id)
    assert len(golds) > 250
    assert len(right) >= 0.99 * len(golds)
