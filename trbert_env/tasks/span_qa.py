"""Extractive question answering over sliding windows, with unanswerable questions (SQuAD 2.0)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, PreTrainedModel, PreTrainedTokenizerBase

from trbert_env.tasks.base import EncodedText, Task
from trbert_env.tasks.span_encoding import (
    Frame,
    Row,
    SpanText,
    Tokens,
    bare_backend,
    checked_rows,
    frame_of,
    gold_tokens,
    tokenise,
    window_ranges,
)
from trbert_env.tasks.squad_metrics import squad_metrics

__all__ = ["SpanQA", "SpanText"]


class _Span(NamedTuple):
    """A span of characters of the context and the sum of its start and end logits."""

    score: float
    start: int
    end: int


class SpanQA(Task):
    """Reads an answer off the context as a pair of token indices; (0, 0), the [CLS] token, is no answer.

    Args:
        max_tokens: The most tokens of a window, special tokens included.
        stride: Context tokens that neighbouring windows share.
        max_question_tokens: Where a question is cut.
        num_best: How many starts and ends of a window are combined when decoding.
        max_answer_tokens: The most tokens of a predicted answer.
        null_threshold: How far, in logits, no answer must exceed the best span to be predicted.

    Raises:
        ValueError: If a value is out of range.
    """

    auto_model = AutoModelForQuestionAnswering
    token_logits = 2

    def __init__(
        self,
        max_tokens: int = 384,
        stride: int = 128,
        max_question_tokens: int = 64,
        num_best: int = 20,
        max_answer_tokens: int = 30,
        null_threshold: float = 0.0,
    ) -> None:
        """Check and keep the settings."""
        positive = {
            "max_tokens": max_tokens,
            "max_question_tokens": max_question_tokens,
            "num_best": num_best,
            "max_answer_tokens": max_answer_tokens,
        }
        for name, value in positive.items():
            if value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")
        if stride < 0:
            raise ValueError(f"stride is {stride}: give the overlap of neighbouring windows, at least 0")
        self.max_tokens = max_tokens
        self.stride = stride
        self.max_question_tokens = max_question_tokens
        self.num_best = num_best
        self.max_answer_tokens = max_answer_tokens
        self.null_threshold = null_threshold

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase) -> list[SpanText]:
        """Tokenise questions and contexts into windows, in the order of the examples.

        The tokenizer is left as it was, and its own truncation and padding play no part.

        Args:
            examples: Columns ``id, question, context, answers{text, answer_start}``.
            tokenizer: A fast tokenizer.

        Raises:
            ValueError: If an example is empty, its answer does not fit its context, its id comes twice or
                its question leaves no room in the window; or if the tokenizer is not a fast one.
        """
        rows = checked_rows(examples)
        if not rows:
            return []
        backend = bare_backend(tokenizer)
        questions = tokenise(backend, [row.question for row in rows])
        contexts = tokenise(backend, [row.context for row in rows])
        for row in rows:
            if not len(questions[row.question].ids) or not len(contexts[row.context].ids):
                raise ValueError(f"example {row.id!r} has no token in its question or context: check the data")
        probe = backend.encode(rows[0].question, rows[0].context)
        frame = frame_of(probe, has_segments="token_type_ids" in tokenizer.model_input_names)
        return [
            text for row in rows for text in self._windows(row, questions[row.question], contexts[row.context], frame)
        ]

    def _windows(self, row: Row, question: Tokens, context: Tokens, frame: Frame) -> Iterator[SpanText]:
        question_ids = question.ids[: self.max_question_tokens]
        room = self.max_tokens - len(frame) - len(question_ids)
        self._check_room(row.id, room, len(context.ids))
        context_start = len(frame.before) + len(question_ids) + len(frame.between)
        gold = gold_tokens(context, row.gold)
        for window, (first, last) in enumerate(window_ranges(len(context.ids), room, self.stride)):
            inside = gold is not None and first <= gold[0] and gold[1] < last
            target = [index - first + context_start for index in gold] if gold and inside else [0, 0]
            input_ids, token_type_ids = frame.around(question_ids, context.ids[first:last])
            yield SpanText(
                text_id=f"{row.id}#{window}",
                input_ids=input_ids,
                token_type_ids=token_type_ids,
                sequence_lengths=(len(input_ids),),
                target=np.array(target, dtype=np.int64),
                example_id=row.id,
                context_start=context_start,
                offsets=context.offsets[first:last],
            )

    def _check_room(self, key: str, room: int, count: int) -> None:
        if room < 1 or (count > room and room <= self.stride):
            raise ValueError(
                f"question {key!r} leaves room for {max(room, 0)} context tokens in a window of "
                f"{self.max_tokens}, which must be more than the stride {self.stride}: raise max_tokens "
                f"(or lower stride or max_question_tokens)"
            )

    def logits(self, model: PreTrainedModel, states: Tensor, text_lengths: Tensor) -> Tensor:
        """Start and end logits of every token, ``(total_tokens, 2)`` float32.

        Args:
            model: A model made by :attr:`auto_model`.
            states: ``(total_tokens, hidden)``, texts laid end to end.
            text_lengths: ``(num_texts,)`` int64, not needed here.

        Raises:
            ValueError: If the model has no question-answering head.
        """
        head = getattr(model, "qa_outputs", None)
        if head is None:
            raise ValueError(f"{type(model).__name__} has no qa_outputs: load it with {self.auto_model.__name__}")
        # DistilBERT alone has dropout here; in evaluation mode it does nothing.
        dropout = getattr(model, "dropout", None)
        head_input = states if dropout is None else dropout(states)
        result: Tensor = head(head_input).float()
        return result

    def log_likelihood(self, logits: Tensor, text_lengths: Tensor, targets: Tensor) -> Tensor:
        """(log p_start + log p_end) / 2 of the gold span, softmax over the tokens of a text.

        Args:
            logits: ``(total_tokens, 2)``.
            text_lengths: ``(num_texts,)`` int64.
            targets: ``(num_texts, 2)`` int64, start and end within the text.

        Returns:
            ``(num_texts,)`` float32, in nats.

        Raises:
            ValueError: If the lengths do not sum to the number of logits.
        """
        log_probabilities, _ = _log_softmax_by_text(logits, text_lengths)
        gold = targets.to(logits.device)[:, None, :]
        return log_probabilities.gather(1, gold).squeeze(1).mean(dim=-1)

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, text_lengths: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """KL(teacher || student), the mean of start's and end's; see :meth:`Task.divergence`.

        Args:
            logits: ``(total_tokens, 2)``.
            teacher_logits: ``(total_tokens, 2)``.
            text_lengths: ``(num_texts,)`` int64.
            temperature: Both distributions are softened by it.
        """
        student, real = _log_softmax_by_text(logits / temperature, text_lengths)
        teacher, _ = _log_softmax_by_text(teacher_logits.detach() / temperature, text_lengths)
        # Padding has probability 0 on both sides: take it out before 0 times infinity is formed.
        student, teacher = (values.masked_fill(~real[..., None], 0.0) for values in (student, teacher))
        terms = (teacher.exp() * (teacher - student)).masked_fill(~real[..., None], 0.0)
        return terms.sum(1).mean(-1) * temperature**2

    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], examples: Dataset
    ) -> dict[str, str]:
        """Decode one answer for every example, ``""`` for none, in the order of the examples.

        Within a window the ``num_best`` starts and ends of the context are combined; the best window wins.
        The score of no answer is the least over the windows.

        Args:
            texts: All windows of the examples, as made by :meth:`encode`, in any order.
            logits: ``(n, 2)`` for each window.
            examples: Columns ``id, context``.

        Raises:
            ValueError: If the three do not belong together, or logits are NaN.
        """
        if len(texts) != len(logits):
            raise ValueError(f"{len(texts)} texts but {len(logits)} arrays of logits: give one for each text")
        best: dict[str, _Span] = {}
        null: dict[str, float] = {}
        for text, scores in zip(texts, logits, strict=True):
            if not isinstance(text, SpanText):
                raise ValueError(f"text {text.text_id!r} is a {type(text).__name__}: give the texts of encode()")
            span = self._best_span(text, scores)
            key = text.example_id
            null[key] = min(null.get(key, np.inf), float(scores[0, 0]) + float(scores[0, 1]))
            if key not in best or span.score > best[key].score:
                best[key] = span
        columns = examples.with_format(None).select_columns(["id", "context"])[:]
        contexts = dict(zip(columns["id"], columns["context"], strict=True))
        wrong = sorted(null.keys() ^ contexts.keys())
        if wrong:
            raise ValueError(
                f"question {wrong[0]!r} is not in both texts and examples: give all windows of all examples"
            )
        return {
            key: "" if null[key] - best[key].score > self.null_threshold else context[best[key].start : best[key].end]
            for key, context in contexts.items()
        }

    def _best_span(self, text: SpanText, scores: npt.NDArray[np.float32]) -> _Span:
        if scores.shape != (len(text), 2) or np.isnan(scores).any():
            raise ValueError(f"logits of text {text.text_id!r} are {scores.shape}: give ({len(text)}, 2) without NaN")
        inside = scores[text.context_start : text.context_start + len(text.offsets)]
        order = np.argsort(-inside, axis=0, kind="stable")[: self.num_best]
        starts, ends = order[:, 0], order[:, 1]
        lengths = ends[None, :] - starts[:, None] + 1
        valid = (lengths >= 1) & (lengths <= self.max_answer_tokens)
        totals = np.where(valid, inside[starts, 0][:, None] + inside[ends, 1][None, :], -np.inf)
        row, column = np.unravel_index(np.argmax(totals), totals.shape)
        if not valid[row, column]:
            return _Span(-np.inf, 0, 0)
        return _Span(float(totals[row, column]), int(text.offsets[starts[row], 0]), int(text.offsets[ends[column], 1]))

    def metrics(self, predictions: Mapping[str, Any], examples: Dataset) -> dict[str, float]:
        """SQuAD 2.0 metrics from 0 to 100: see :func:`~trbert_env.tasks.squad_metrics.squad_metrics`."""
        columns = examples.with_format(None).select_columns(["id", "answers"])[:]
        golds = {key: gold["text"] for key, gold in zip(columns["id"], columns["answers"], strict=True)}
        return squad_metrics(predictions, golds)


def _log_softmax_by_text(logits: Tensor, text_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Log-softmax over the tokens of each text: ``(num_texts, longest, 2)`` float32, and which entries are real.

    Raises:
        ValueError: The lengths do not sum to the number of logits.
    """
    lengths = text_lengths.to(logits.device)
    if int(lengths.sum()) != len(logits):
        raise ValueError(f"text_lengths sum to {int(lengths.sum())} for {len(logits)} logits: they must agree")
    longest = int(lengths.max()) if len(lengths) else 0
    real = torch.arange(longest, device=logits.device) < lengths[:, None]
    padded = logits.new_full((len(lengths), longest, 2), -torch.inf, dtype=torch.float32)
    return padded.masked_scatter(real[..., None], logits.float()).log_softmax(dim=1), real
