"""Questions that begin with white space, and answers that end in a combining mark, under every family's tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trbert_env.tasks import CandidateQA, MultiHopQA, MultipleChoice, SpanQA, Task

CONTEXT = "They met at the cafe\u0301 by the sea."
BLANKS = " " * 80 + "\n\t"


def span(question: str) -> dict[str, Any]:
    return {"question": question, "context": CONTEXT, "answers": {"text": ["sea"], "answer_start": [29]}}


def choice(question: str) -> dict[str, Any]:
    return {"group": "g", "article": CONTEXT, "question": question, "options": ["sea", "moor"], "answer": 0}


def hops(question: str) -> dict[str, Any]:
    return {
        "question": question,
        "paragraphs": {"title": ["Cafe"], "sentences": [[CONTEXT]]},
        "answer": "sea",
        "kind": "span",
        "spans": {"paragraph": [0], "start": [29], "text": ["sea"]},
        "supports": {"title": ["Cafe"], "sentence": [0]},
        "subset": None,
    }


def candidates(question: str) -> dict[str, Any]:
    return {"query": question, "candidates": ["sea", "moor"], "supports": [CONTEXT], "answer": 0}


@pytest.mark.parametrize(
    ("task", "record"),
    [(SpanQA(), span), (MultipleChoice(), choice), (MultiHopQA(), hops), (CandidateQA(), candidates)],
    ids=["span", "choice", "hops", "candidates"],
)
def test_white_space_before_a_question_takes_no_place(
    task: Task, record: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    if isinstance(task, (MultiHopQA, CandidateQA)):
        tokenizer.add_tokens(["[unused1]", "[unused2]"])
    rows = [
        {"id": str(number), **record(text)} for number, text in enumerate(["Where is it?", f"{BLANKS}Where is it?"])
    ]
    bare, blank = task.encode(Dataset.from_list(rows), tokenizer)
    assert blank.input_ids.tolist() == bare.input_ids.tolist()


def test_an_answer_keeps_the_mark_at_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    task = SpanQA(null_answer=False)
    assert CONTEXT[29:32] == "sea"
    records = Dataset.from_list([{"id": "a", **span("Where?")}])
    (text,) = task.encode(records, tokenizer)
    offsets = text.pieces[0].offsets
    first = int(np.flatnonzero(offsets[:, 1] > CONTEXT.index("cafe"))[0])
    last = int(np.flatnonzero(offsets[:, 0] < CONTEXT.index("cafe") + 5)[-1])
    logits = np.zeros((len(text), 2), dtype=np.float32)
    logits[text.pieces[0].start + first, 0] = logits[text.pieces[0].start + last, 1] = 9.0
    assert task.predict([text], [logits], records)["a"].strip() == "cafe\u0301"
