"""Classification of a text or a pair of texts: any number of classes, a single logit, or regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import SequenceClassifierOutput

from trbert_env.data.label_order import sorted_labels
from trbert_env.data.records import LABELLED_TEXT, SCORED_TEXT, columns
from trbert_env.data.schema import Schema
from trbert_env.encoder.packing import Layout
from trbert_env.tasks.base import EncodedText, Task
from trbert_env.tasks.by_text import max_over_sequences
from trbert_env.tasks.class_heads import ClassesHead, ClassificationHead, RankingHead, RegressionHead, RelevanceHead
from trbert_env.tasks.heads import first_token_logits
from trbert_env.tasks.labels import (
    HeadMismatchError,
    are_numbers_of,
    has_head,
    is_number_of,
    listed,
    match_labels,
    unnamed_labels,
)
from trbert_env.tasks.reading import OwnField, TokenNotes
from trbert_env.tasks.settling import FoundLabels, Head, head_for_data, head_of_encoder, write_activation
from trbert_env.tasks.text_encoding import LazyTexts, SequenceEncoder, text_of


@dataclass
class Classification(Task):
    """Names the class of a text, or scores it.

    The head is settled by :meth:`configure`. Records whose label is a name make ``classes``, one logit each. Records
    whose label is a number make one logit: ``relevance`` where all numbers are 0 or 1, as for rerankers (the
    likelihood is a sigmoid's), else ``regression`` (minus half the squared error). A fine-tuned encoder with one
    output makes one logit of names too, where these are two.

    Attributes:
        max_tokens: The most tokens of a sequence, special tokens included.
        max_slices: The most sequences of a text. With 1, a text that does not fit is cut. With more, it is divided into
            consecutive windows, and each of its logits is the greatest of theirs; what lies beyond the last is cut.
        truncation: ``"head"`` cuts a text behind its beginning; ``"head+tail"`` keeps a quarter of what fits from its
            beginning and the rest from its end.
        ordered: True if the classes have an order, as stars do; adds the mean distance to the metrics.
        positive: The class that is looked for, if there is one; adds its F1, precision and recall to the metrics.
        ranking: True if what counts is the order of a query's candidates: nDCG leads the metrics, and not accuracy.
            A query's candidates are the pairs of one ``group``, or of one first text where records have no group.
        head: Kind of the logits; None until :meth:`configure` settles it.
        names: Names of no and yes, where the labels of a single logit are names; None where they are not.
        bounded: True for regression through a sigmoid, to numbers from 0 to 1, as sentence-transformers trains
            cross-encoders of similarity; the likelihood is then a sigmoid's. :meth:`configure` settles it where an
            encoder says so.
        numbered: True if labels in the data are numbers of outputs that have names, and count from 0;
            :meth:`configure` settles it.
    """

    auto_model: ClassVar[Any] = AutoModelForSequenceClassification
    reads: ClassVar[Literal["tokens", "first_tokens"]] = "first_tokens"
    settled_by_data: ClassVar[tuple[str, ...]] = ("head",)
    own_fields: ClassVar[tuple[OwnField, ...]] = (
        OwnField("text", "Text"),
        OwnField("text_pair", "Second text", "only for models of pairs of texts", required=False, lines=3),
    )
    later_settings: ClassVar[frozenset[str]] = frozenset({"max_slices", "ranking", "bounded", "numbered"})

    max_tokens: int = 512
    max_slices: int = 1
    truncation: Literal["head", "head+tail"] = "head"
    ordered: bool = False
    positive: str | None = None
    ranking: bool = False
    head: Head | None = None
    names: tuple[str, str] | None = None
    bounded: bool = False
    numbered: bool = False
    #: Names of the classes, in the order of the logits.
    labels: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: A value is out of range.
        """
        if self.max_tokens < 4:
            raise ValueError(f"max_tokens is {self.max_tokens}: give at least 4")
        if self.max_slices < 1:
            raise ValueError(f"max_slices is {self.max_slices}: give the windows of a text, at least 1")
        if self.max_slices > 1 and self.truncation == "head+tail":
            raise ValueError(
                f"truncation 'head+tail' makes one sequence of a text, and max_slices is {self.max_slices}: "
                "set max_slices to 1, or truncation to 'head'"
            )
        if self.names is not None:
            no, yes = self.names  # as JSON values they are a list
            self.names = (no, yes)

    @property
    def num_logits(self) -> int:
        """One for each class, or one."""
        return len(self.labels) if self.head == "classes" else 1

    @property
    def told_settings(self) -> dict[str, Any]:
        """The settings without ``numbered``, by which no label is read otherwise; see :attr:`Task.told_settings`."""
        return {name: value for name, value in super().told_settings.items() if name != "numbered"}

    @property
    def label_kind(self) -> Literal["class", "score"]:
        """Kind of the labels that it was configured for: names of classes, or numbers."""
        return "class" if self.head == "classes" or self.names is not None else "score"

    @property
    def label_note(self) -> str | None:
        """Which name a single logit stands for; None where there is one for each class."""
        if self.names is None:
            return None
        no, yes = self.names
        return f"the encoder has one output: it is read as {yes!r} where it is above 0, and else as {no!r}"

    @property
    def max_text_tokens(self) -> int:
        """Tokens of all slices together."""
        return self.max_tokens * self.max_slices

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics of the kind of head."""
        return self.kind.metric_names

    @property
    def kind(self) -> ClassificationHead:
        """Kind of the head, with what its logits mean; that of classes where nothing has settled it."""
        if self.head == "regression":
            return RegressionHead(self.bounded)
        if self.head == "relevance":
            return RankingHead(self.names) if self.ranking else RelevanceHead(self.names)
        return ClassesHead(self.labels, self.ordered, self.positive)

    def configure(self, config: PreTrainedConfig, records: Dataset | None = None, labels: Sequence[str] = ()) -> None:
        """Settle head and labels: the encoder's own where it has a trained head, else those of the data.

        Raises:
            ValueError: The labels of the data are not those of the encoder, or not of the kind that the head needs.
        """
        found = None if records is None else FoundLabels.of(records, labels, numbered=self.numbered)
        if found is None or has_head(config, self.auto_model):
            settled = head_of_encoder(config, found, self.head, self.ranking)
        else:
            settled = head_for_data(config, found, self.head)
        self.head, self.labels = settled.head, settled.labels
        self.bounded = self.bounded or settled.bounded
        self.numbered = self.numbered or (found is not None and are_numbers_of(found.names, self.labels))
        if found is not None and self.head == "relevance" and found.names:
            self._take_names(found.names)
        if self.ranking and self.head != "relevance":
            told = f"the head is {self.head!r}" + (f" of {listed(self.labels)}" if self.labels else "")
            raise ValueError(
                f"ranking needs one logit and labels that are 0 and 1, and {told}: read labels of 0 and 1 as "
                "scores (label kind 'score') and use an encoder with one output or without a head, or set ranking to "
                "false"
            )
        if found is not None and self.head != "classes":
            self._check_single()
        if self.bounded and (self.head != "regression" or (found is not None and not found.within_bounds)):
            raise ValueError(
                f"bounded is set, which is for regression to numbers from 0 to 1, and the head is {self.head!r}: give "
                "such numbers, or set it to false"
            )
        if self.bounded:
            write_activation(config, bounded=True)  # so that the encoder tells it, once it is saved
        if self.positive is not None and isinstance(self.kind, ClassesHead) and self.kind.looked_for is None:
            raise ValueError(f"positive is {self.positive!r}, and the classes are {listed(self.labels)}: name one")

    def _check_single(self) -> None:
        """Refuse settings of classes that have no meaning for a single logit.

        Raises:
            ValueError: There are some.
        """
        if self.ordered:
            raise ValueError(f"ordered is set, and the head is {self.head!r}, which has no classes: set it to false")
        if self.positive is not None and self.head == "regression":
            raise ValueError(f"positive is {self.positive!r}, and regression has no classes: leave it out")
        yes = "1" if self.names is None else self.names[1]
        if self.positive is not None and self.positive.casefold() != yes.casefold():
            raise ValueError(f"positive is {self.positive!r}, and the single output tells {yes!r}: name that, or none")

    def _take_names(self, names: Sequence[str]) -> None:
        """Note the names of no and yes; a split may have one of them alone."""
        classes = self._matched(names)
        if self.names is None and len(classes) == 2:
            no, yes = sorted(classes, key=lambda name: classes[name])
            self.names = (no, yes)

    def _matched(self, names: Sequence[str]) -> dict[str, int]:
        """The class of each name.

        Raises:
            HeadMismatchError: The names are not those of the outputs, or a single output is to tell more than two.
        """
        if not self.labels and self.names is None and len(names) > 2:
            raise HeadMismatchError(
                f"the data have the labels {listed(names)}, and the encoder has one output, which tells two apart",
                "give the labels 0 and 1 and the label kind 'score', or fine-tune an encoder on these classes",
            )
        return match_labels(names, self._outputs, numbered=self.numbered)

    @property
    def _outputs(self) -> tuple[str, ...]:
        """Names of the outputs; of a single logit those of no and yes."""
        return self.labels or self.names or unnamed_labels(2)

    def encode(
        self, records: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool = False
    ) -> Sequence[EncodedText]:
        """Make one text of each record; it is encoded when it is asked for.

        Args:
            records: Columns ``id, text, text_pair, label``.
            tokenizer: A fast tokenizer.
            training: Not needed here.

        Raises:
            ValueError: A label is none of the classes, or a record is a pair of texts and ``max_slices`` is above 1.
        """
        if self.max_slices > 1:
            self._check_no_pairs(records)
        encoder = SequenceEncoder(tokenizer, self.max_tokens, self.truncation == "head+tail")
        targets, slices = self._targets_of(records), self.max_slices
        plain = records.with_format(None)
        return LazyTexts(len(records), partial(_text, plain, encoder, targets, slices))

    def _check_no_pairs(self, records: Dataset) -> None:
        ids, pairs = columns(records, "id", "text_pair")
        pair = next((key for key, other in zip(ids, pairs, strict=True) if other is not None), None)
        if pair is not None:
            raise ValueError(
                f"record {pair!r} is a pair of texts, and max_slices is {self.max_slices}: pairs are not sliced, "
                "so set max_slices to 1"
            )

    def counted(self, records: Dataset) -> npt.NDArray[np.bool_]:
        """Return all, but of rankings the candidates of queries that have relevant and irrelevant ones."""
        kind = self.kind
        if not isinstance(kind, RankingHead):
            return super().counted(records)
        return kind.counted(self._targets_of(records), records)

    def check_measurable(self, records: Dataset) -> None:
        """Refuse a split to rank in which no query has relevant and irrelevant candidates.

        Raises:
            ValueError: ``ranking`` is set, and there is no such query.
        """
        if self.ranking and not self.counted(records).any():
            raise ValueError(
                f"ranking is set, and none of {len(records)} records is one of a query with relevant and irrelevant "
                "candidates: name the column that tells the query as group, give more records, or set ranking to false"
            )

    def _targets_of(self, records: Dataset) -> npt.NDArray[Any]:
        """``(n,)``: int64 classes, or float32 numbers."""
        ids, values = columns(records, "id", "label")
        if not values or not isinstance(values[0], str):
            return self._numbers_of(ids, values)
        if self.head == "regression":
            raise ValueError(f"record {ids[0]!r} has the label {values[0]!r}: head 'regression' needs numbers")
        classes = self._classes_of(ids, values)
        return np.array([classes[name] for name in values], dtype=self.kind.dtype)

    def _numbers_of(self, ids: Sequence[str], values: Sequence[float]) -> npt.NDArray[np.float32]:
        """Labels that are numbers, as the head needs them."""
        kind = self.kind
        for key, value in zip(ids, values, strict=True):
            if self.head is not None and (needed := kind.needed(value)) is not None:
                raise ValueError(f"record {key!r} has the label {value!r}: head {self.head!r} needs {needed}")
        return np.array(values, dtype=np.float32)

    def _classes_of(self, ids: Sequence[str], values: Sequence[str]) -> dict[str, int]:
        """The class of each name in the records."""
        try:
            return self._matched(sorted_labels(values))
        except ValueError as error:
            known = {label.casefold() for label in self._outputs}
            strange = (
                place
                for place, name in enumerate(values)
                if name.casefold() not in known and not is_number_of(name, self._outputs)
            )
            place = next(strange, 0)
            raise ValueError(f"record {ids[place]!r} has the label {values[place]!r}: {error}") from None

    def logits(self, model: PreTrainedModel, states: Tensor, layout: Layout) -> Tensor:
        """Logits of each sequence, ``(num_sequences, num_logits)`` float32; see :meth:`Task.logits`."""
        return first_token_logits(model, states, layout)

    def log_likelihood(self, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
        """Log-softmax of the gold class, log-sigmoid of a single logit, or minus half the squared error.

        Of numbers from 0 to 1 the log-sigmoid is weighed by them.

        Args:
            logits: ``(num_sequences, num_logits)``; a text has the greatest of each over its sequences.
            layout: The layout of the full texts.
            targets: ``(num_texts, 1)``: int64 classes, or float32 numbers.
        """
        return self.kind.log_likelihood(max_over_sequences(logits, layout), targets.to(logits.device))

    @property
    def has_temperature(self) -> bool:
        """Whether the outputs of the head are softened."""
        return self.kind.has_temperature

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """KL(teacher || student); of plain regression half the squared difference. See :meth:`Task.divergence`."""
        ours, theirs = (max_over_sequences(values, layout) for values in (logits, teacher_logits.detach()))
        return self.kind.divergence(ours, theirs, temperature)

    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], records: Dataset
    ) -> dict[str, Any]:
        """Name the class of every record, or give its logit; of several sequences the greatest counts.

        Raises:
            ValueError: There are not as many logits as texts, or logits are NaN.
        """
        if len(texts) != len(logits):
            raise ValueError(f"{len(texts)} texts but {len(logits)} arrays of logits: give one for each text")
        rows = np.stack([values.max(0) for values in logits])
        if np.isnan(rows).any():
            raise ValueError("logits are NaN: the model's weights or its number format are at fault")
        (ids,) = columns(records, "id")
        return dict(zip(ids, self.kind.predictions(rows), strict=True))

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """Accuracy and macro F1, or the metrics of a single logit; see :mod:`trbert_env.tasks.class_metrics`."""
        return self.kind.metrics(_of_each(predictions, records), self._targets_of(records), records)

    def notes(
        self,
        text: EncodedText,
        logits: npt.NDArray[np.float32],
        record: Mapping[str, Any],
        prediction: Any,
        tokenizer: PreTrainedTokenizerBase,
    ) -> TokenNotes:
        """Tell the texts of a pair apart; see :meth:`Task.notes`."""
        notes = super().notes(text, logits, record, prediction, tokenizer)
        if record["text_pair"] is None:
            return notes
        first, _ = self.part_names
        return TokenNotes(
            tuple("first text" if part == first else part for part in notes.parts), notes.gold, notes.predicted
        )

    def gold_answer(self, record: Mapping[str, Any]) -> str:
        """Return the label: a name, or a number."""
        label = record["label"]
        return label if isinstance(label, str) else f"{label:g}"

    def told_answer(self, prediction: Any, record: Mapping[str, Any]) -> str:
        """Return the class; of a single logit its name or the probability, of regression the number."""
        return self.kind.told(prediction)

    def record_score(self, prediction: Any, record: Dataset) -> float | None:
        """Return 100 for the right class and 0 for another; None in regression and ranking, which compare records."""
        return super().record_score(prediction, record) if self.kind.has_record_scores else None

    def changed_answers(self, predictions: Mapping[str, Any], others: Mapping[str, Any], records: Dataset) -> int:
        """Return how many classes, signs of a single logit, orders of candidates or told numbers differ.

        See :meth:`Task.changed_answers`.
        """
        one, other = _of_each(predictions, records), _of_each(others, records)
        kind = self.kind
        if isinstance(kind, RankingHead):
            return kind.changed_orders(one, other, self._targets_of(records), records)
        return kind.changed(one, other)

    @property
    def own_form(self) -> Schema:
        """That of labelled texts, or of scored ones; see :meth:`Task.own_records`."""
        return LABELLED_TEXT if self.label_kind == "class" else SCORED_TEXT

    def own_row(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return a text or a pair of texts; see :meth:`Task.own_row`."""
        label: str | float = self._outputs[0] if self.label_kind == "class" else 0.0
        return {"text": values["text"], "text_pair": values["text_pair"] or None, "label": label}

    def record_scores(self, predictions: Mapping[str, Any], records: Dataset) -> npt.NDArray[np.float64]:
        """Return 100 where the class is right, else 0; of rankings the nDCG of each query, at its first record.

        Of regression they are the pseudo-values of Pearson's correlation.

        See :meth:`Task.record_scores`, and :func:`~trbert_env.tasks.class_metrics.pearson_pseudo_values`, whose mean is
        the correlation but for a bias of order 1/n.
        """
        return self.kind.record_scores(_of_each(predictions, records), self._targets_of(records), records)

    def stock_logits(self, outputs: Any, layout: Layout) -> Tensor:
        """``(num_sequences, num_logits)``; see :meth:`Task.stock_logits`."""
        result: Tensor = outputs.logits
        return result

    def model_output(self, logits: Tensor, layout: Layout, mask: Tensor) -> SequenceClassifierOutput:
        """``logits``, ``(num_texts, num_logits)``; see :meth:`Task.model_output`."""
        return SequenceClassifierOutput(logits=max_over_sequences(logits, layout))


def _text(
    records: Dataset, encoder: SequenceEncoder, targets: npt.NDArray[Any], slices: int, index: int
) -> EncodedText:
    """The text of a record; a function by itself, so that texts can go to another process."""
    row = records[index]
    pair = row["text_pair"]
    sequences = encoder.windows(row["text"], slices) if pair is None else [encoder.pair(row["text"], pair)]
    return text_of(row["id"], sequences, targets[index : index + 1])


def _of_each(predictions: Mapping[str, Any], records: Dataset) -> list[Any]:
    """The prediction for each record, in their order."""
    return [predictions[key] for key in columns(records, "id")[0]]
