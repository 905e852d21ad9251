"""Extractive question answering over windows of a context: SQuAD 2.0 and 1.1, MRQA's sets, one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from trbert_env.data.bare_tokenizer import bare_backend
from trbert_env.data.records import SPAN_QA, columns
from trbert_env.data.schema import Schema
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import spread, without_padding
from trbert_env.tasks.base import EncodedText, Task
from trbert_env.tasks.by_text import divergence_by_text, log_softmax_by_text
from trbert_env.tasks.encoding import Tokens, tokenise
from trbert_env.tasks.heads import span_logits
from trbert_env.tasks.mrqa_metrics import mrqa_metrics
from trbert_env.tasks.reading import Bools, OwnField, TokenNotes, no_tokens, touched
from trbert_env.tasks.span_decoding import BestSpan, FoundSpans, SpanDecoder, ranked_spans
from trbert_env.tasks.span_encoding import Row, SpanText, checked_rows, frame_of, gold_tokens, window_ranges
from trbert_env.tasks.squad_metrics import squad_metrics
from trbert_env.tasks.trivia_metrics import trivia_metrics
from trbert_env.tasks.windows import Question, Windows

__all__ = ["SpanQA", "SpanText"]

#: What readers are told of a question that has no answer.
NO_ANSWER = "no answer"

#: Metrics by their name in the settings.
_MEASURES: dict[str, Callable[[Mapping[str, str], Mapping[str, Sequence[str]]], dict[str, float]]] = {
    "squad": squad_metrics,
    "mrqa": mrqa_metrics,
    "trivia": trivia_metrics,
}


@dataclass
class SpanQA(Task):
    """Reads an answer off the context as a pair of token indices; (0, 0), the [CLS] token, is no answer.

    Attributes:
        max_tokens: The most tokens of a window, special tokens included.
        stride: Context tokens that neighbouring windows share.
        max_slices: The most windows that make one text, as its sequences: the first ones of a context, whose answer is
            one distribution over the tokens of all of them. What lies beyond is cut. 0 makes each window a text of its
            own.
        max_question_tokens: Tokens that a question is cut at.
        num_best: Starts and ends of a window that are combined when decoding.
        max_answer_tokens: The most tokens of a predicted answer.
        null_threshold: Logits by which no answer must exceed the best span to be predicted.
        null_answer: True if a question may have no answer. If False, texts without an answer are left out of training,
            and an answer is always predicted. With None, the records that :meth:`configure` sees tell.
        golds: ``"first"`` rewards the first answer alone; ``"all"`` the summed probability of all answers. An answer
            that stands in several slices, for these overlap, counts in each.
        metric: ``"squad"``, or ``"mrqa"`` or ``"trivia"`` with their own normalisation and with the records' aliases.
    """

    auto_model: ClassVar[Any] = AutoModelForQuestionAnswering
    num_logits: ClassVar[int] = 2
    part_names: ClassVar[tuple[str, str]] = ("question", "passage")
    settled_by_data: ClassVar[tuple[str, ...]] = ("null_answer",)
    own_fields: ClassVar[tuple[OwnField, ...]] = (
        OwnField("question", "Question", lines=1),
        OwnField("context", "Context"),
    )
    later_settings: ClassVar[frozenset[str]] = frozenset({"max_slices"})

    max_tokens: int = 384
    stride: int = 128
    max_slices: int = 0
    max_question_tokens: int = 64
    num_best: int = 20
    max_answer_tokens: int = 30
    null_threshold: float = 0.0
    null_answer: bool | None = True
    golds: Literal["first", "all"] = "first"
    metric: Literal["squad", "mrqa", "trivia"] = "squad"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: A value is out of range.
        """
        for name in ("max_tokens", "max_question_tokens", "num_best", "max_answer_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.stride < 0:
            raise ValueError(f"stride is {self.stride}: give the overlap of neighbouring windows, at least 0")
        if self.max_slices < 0:
            raise ValueError(f"max_slices is {self.max_slices}: give the windows of a text, or 0 to keep them apart")

    @property
    def max_text_tokens(self) -> int:
        """Tokens of a window, or of all slices together."""
        return self.max_tokens * max(self.max_slices, 1)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """F1 and exact match; where a question may have no answer, also F1 of those that have one."""
        some_have_none = self.metric == "squad" and self.null_answer is not False
        return ("f1", "exact_match", *(("has_answer_f1",) if some_have_none else ()))

    def configure(self, config: PreTrainedConfig, records: Dataset | None = None, labels: Sequence[str] = ()) -> None:
        """Settle whether questions may have no answer; see :meth:`Task.configure`."""
        super().configure(config, records, labels)
        if self.null_answer is None and records is not None:
            (answers,) = columns(records, "answers")
            self.null_answer = not all(answer["text"] for answer in answers)

    def encode(
        self, records: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool = False
    ) -> Sequence[SpanText]:
        """Tokenise questions and contexts into texts of one or several windows, in the order of the records.

        The tokenizer is left as it was, and its own truncation and padding play no part.

        Args:
            records: Columns ``id, question, context, answers{text, answer_start}``.
            tokenizer: A fast tokenizer.
            training: True to leave out texts without an answer, where every question has one.

        Raises:
            ValueError: If an example is empty, its answer does not fit its context, its id comes twice or
                its question leaves no room in the window; or if the tokenizer is not a fast one.
        """
        backend = bare_backend(tokenizer)
        found: list[tuple[Row, int]] = []
        places: dict[str, int] = {}
        for row in checked_rows(records):
            found.append((row._replace(context=""), places.setdefault(row.context, len(places))))
        if not found:
            return []
        questions = tokenise(backend, [row.question for row, _ in found])
        contexts = list(tokenise(backend, list(places)).values())
        frame = frame_of(backend.encode("a", "a"), has_segments="token_type_ids" in tokenizer.model_input_names)
        asked: list[Question] = []
        bounds: list[tuple[int, int, int, int]] = []
        for row, place in found:
            question = self._question(row, questions[row.question], place, contexts[place])
            room = self.max_tokens - len(frame) - len(question.ids)
            self._check_room(row.id, room, len(contexts[place].ids))
            ranges = islice(window_ranges(len(contexts[place].ids), room, self.stride), self.max_slices or None)
            for number, (first, last) in enumerate(ranges):
                bounds.append((len(asked), 0 if self.max_slices else number, first, last))
            asked.append(question)
        may_be_null = self.null_answer is not False
        windows = Windows(asked, contexts, frame, np.array(bounds, dtype=np.int32), null_answer=may_be_null)
        return windows if may_be_null or not training else windows.with_answer()

    def _question(self, row: Row, question: Tokens, place: int, context: Tokens) -> Question:
        """A question as windows need it.

        Raises:
            ValueError: It has no token, or its context has none.
        """
        if not len(question.ids) or not len(context.ids):
            raise ValueError(f"example {row.id!r} has no token in its question or context: check the data")
        golds = row.golds[:1] if self.golds == "first" else row.golds
        spans = tuple(found for gold in golds if (found := gold_tokens(context, gold)) is not None)
        return Question(row.id, question.ids[: self.max_question_tokens], place, spans)

    def _check_room(self, key: str, room: int, count: int) -> None:
        several = count > room and self.max_slices != 1
        if room < 1 or (several and room <= self.stride):
            raise ValueError(
                f"question {key!r} leaves room for {max(room, 0)} context tokens in a window of "
                f"{self.max_tokens}, which must be more than the stride {self.stride}: raise max_tokens "
                f"(or lower stride or max_question_tokens)"
            )

    def logits(self, model: PreTrainedModel, states: Tensor, layout: Layout) -> Tensor:
        """Start and end logits of every token, ``(total_tokens, 2)`` float32; see :meth:`Task.logits`.

        Raises:
            ValueError: The model has no question-answering head.
        """
        return span_logits(model, states)

    def log_likelihood(self, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
        """(log p_start + log p_end) / 2 of the gold answers, softmax over the tokens of a text.

        Args:
            logits: ``(total_tokens, 2)``.
            layout: The layout of the full texts.
            targets: ``(num_texts, most golds, 2)`` int64, starts and ends within the text, filled with -1; of
                several, the probabilities are summed.

        Returns:
            ``(num_texts,)`` float32, in nats; 0 where a question must have an answer and none stands in the text.

        Raises:
            ValueError: The lengths do not sum to the number of logits.
        """
        log_probabilities, _ = log_softmax_by_text(logits, layout.text_lengths)
        gold = targets.to(logits.device)
        found = log_probabilities.gather(1, gold.clamp(min=0))
        read = (gold >= 0).any(1, keepdim=True)  # where none is, minus infinity would have no gradient but NaN
        if gold.shape[1] > 1:
            found = found.masked_fill((gold < 0) & read, -torch.inf).logsumexp(1, keepdim=True)
        return (found * read).squeeze(1).mean(dim=-1)

    def has_gold(self, targets: Tensor) -> Tensor:
        """Which texts hold an answer, or say that there is none; see :meth:`Task.has_gold`."""
        return (targets >= 0).flatten(1).any(1)

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """KL(teacher || student), the mean of start's and end's; see :meth:`Task.divergence`."""
        student, real = log_softmax_by_text(logits / temperature, layout.text_lengths)
        teacher, _ = log_softmax_by_text(teacher_logits.detach() / temperature, layout.text_lengths)
        return divergence_by_text(student, teacher, real).mean(-1) * temperature**2

    @property
    def _decoder(self) -> SpanDecoder:
        return SpanDecoder(self.num_best, self.max_answer_tokens, always=self.null_answer is False)

    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], records: Dataset
    ) -> dict[str, str]:
        """Decode one answer for every record, ``""`` for none, in the order of the records.

        Within a window the ``num_best`` starts and ends of the context are combined; the best window wins, whether
        windows are texts or slices of one. The score of no answer is that of a text's first token, the least over the
        texts of a question.

        Args:
            texts: All texts of the records, as made by :meth:`encode`, in any order.
            logits: ``(n, 2)`` for each text.
            records: Columns ``id, context``.

        Raises:
            ValueError: If the three do not belong together, or logits are NaN.
        """
        contexts = dict(zip(*columns(records, "id", "context"), strict=True))
        found = self.decode(texts, logits, list(contexts))
        return {key: "" if self.has_none(one) else one.best.of(contexts[key]) for key, one in found.items()}

    def decode(
        self,
        texts: Sequence[EncodedText],
        logits: Sequence[npt.NDArray[np.float32]],
        ids: Sequence[str],
        count: int = 1,
    ) -> dict[str, FoundSpans]:
        """Find the best spans of every question over all of its windows; see :meth:`predict`.

        Args:
            texts: All texts of the questions, as made by :meth:`encode`, in any order.
            logits: ``(n, 2)`` for each text.
            ids: The questions, in the order of the result.
            count: The most spans of a question.

        Raises:
            ValueError: If the three do not belong together, or logits are NaN.
        """
        if len(texts) != len(logits):
            raise ValueError(f"{len(texts)} texts but {len(logits)} arrays of logits: give one for each text")
        decoder = self._decoder
        spans: dict[str, list[BestSpan]] = {}
        null: dict[str, float] = {}
        for text, scores in zip(texts, logits, strict=True):
            if not isinstance(text, SpanText):
                raise ValueError(f"text {text.text_id!r} is a {type(text).__name__}: give the texts of encode()")
            key = text.example_id
            spans.setdefault(key, []).extend(decoder.ranked(text, scores, count))
            null[key] = min(null.get(key, np.inf), float(scores[0, 0]) + float(scores[0, 1]))
        wrong = sorted(null.keys() ^ set(ids))
        if wrong:
            raise ValueError(f"question {wrong[0]!r} is not in both texts and records: give all windows of all records")
        return {key: FoundSpans(tuple(ranked_spans(spans[key], count)), null[key]) for key in ids}

    def has_none(self, found: FoundSpans, threshold: float | None = None) -> bool:
        """Tell whether a question is predicted to have no answer.

        Args:
            found: Its spans.
            threshold: Threshold to apply instead of :attr:`null_threshold`.
        """
        least = self.null_threshold if threshold is None else threshold
        return self.null_answer is not False and found.null - found.best.score > least

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """F1 and exact match from 0 to 100, by the normalisation of a benchmark; see :attr:`metric`."""
        return _MEASURES[self.metric](predictions, self._golds_of(records))

    def record_scores(self, predictions: Mapping[str, Any], records: Dataset) -> npt.NDArray[np.float64]:
        """Token F1 of each question, from 0 to 100; see :meth:`Task.record_scores`."""
        measure, golds = _MEASURES[self.metric], self._golds_of(records)
        return np.array([measure({key: predictions[key]}, {key: own})["f1"] for key, own in golds.items()])

    def _golds_of(self, records: Dataset) -> dict[str, list[str]]:
        """Return all right answers of each question, by id; where the metric knows aliases, those alone."""
        ids, answers = columns(records, "id", "answers")
        texts = [answer["text"] for answer in answers]
        if self.metric == "squad" or "aliases" not in records.column_names:
            return dict(zip(ids, texts, strict=True))
        (aliases,) = columns(records, "aliases")
        golds = (others or own for own, others in zip(texts, aliases, strict=True))
        return dict(zip(ids, golds, strict=True))

    def notes(
        self,
        text: EncodedText,
        logits: npt.NDArray[np.float32],
        record: Mapping[str, Any],
        prediction: Any,
        tokenizer: PreTrainedTokenizerBase,
    ) -> TokenNotes:
        """Tell question from passage, and mark the answers in the passage; see :meth:`Task.notes`."""
        assert isinstance(text, SpanText), "texts of a span task are SpanTexts"
        answers, best = record["answers"], self._decoder.best(text, logits)
        golds = [
            (start, start + len(answer)) for answer, start in zip(answers["text"], answers["answer_start"], strict=True)
        ]
        found = prediction and best.of(record["context"]) == prediction
        parts = super().notes(text, logits, record, prediction, tokenizer).parts
        return TokenNotes(parts, _marked(text, golds), _marked(text, [(best.start, best.end)] if found else []))

    def gold_answer(self, record: Mapping[str, Any]) -> str:
        """Return the distinct answers, or that there is none."""
        return " / ".join(dict.fromkeys(record["answers"]["text"])) or NO_ANSWER

    def told_answer(self, prediction: Any, record: Mapping[str, Any]) -> str:
        """Return the predicted answer, or that there is none."""
        return str(prediction) or NO_ANSWER

    @property
    def own_form(self) -> Schema:
        """SQuAD's; see :meth:`Task.own_records`."""
        return SPAN_QA

    def own_row(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return a question without answers; see :meth:`Task.own_row`."""
        return {"answers": {"text": [], "answer_start": []}, **values}

    def stock_logits(self, outputs: Any, layout: Layout) -> Tensor:
        """``(total_tokens, 2)``; see :meth:`Task.stock_logits`."""
        return without_padding(torch.stack([outputs.start_logits, outputs.end_logits], -1), layout)

    def model_output(self, logits: Tensor, layout: Layout, mask: Tensor) -> QuestionAnsweringModelOutput:
        """``start_logits`` and ``end_logits``, shaped like the token ids; minus infinity on padding."""
        start, end = spread(logits, mask, -torch.inf).unbind(-1)
        return QuestionAnsweringModelOutput(start_logits=start, end_logits=end)


def _marked(text: SpanText, spans: Sequence[tuple[int, int]]) -> Bools:
    """``(n,)`` bool: the tokens of a text that touch spans of characters of the context."""
    found = no_tokens(text)
    for piece in text.pieces:
        for start, end in spans:
            found[piece.start : piece.start + len(piece.offsets)] |= touched(piece.offsets, start, end)
    return found
