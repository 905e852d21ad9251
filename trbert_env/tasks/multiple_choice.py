"""Multiple choice: a question on an article with several options, each its own sequence (RACE)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForMultipleChoice, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import MultipleChoiceModelOutput

from trbert_env.data.records import CHOICES, columns
from trbert_env.data.schema import Schema
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import spread
from trbert_env.tasks.base import EncodedText, Task
from trbert_env.tasks.by_text import divergence_by_text, pad_by_text, yes_no_divergence
from trbert_env.tasks.candidate_metrics import scores_of_choices
from trbert_env.tasks.encoding import Ids
from trbert_env.tasks.heads import first_token_logits
from trbert_env.tasks.reading import OwnField, TokenNotes, lines_of, no_tokens
from trbert_env.tasks.text_encoding import LazyTexts, SequenceEncoder, shortened, text_of

#: What stands for the missing words of a question: underscores that are not within a word.
BLANK = re.compile(r"(?<!\w)_+|_+(?!\w)")


@dataclass
class MultipleChoice(Task):
    """Scores each option of a question in a sequence of its own: ``[CLS] article [SEP] question option [SEP]``.

    Attributes:
        max_tokens: The most tokens of a sequence, special tokens included; a text is as many sequences as it has
            options.
        max_question_tokens: Tokens that question and option have together where a long article leaves no more; the
            question is cut then, and not the option.
        num_options: The most options of a question; :meth:`encode` raises it to those of the records.
        form: ``"softmax"`` compares the options; ``"independent"`` takes each for itself, right or wrong, as TR-BERT
            does.
        fill_blanks: True to write an option into the question's blank (:data:`BLANK`) where there is one, as DeFormer
            does, instead of behind it.
    """

    auto_model: ClassVar[Any] = AutoModelForMultipleChoice
    reads: ClassVar[Literal["tokens", "first_tokens"]] = "first_tokens"
    query_segment: ClassVar[int] = 1
    num_logits: ClassVar[int] = 1
    part_names: ClassVar[tuple[str, str]] = ("article", "question")
    own_fields: ClassVar[tuple[OwnField, ...]] = (
        OwnField("article", "Article"),
        OwnField("question", "Question", lines=1),
        OwnField("options", "Options", "one a line", lines=4, plain=False),
    )

    max_tokens: int = 512
    max_question_tokens: int = 128
    num_options: int = 4
    form: Literal["softmax", "independent"] = "softmax"
    fill_blanks: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: A value is out of range.
        """
        if self.max_question_tokens < 1 or self.max_tokens <= self.max_question_tokens + 4:
            raise ValueError(
                f"max_tokens is {self.max_tokens} and max_question_tokens {self.max_question_tokens}: leave room for "
                "the article"
            )
        if self.num_options < 2:
            raise ValueError(f"num_options is {self.num_options}: give at least 2")

    @property
    def max_text_tokens(self) -> int:
        """Tokens of all options together."""
        return self.max_tokens * self.num_options

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Accuracy."""
        return ("accuracy",)

    def configure(self, config: PreTrainedConfig, records: Dataset | None = None, labels: Sequence[str] = ()) -> None:
        """Nothing depends on the data: the head has one output."""

    @property
    def told_settings(self) -> dict[str, Any]:
        """The settings without the most options, by which no text is read otherwise; see :attr:`Task.told_settings`."""
        return {**super().told_settings, "num_options": type(self).num_options}

    def encode(
        self, records: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool = False
    ) -> Sequence[EncodedText]:
        """Make one text of each question; it is encoded when it is asked for.

        Args:
            records: Columns ``id, article, question, options, answer``.
            tokenizer: A fast tokenizer.
            training: Not needed here.

        Raises:
            ValueError: A question has fewer than two options, or its answer is none.
        """
        plain = records.with_format(None)
        for key, options, answer in zip(*columns(records, "id", "options", "answer"), strict=True):
            if len(options) < 2:
                raise ValueError(f"question {key!r} has {len(options)} options: give at least 2")
            if not 0 <= answer < len(options):
                raise ValueError(f"question {key!r} has the answer {answer} of {len(options)} options: count from 0")
            self.num_options = max(self.num_options, len(options))
        encoder = SequenceEncoder(tokenizer, self.max_tokens)
        return LazyTexts(len(records), partial(self._text, plain, encoder))

    def _text(self, records: Dataset, encoder: SequenceEncoder, index: int) -> EncodedText:
        row = records[index]
        article, question = encoder.ids(row["article"]), row["question"].lstrip()
        pairs = [self._sequence(encoder, article, question, option) for option in row["options"]]
        return text_of(row["id"], pairs, np.array([row["answer"]], dtype=np.int64))

    def _sequence(self, encoder: SequenceEncoder, article: Ids, question: str, option: str) -> tuple[Ids, Ids]:
        """The sequence of one option."""
        most = encoder.room_beside(article, self.max_question_tokens)
        ids = encoder.ids(self._joined(question, option))
        if len(ids) > most:  # a blank may stand where the question is cut: the option then stands behind it
            ids = encoder.ids(f"{question} {option}")
            ids = shortened(ids, most, max(len(ids) - len(encoder.ids(question)), 0))
        return encoder.around(article, ids)

    def _joined(self, question: str, option: str) -> str:
        if self.fill_blanks and (blank := BLANK.search(question)):
            return f"{question[: blank.start()]}{option}{question[blank.end() :]}"
        return f"{question} {option}"

    def logits(self, model: PreTrainedModel, states: Tensor, layout: Layout) -> Tensor:
        """One logit of each option, ``(num_sequences, 1)`` float32; see :meth:`Task.logits`."""
        return first_token_logits(model, states, layout)

    def log_likelihood(self, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
        """Log-probability of the right option among those of its text.

        Args:
            logits: ``(num_sequences, 1)``.
            layout: The layout of the full texts.
            targets: ``(num_texts, 1)`` int64.

        Returns:
            ``(num_texts,)`` float32, in nats; in the independent form the mean over the options, of each being taken
            for what it is.
        """
        padded, real = self._by_text(logits, layout)
        gold = targets.to(logits.device)
        if self.form == "softmax":
            return padded.masked_fill(~real, -torch.inf).log_softmax(1).gather(1, gold).squeeze(1)
        sign = (-torch.ones_like(padded)).scatter(1, gold, 1.0)
        return (logsigmoid(sign * padded) * real).sum(1) / real.sum(1)

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """KL(teacher || student) over the options, or the mean of each option's; see :meth:`Task.divergence`."""
        student, real = self._by_text(logits / temperature, layout)
        teacher, _ = self._by_text(teacher_logits.detach() / temperature, layout)
        if self.form == "softmax":
            ours, theirs = (values.masked_fill(~real, -torch.inf).log_softmax(1) for values in (student, teacher))
            return divergence_by_text(ours, theirs, real) * temperature**2
        return (yes_no_divergence(student, teacher) * real).sum(1) / real.sum(1) * temperature**2

    def _by_text(self, logits: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """``(num_texts, most options)`` logits, 0 where there is none, and which are real."""
        return pad_by_text(logits.squeeze(1), layout.sequences_per_text, fill=0.0)

    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], records: Dataset
    ) -> dict[str, Any]:
        """The index of the option with the largest logit, for every question.

        Raises:
            ValueError: There are not as many logits as texts, or logits are NaN.
        """
        if len(texts) != len(logits):
            raise ValueError(f"{len(texts)} texts but {len(logits)} arrays of logits: give one for each text")
        if any(np.isnan(values).any() for values in logits):
            raise ValueError("logits are NaN: the model's weights or its number format are at fault")
        (ids,) = columns(records, "id")
        return {key: int(values[:, 0].argmax()) for key, values in zip(ids, logits, strict=True)}

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """Accuracy from 0 to 100.

        Raises:
            ValueError: There is no question.
        """
        if not len(records):
            raise ValueError("there are no questions to score: give at least one record")
        return {"accuracy": float(self.record_scores(predictions, records).mean())}

    def record_scores(self, predictions: Mapping[str, Any], records: Dataset) -> npt.NDArray[np.float64]:
        """Return 100 where the answer is right, else 0; see :meth:`Task.record_scores`."""
        return scores_of_choices(predictions, records)

    def notes(
        self,
        text: EncodedText,
        logits: npt.NDArray[np.float32],
        record: Mapping[str, Any],
        prediction: Any,
        tokenizer: PreTrainedTokenizerBase,
    ) -> TokenNotes:
        """Tell article, question and option apart, and mark the options that are right and chosen.

        An option that stands in the question's blank is a part of the question. See :meth:`Task.notes`.
        """
        parts = list(super().notes(text, logits, record, prediction, tokenizer).parts)
        gold, predicted = no_tokens(text), no_tokens(text)
        question, end = record["question"].lstrip(), 0
        in_blank = self.fill_blanks and BLANK.search(question) is not None

        def count(string: str) -> int:
            return len(tokenizer(string, add_special_tokens=False)["input_ids"])

        for number, (length, option) in enumerate(zip(text.sequence_lengths, record["options"], strict=True)):
            first, end = end, end + length
            asked = first + parts[first:end].index("question")
            # Where a filled question was too long, the option stands behind it.
            filled = in_blank and end - 1 - asked == count(self._joined(question, option))
            tokens = 0 if filled else count(f"{question} {option}") - count(question)
            own = slice(max(end - 1 - tokens, asked), end - 1)
            parts[own] = ["option"] * len(parts[own])
            gold[own], predicted[own] = number == record["answer"], number == prediction
        return TokenNotes(tuple(parts), gold, predicted)

    def gold_answer(self, record: Mapping[str, Any]) -> str:
        """Return the right option."""
        return str(record["options"][record["answer"]])

    def told_answer(self, prediction: Any, record: Mapping[str, Any]) -> str:
        """Return the chosen option."""
        return str(record["options"][prediction])

    @property
    def own_form(self) -> Schema:
        """That of own questions; see :meth:`Task.own_records`."""
        return CHOICES

    def own_row(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return a question with options; see :meth:`Task.own_row`."""
        return {"group": values["article"], **values, "options": lines_of(values["options"]), "answer": 0}

    def stock_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """One option a row: ``(num_sequences, 1, width)``; see :meth:`Task.stock_inputs`."""
        return {name: values[:, None] for name, values in inputs.items()}

    def stock_logits(self, outputs: Any, layout: Layout) -> Tensor:
        """``(num_sequences, 1)``; see :meth:`Task.stock_logits`."""
        result: Tensor = outputs.logits.reshape(-1, 1)
        return result

    def model_output(self, logits: Tensor, layout: Layout, mask: Tensor) -> MultipleChoiceModelOutput:
        """``logits``, ``(num_texts, options)``, minus infinity for options that a text does not have.

        See :meth:`Task.model_output`.

        Raises:
            ValueError: The token ids are not those of texts with options.
        """
        if mask.dim() != 3:
            raise ValueError(
                f"input_ids have the shape {tuple(mask.shape)}: give (texts, options, width), which is input_ids[None] "
                "of the options of one question"
            )
        return MultipleChoiceModelOutput(logits=spread(logits.squeeze(1), mask.any(-1), -torch.inf))
