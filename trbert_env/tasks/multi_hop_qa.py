"""Questions over several paragraphs, answered by words of one of them, or by yes or no (HotpotQA)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedTokenizerBase

from trbert_env.data.bare_tokenizer import bare_backend
from trbert_env.data.records import ANSWER_KINDS, MULTI_HOP, columns
from trbert_env.data.schema import Schema
from trbert_env.encoder.packing import Layout, segment_starts
from trbert_env.tasks.base import EncodedText
from trbert_env.tasks.by_text import divergence_by_text, log_softmax_by_text, max_over_sequences, yes_no_divergence
from trbert_env.tasks.hotpot_metrics import Sentence, hotpot_metrics
from trbert_env.tasks.markers import marker_ids
from trbert_env.tasks.multi_hop_encoding import MultiHopEncoder, MultiHopText
from trbert_env.tasks.reading import OwnField, TokenNotes, no_tokens, touched
from trbert_env.tasks.span_decoding import best_among, best_of_all, cut_out
from trbert_env.tasks.span_encoding import frame_of
from trbert_env.tasks.token_task import TokenTask
from trbert_env.tasks.varied import VariedTexts

_SPAN = ANSWER_KINDS.index("span")
_KINDS = slice(2, 2 + len(ANSWER_KINDS))
_SUPPORT = 2 + len(ANSWER_KINDS)


class Answer(NamedTuple):
    """A predicted answer, and the sentences that are taken to support it."""

    text: str
    supports: tuple[Sentence, ...]


@dataclass
class MultiHopQA(TokenTask):
    """Tells the kind of an answer (span, yes, no), its first and last token, and by option what supports it.

    The text is ``[CLS] question [SEP] (marker title marker paragraph)* [SEP]``, in one or more slices, with one softmax
    over the tokens of all (the shared normaliser of TR-BERT, section 4.1). The kind is read off first tokens, the
    largest logits of all slices; supporting sentences off the first token of each. The head is a stock token
    classifier.

    Attributes:
        max_tokens: The most tokens of a sequence, special tokens included.
        max_slices: The most sequences of a text: what fits none of them is cut.
        max_question_tokens: Tokens that a question is cut at.
        num_best: Starts and ends that are combined when decoding.
        max_answer_tokens: The most tokens of a predicted answer.
        support_weight: Weight of the supporting sentences in the likelihood; 0 leaves them out.
    """

    part_names: ClassVar[tuple[str, str]] = ("question", "title")
    own_fields: ClassVar[tuple[OwnField, ...]] = (
        OwnField("question", "Question", lines=1),
        OwnField(
            "paragraphs",
            "Paragraphs",
            "blank lines between them; the first line of each is its title",
            lines=10,
            plain=False,
        ),
    )

    max_tokens: int = 512
    max_slices: int = 2
    max_question_tokens: int = 80
    num_best: int = 20
    max_answer_tokens: int = 30
    support_weight: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: A value is out of range.
        """
        for name in ("max_slices", "max_question_tokens", "num_best", "max_answer_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.max_tokens <= self.max_question_tokens + 4:
            raise ValueError(
                f"max_tokens is {self.max_tokens} and max_question_tokens {self.max_question_tokens}: leave room for "
                "the paragraphs"
            )
        if not 0 <= self.support_weight < math.inf:
            raise ValueError(f"support_weight is {self.support_weight}: give 0, or a finite number above it")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Start and end, the kinds of answers, and whether a sentence supports one."""
        return ("start", "end", *ANSWER_KINDS, *(("support",) if self.support_weight else ()))

    @property
    def max_text_tokens(self) -> int:
        """Tokens of all slices."""
        return self.max_tokens * self.max_slices

    @property
    def metric_names(self) -> tuple[str, ...]:
        """F1 and exact match of answers; of supporting sentences and of both where these are learned."""
        return ("f1", "exact_match", *(("support_f1", "joint_f1") if self.support_weight else ()))

    def encode(
        self, records: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool = False
    ) -> Sequence[EncodedText]:
        """Make one text of each question; it is encoded when it is asked for.

        Args:
            records: The columns of :data:`~trbert_env.data.records.MULTI_HOP`.
            tokenizer: A fast tokenizer.
            training: True to put the paragraphs in another order in each pass: those that lead to the answer, and as
                many others as fit.
        """
        backend = bare_backend(tokenizer)
        encoder = MultiHopEncoder(
            backend,
            frame_of(backend.encode("a", "a"), has_segments="token_type_ids" in tokenizer.model_input_names),
            marker_ids(tokenizer),
            max_question_tokens=self.max_question_tokens,
            max_tokens=self.max_tokens,
            max_slices=self.max_slices,
        )
        plain = records.with_format(None)
        return VariedTexts(len(records), partial(_text, plain, encoder), varied=training)

    def log_likelihood(self, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
        """Log-probability of the right kind, and of a span (log p_start + log p_end) / 2.

        With ``support_weight`` that many times the mean over the sentences of each being taken for what it is.

        Args:
            logits: ``(total_tokens, num_logits)``.
            layout: The layout of the full texts.
            targets: ``(num_texts, n, 5)`` int64: the kind of answer (in the first row), starts, ends, places of
                sentences, and 1 where one supports the answer, else 0; filled with -1. Probabilities of several
                starts or ends are summed; where an answer is not read, its kind alone counts.

        Returns:
            ``(num_texts,)`` float32, in nats.
        """
        gold = targets.to(logits.device)
        kinds = _kinds(logits, layout).log_softmax(1)
        kind = gold[:, 0, 0]
        places, _ = log_softmax_by_text(logits[:, :2], layout.text_lengths)
        marked = gold[:, :, 1:3] >= 0
        read = marked.any(1, keepdim=True)  # where none is, minus infinity would have no gradient but NaN
        found = places.gather(1, gold[:, :, 1:3].clamp(min=0)).masked_fill(~marked & read, -torch.inf)
        of_span = (found.logsumexp(1) * read.squeeze(1)).mean(1)
        answer = kinds.gather(1, kind[:, None]).squeeze(1) + of_span * (kind == _SPAN)
        return answer + self._support_term(logits, layout, gold) if self.support_weight else answer

    def _support_term(self, logits: Tensor, layout: Layout, gold: Tensor) -> Tensor:
        scores, real = _sentence_scores(logits, layout, gold)
        sign = 2.0 * gold[:, :, 4] - 1.0
        return self.support_weight * _mean(logsigmoid(sign * scores), real)

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """KL(teacher || student) of kinds, and of spans as often as the teacher finds one; see :meth:`Task.divergence`.

        With ``support_weight`` that many times the mean over the sentences too.
        """
        student, teacher = logits / temperature, teacher_logits.detach() / temperature
        kinds, taught_kinds = (_kinds(values, layout).log_softmax(1) for values in (student, teacher))
        ours, real = log_softmax_by_text(student[:, :2], layout.text_lengths)
        theirs, _ = log_softmax_by_text(teacher[:, :2], layout.text_lengths)
        of_span = divergence_by_text(ours, theirs, real).mean(1)
        found = (taught_kinds.exp() * (taught_kinds - kinds)).sum(1) + taught_kinds[:, _SPAN].exp() * of_span
        if self.support_weight:
            gold = targets.to(logits.device)
            scores, real = _sentence_scores(student, layout, gold)
            taught, _ = _sentence_scores(teacher, layout, gold)
            found = found + self.support_weight * _mean(yes_no_divergence(scores, taught), real)
        return found * temperature**2

    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], records: Dataset
    ) -> dict[str, Answer]:
        """Answer every question, and tell the sentences that support the answer.

        Raises:
            ValueError: The three do not belong together, or logits are NaN.
        """
        if not len(texts) == len(logits) == len(records):
            raise ValueError(
                f"{len(texts)} texts, {len(logits)} arrays of logits and {len(records)} records: give one of each"
            )
        found = {}
        for row, text, values in zip(records.with_format(None), texts, logits, strict=True):
            if not isinstance(text, MultiHopText):
                raise ValueError(f"text {text.text_id!r} is a {type(text).__name__}: give the texts of encode()")
            if values.shape != (len(text), self.num_logits) or np.isnan(values).any():
                raise ValueError(
                    f"logits of text {text.text_id!r} are {values.shape}: give ({len(text)}, {self.num_logits}) "
                    "without NaN"
                )
            found[row["id"]] = Answer(self._answer(row, text, values), self._supports(text, values))
        return found

    def changed_answers(self, predictions: Mapping[str, Any], others: Mapping[str, Any], records: Dataset) -> int:
        """Return how many answers differ, whatever sentences support them; see :meth:`Task.changed_answers`."""
        return sum(predictions[key].text != others[key].text for key in columns(records, "id")[0])

    def _answer(self, row: Mapping[str, Any], text: MultiHopText, logits: npt.NDArray[np.float32]) -> str:
        firsts = np.cumsum((0, *text.sequence_lengths[:-1]))
        kind = ANSWER_KINDS[int(logits[firsts, _KINDS].max(0).argmax())]
        return self._best_span(row, text, logits) if kind == "span" else kind

    def _best_span(self, row: Mapping[str, Any], text: MultiHopText, logits: npt.NDArray[np.float32]) -> str:
        tokens = text.tokens
        found = self._best_tokens(text, logits)
        if found is None:
            return ""
        first, last = found
        paragraph = "".join(row["paragraphs"]["sentences"][tokens.paragraphs[first]])
        return cut_out(paragraph, int(tokens.offsets[first, 0]), int(tokens.offsets[last, 1]))

    def _best_tokens(self, text: MultiHopText, logits: npt.NDArray[np.float32]) -> tuple[int, int] | None:
        """First and last of the tokens that are read of paragraphs; None where none is read."""
        tokens = text.tokens
        scores = logits[tokens.places, :2]
        if not len(scores):
            return None
        found = best_among(scores, tokens.stretches, self.num_best, self.max_answer_tokens)
        # The best starts may all lie behind the best ends.
        return found[0] if found else best_of_all(scores, tokens.stretches, self.max_answer_tokens)

    def _supports(self, text: MultiHopText, logits: npt.NDArray[np.float32]) -> tuple[Sentence, ...]:
        if not self.support_weight:
            return ()
        return tuple((one.title, one.number) for one in text.sentences if logits[one.place, _SUPPORT] > 0)

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """F1 and exact match from 0 to 100, by HotpotQA's normalisation; see :attr:`metric_names`."""
        ids, answers, supports = columns(records, "id", "answer", "supports")
        texts = {key: answer.text for key, answer in predictions.items()}
        right = dict(zip(ids, answers, strict=True))
        if not self.support_weight:
            return hotpot_metrics(texts, right)
        found = {key: answer.supports for key, answer in predictions.items()}
        wanted = [list(zip(one["title"], one["sentence"], strict=True)) for one in supports]
        return hotpot_metrics(texts, right, found, dict(zip(ids, wanted, strict=True)))

    def record_scores(self, predictions: Mapping[str, Any], records: Dataset) -> npt.NDArray[np.float64]:
        """Return the token F1 of each answer, from 0 to 100; see :meth:`Task.record_scores`."""
        pairs = zip(*columns(records, "id", "answer"), strict=True)
        return np.array([hotpot_metrics({key: predictions[key].text}, {key: answer})["f1"] for key, answer in pairs])

    def notes(
        self,
        text: EncodedText,
        logits: npt.NDArray[np.float32],
        record: Mapping[str, Any],
        prediction: Any,
        tokenizer: PreTrainedTokenizerBase,
    ) -> TokenNotes:
        """Tell question, titles and paragraphs apart, and mark answers in the paragraphs; see :meth:`Task.notes`."""
        assert isinstance(text, MultiHopText), "texts of a multi-hop task are MultiHopTexts"
        parts = list(super().notes(text, logits, record, prediction, tokenizer).parts)
        tokens, spans = text.tokens, record["spans"]
        for place in tokens.places.tolist():
            parts[place] = "paragraph"
        gold, predicted = no_tokens(text), no_tokens(text)
        for index, start, answer in zip(spans["paragraph"], spans["start"], spans["text"], strict=True):
            inside = (tokens.paragraphs == index) & touched(tokens.offsets, start, start + len(answer))
            gold[tokens.places[inside]] = True
        if prediction.text not in ("yes", "no") and (found := self._best_tokens(text, logits)) is not None:
            predicted[tokens.places[found[0] : found[1] + 1]] = True
        return TokenNotes(tuple(parts), gold, predicted)

    def told_answer(self, prediction: Any, record: Mapping[str, Any]) -> str:
        """Return the words of the answer."""
        return str(prediction.text)

    @property
    def own_form(self) -> Schema:
        """HotpotQA's; see :meth:`Task.own_records`."""
        return MULTI_HOP

    def own_row(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return a question over paragraphs; see :meth:`Task.own_row`.

        Raises:
            ValueError: A paragraph has a title alone.
        """
        blocks = [block.strip() for block in re.split(r"\n\s*\n", values["paragraphs"].replace("\r\n", "\n"))]
        parted = [block.partition("\n") for block in blocks]
        if short := [title for title, _, body in parted if not body.strip()]:
            raise ValueError(f"the paragraph {short[0]!r} has one line: give a title, and its text below it")
        return {
            "question": values["question"],
            "paragraphs": {
                "title": [title.strip() for title, _, _ in parted],
                "sentences": [[" ".join(body.split())] for _, _, body in parted],
            },
            "answer": "",
            "kind": "span",
            "spans": {"paragraph": [], "start": [], "text": []},
            "supports": {"title": [], "sentence": []},
            "subset": None,
        }


def _text(records: Dataset, encoder: MultiHopEncoder, index: int, order: np.random.Generator | None) -> EncodedText:
    """The text of a question; a function by itself, so that texts can go to another process."""
    return encoder.encode(records[index], order)


def _kinds(logits: Tensor, layout: Layout) -> Tensor:
    """``(num_texts, kinds)``: the largest logits of the first tokens of a text's slices."""
    first = logits.index_select(0, layout.sequence_starts.to(logits.device))[:, _KINDS]
    return max_over_sequences(first.float(), layout)


def _sentence_scores(logits: Tensor, layout: Layout, gold: Tensor) -> tuple[Tensor, Tensor]:
    """``(num_texts, n)`` float32: a logit for each sentence, and which are real."""
    places, real = gold[:, :, 3], gold[:, :, 3] >= 0
    index = segment_starts(layout.text_lengths).to(logits.device)[:, None] + places.clamp(min=0)
    return logits[index, _SUPPORT].float(), real


def _mean(values: Tensor, real: Tensor) -> Tensor:
    """``(num_texts,)``: the mean over a text's sentences; 0 where none is read."""
    return (values * real).sum(1) / real.sum(1).clamp(min=1)
