"""Answers to questions as strings: windows, spans and no answer, as the task of the model decodes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint
from datasets.table import InMemoryTable
from transformers import PreTrainedTokenizerBase

from trbert_env.data.records import SPAN_QA
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.batching import pass_rows
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.tasks.span_qa import SpanQA


def answer_questions(
    model: TokenReducedModel | ExportedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
) -> list[str]:
    """Answer questions by spans of their contexts, as evaluations do.

    A context that does not fit is read in windows; settings such as the longest answer are those of the model's task.

    Args:
        model: A question-answering model, on any device, or its export.
        tokenizer: The fast tokenizer that was saved with it.
        questions: The questions.
        contexts: The context of each question.

    Returns:
        One answer a question, in their order; ``""`` where the context has none.

    Raises:
        ValueError: The model answers no questions, there is not one context a question, or one of them is empty.

    Example:
        >>> model = TokenReducedModel.from_pretrained("runs/SQuAD2/.../model")  # doctest: +SKIP
        >>> answer_questions(model, tokenizer, ["Who sold drums?"], ["Ada sold drums."])  # doctest: +SKIP
        ['Ada']
    """
    task = model.task
    if not isinstance(task, SpanQA):
        raise ValueError(f"the model's task is {type(task).__name__}: give a model that was trained on SpanQA")
    if len(questions) != len(contexts):
        raise ValueError(f"{len(questions)} questions but {len(contexts)} contexts: give one context a question")
    records = _records(questions, contexts)
    texts = task.encode(records, tokenizer)
    return list(task.predict(texts, _logits(model, texts), records).values())


def _records(questions: Sequence[str], contexts: Sequence[str]) -> Dataset:
    """Records without answers, whose ids are their numbers."""
    unknown: dict[str, list[str]] = {"text": [], "answer_start": []}
    rows = [
        {"id": str(number), "question": question, "context": context, "answers": unknown}
        for number, (question, context) in enumerate(zip(questions, contexts, strict=True))
    ]
    form = pa.schema([(name, kind.type) for name, kind in SPAN_QA.columns.items()])
    # In memory and under a fingerprint of its own: nothing is written to the cache of `datasets`.
    table = InMemoryTable(pa.Table.from_pylist(rows, schema=form))
    return Dataset(table, fingerprint=generate_random_fingerprint())


def _logits(model: TokenReducedModel | ExportedModel, texts: Sequence[EncodedText]) -> list[npt.NDArray[np.float32]]:
    """Logits of each text, ``(n, 2)``."""
    found: list[npt.NDArray[np.float32]] = []
    rows = pass_rows(model.device)
    with torch.inference_mode():
        for first in range(0, len(texts), rows):
            batch = TextBatch.from_texts(texts[first : first + rows], model.device)
            logits = model.forward_packed(batch).logits.float().cpu()
            found += [piece.numpy() for piece in model.task.split(logits, batch.layout)]
    return found
