"""Answers to questions: windows, spans and no answer, as the task of the model decodes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trbert_env.data.records import SPAN_QA, records_of
from trbert_env.deploy.raw_texts import logits_of, strings, tokenizer_of
from trbert_env.tasks.span_decoding import FoundSpans
from trbert_env.tasks.span_qa import SpanQA

if TYPE_CHECKING:
    from trbert_env.deploy.export.model import ExportedModel
    from trbert_env.deploy.model import TokenReducedModel


@dataclass(frozen=True)
class Answer:
    """An answer that was read off a context.

    Attributes:
        text: Words of the answer, as they stand in the context; ``""`` for no answer.
        start: Index of its first character in the context.
        end: One past the index of its last character; of no answer both are 0.
        score: Sum of its start and end logits; of no answer the sum of those of the first token.
        probability: Softmax of the scores of the task's ``num_best`` best spans and of no answer, where there may be
            none.
        no_answer_probability: Sigmoid of the score of no answer minus that of the best span; 0 where the model always
            answers. It is the same for all answers to a question.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float
    no_answer_probability: float


class AnswersQuestions:
    """Methods that models that answer questions share with their exports."""

    @overload
    def answer(
        self,
        question: str,
        context: str,
        *,
        tokenizer: PreTrainedTokenizerBase | None = ...,
        null_threshold: float | None = ...,
        top_k: None = ...,
    ) -> Answer: ...

    @overload
    def answer(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        tokenizer: PreTrainedTokenizerBase | None = ...,
        null_threshold: float | None = ...,
        top_k: int | None = ...,
    ) -> Any: ...

    def answer(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        null_threshold: float | None = None,
        top_k: int | None = None,
    ) -> Any:
        """Answer one question or many; see :func:`~trbert_env.deploy.answering.answer`."""
        model = cast("TokenReducedModel | ExportedModel", self)
        return answer(model, question, context, tokenizer=tokenizer, null_threshold=null_threshold, top_k=top_k)


def answer(
    model: TokenReducedModel | ExportedModel,
    question: str | Sequence[str],
    context: str | Sequence[str],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    null_threshold: float | None = None,
    top_k: int | None = None,
) -> Any:
    """Answer questions by spans of their contexts, as evaluations do.

    A context that does not fit is read in windows; settings such as the longest answer are those of the model's task.

    Args:
        model: A question-answering model, on any device, or its export.
        question: A question, or many; one is asked on each context.
        context: A context, or the context of each question; every question is asked on one.
        tokenizer: The fast tokenizer that was saved with the model; None to load it from where the model is from.
        null_threshold: Logits by which no answer must exceed the best span to be given; None for the task's.
        top_k: The most answers to a question, no answer among them where there may be none; None for the best alone.

    Returns:
        An :class:`Answer`; with ``top_k`` a list of answers, the one that is given first, then by score. Of many
        questions, a list of these in their order.

    Raises:
        TypeError: Questions or contexts are no strings.
        ValueError: The model answers no questions, there is not one context a question, or one of them is empty; no
            tokenizer is known; or an option is out of range or has no meaning for the model.

    Example:
        >>> answer(model, "Who sold drums?", "Ada sold drums.").text  # doctest: +SKIP
        'Ada'
    """
    task = _task_of(model)
    _check_options(task, null_threshold, top_k)
    questions, contexts = _paired(question, context)
    texts_of = tokenizer_of(model) if tokenizer is None else tokenizer
    found = _found_spans(model, task, texts_of, questions, contexts)
    threshold = task.null_threshold if null_threshold is None else null_threshold
    ranked = [_answers(task, one, text, threshold) for one, text in zip(found, contexts, strict=True)]
    results = [answers[0] if top_k is None else answers[:top_k] for answers in ranked]
    return results[0] if isinstance(question, str) and isinstance(context, str) else results


def answer_questions(
    model: TokenReducedModel | ExportedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
) -> list[str]:
    """Answer questions by strings; see :func:`answer`, which tells more of them.

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
        >>> answer_questions(model, tokenizer, ["Who sold drums?"], ["Ada sold drums."])  # doctest: +SKIP
        ['Ada']
    """
    return [found.text for found in answer(model, list(questions), list(contexts), tokenizer=tokenizer)]


def _task_of(model: TokenReducedModel | ExportedModel) -> SpanQA:
    task = model.task
    if not isinstance(task, SpanQA):
        raise ValueError(f"the model's task is {type(task).__name__}: give a model that was trained on SpanQA")
    return task


def _check_options(task: SpanQA, null_threshold: float | None, top_k: int | None) -> None:
    """Refuse options that would change nothing, or cannot.

    Raises:
        ValueError: One does.
    """
    if null_threshold is not None and task.null_answer is False:
        raise ValueError("the model always answers (its task has null_answer False): leave null_threshold out")
    if null_threshold is not None and np.isnan(null_threshold):
        raise ValueError("null_threshold is NaN: give a difference of logits")
    if top_k is not None and not 1 <= top_k <= task.num_best:
        raise ValueError(f"top_k is {top_k}: give 1 to {task.num_best}, the num_best of the model's task")


def _paired(question: str | Sequence[str], context: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Questions and contexts, one of each a row.

    Raises:
        TypeError: They are no strings.
        ValueError: There are not as many of both.
    """
    questions, contexts = strings("question", question), strings("context", context)
    if isinstance(question, str):
        questions *= len(contexts)
    if isinstance(context, str):
        contexts *= len(questions)
    if len(questions) != len(contexts):
        raise ValueError(f"{len(questions)} questions but {len(contexts)} contexts: give one context a question")
    return questions, contexts


def _found_spans(
    model: TokenReducedModel | ExportedModel,
    task: SpanQA,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
) -> list[FoundSpans]:
    """The ``num_best`` best spans of each question."""
    records = _records(questions, contexts)
    texts = task.encode(records, tokenizer)
    ids = [str(number) for number in range(len(questions))]
    return list(task.decode(texts, logits_of(model, texts), ids, task.num_best).values())


def _answers(task: SpanQA, found: FoundSpans, context: str, threshold: float) -> list[Answer]:
    """All answers to a question: the one that is given first, then by score."""
    may_be_none = task.null_answer is not False
    spans = [span.whole(context) for span in found.spans if np.isfinite(span.score)]
    scores = np.array([*(span.score for span in spans), *([found.null] if may_be_none else [])])
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    missing = _sigmoid(found.null - found.best.score) if may_be_none else 0.0
    answers = [
        Answer(span.of(context), span.start, span.end, span.score, float(share), missing)
        for span, share in zip(spans, probabilities, strict=False)
    ]
    if not may_be_none:
        return answers
    none = Answer("", 0, 0, found.null, float(probabilities[-1]), missing)
    better = 0 if task.has_none(found, threshold) else sum(one.score >= none.score for one in answers) or 1
    return [*answers[:better], none, *answers[better:]]


def _sigmoid(value: float) -> float:
    return float(0.5 * (1.0 + np.tanh(0.5 * value)))


def _records(questions: Sequence[str], contexts: Sequence[str]) -> Dataset:
    """Records without answers, whose ids are their numbers."""
    unknown: dict[str, list[str]] = {"text": [], "answer_start": []}
    rows = [
        {"id": str(number), "question": question, "context": context, "answers": unknown}
        for number, (question, context) in enumerate(zip(questions, contexts, strict=True))
    ]
    return records_of(rows, SPAN_QA)
