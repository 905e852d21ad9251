"""Classification of a text or a pair of texts: any number of classes, a single logit, or regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from trbert_env.data.label_order import sorted_labels
from trbert_env.data.records import LABELLED_TEXT, SCORED_TEXT, columns, records_of
from trbert_env.data.sampling import GROUP
from trbert_env.encoder.packing import Layout
from trbert_env.tasks.base import EncodedText, Task
from trbert_env.tasks.by_text import max_over_sequences
from trbert_env.tasks.heads import first_token_logits
from trbert_env.tasks.labels import (
    HeadMismatchError,
    has_head,
    is_number_of,
    labels_of,
    listed,
    match_labels,
    unnamed_labels,
    write_labels,
)
from trbert_env.tasks.reading import OwnField, TokenNotes, checked_values
from trbert_env.tasks.text_encoding import LazyTexts, SequenceEncoder, text_of

Head = Literal["classes", "relevance", "regression"]

#: The metrics of :mod:`trbert_env.tasks.ranking_metrics`; the first leads.
RANKING_METRICS = ("ndcg_at_10", "mrr_at_10")


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
    """

    auto_model: ClassVar[Any] = AutoModelForSequenceClassification
    reads: ClassVar[Literal["tokens", "first_tokens"]] = "first_tokens"
    own_fields: ClassVar[tuple[OwnField, ...]] = (
        OwnField("text", "Text"),
        OwnField("text_pair", "Second text", "only for models of pairs of texts", required=False, lines=3),
    )
    later_settings: ClassVar[frozenset[str]] = frozenset({"max_slices", "ranking", "bounded"})

    max_tokens: int = 512
    max_slices: int = 1
    truncation: Literal["head", "head+tail"] = "head"
    ordered: bool = False
    positive: str | None = None
    ranking: bool = False
    head: Head | None = None
    names: tuple[str, str] | None = None
    bounded: bool = False
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
        if self.head == "regression":
            return ("pearson", "spearman", "mean_squared_error")
        if self.head == "relevance":
            return (*RANKING_METRICS, "accuracy", "f1") if self.ranking else ("accuracy", "f1")
        of_order = ("mean_absolute_error",) if self.ordered else ()
        of_one_class = ("f1", "precision", "recall") if self.positive is not None else ()
        return ("accuracy", "macro_f1", *of_order, *of_one_class)

    def configure(self, config: PreTrainedConfig, records: Dataset | None = None, labels: Sequence[str] = ()) -> None:
        """Settle head and labels: the encoder's own where it has a trained head, else those of the data.

        Raises:
            ValueError: The labels of the data are not those of the encoder, or not of the kind that the head needs.
        """
        found = None if records is None else _Labels.of(records, labels)
        if found is None or has_head(config, self.auto_model):
            self._take_from_config(config, found)
        else:
            self._take_from_data(config, found)
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
        if self.positive is not None and self.head == "classes" and self._looked_for is None:
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

    @property
    def _looked_for(self) -> str | None:
        """The class that is looked for, as the encoder names it."""
        if self.positive is None:
            return None
        wanted = self.positive.casefold()
        return next((label for label in self.labels if label.casefold() == wanted), None)

    def _take_from_data(self, config: PreTrainedConfig, found: _Labels) -> None:
        self.head = self.head or found.head
        found.check(self.head)
        if self.head == "classes":
            self.labels = found.names
            write_labels(config, self.labels)
            config.problem_type = "single_label_classification"
        else:
            self.labels = ()
            config.num_labels = 1
            # How transformers names the losses; saved, so that a fine-tuned encoder tells its head.
            relevant = self.head == "relevance"
            config.problem_type = "multi_label_classification" if relevant else "regression"

    def _take_from_config(self, config: PreTrainedConfig, found: _Labels | None) -> None:
        labels = labels_of(config)
        if len(labels) > 1 and self.head in ("relevance", "regression"):
            raise HeadMismatchError(
                f"the encoder has {len(labels)} outputs, and head {self.head!r} needs one",
                "give an encoder with one output, or one without a head",
            )
        if len(labels) > 1 and config.problem_type == "multi_label_classification":
            raise HeadMismatchError(
                f"the encoder has {len(labels)} outputs of which several may be right (multi_label_classification), "
                "and a text has one label here",
                "give an encoder that tells one label",
            )
        if len(labels) > 1 and found is not None and not found.names:
            raise HeadMismatchError(
                f"the labels of the data are numbers, and the encoder's outputs are {listed(labels)}",
                "use an encoder with one output, or "
                + ("set ranking to false" if self.ranking else "read the labels as classes (label kind 'class')"),
            )
        if len(labels) == 1 and self.head in (None, "classes"):
            named = found is not None and bool(found.names)
            numbers = config.problem_type == "regression" or (found is not None and found.head == "regression")
            self.head = "regression" if numbers and not named else "relevance"
            within = found is not None and found.within_bounds
            self.bounded = self.bounded or (self.head == "regression" and within and _goes_through_sigmoid(config))
        self.head = self.head or "classes"
        self.labels = labels if self.head == "classes" else ()
        if found is None:
            return
        found.check(self.head)
        if self.head == "classes":
            classes = match_labels(found.names, labels)
            if labels == unnamed_labels(len(classes)):  # take those of the data
                self.labels = tuple(sorted(classes, key=lambda name: classes[name]))
                write_labels(config, self.labels)

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
        return match_labels(names, self._outputs)

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

        def make(index: int) -> EncodedText:
            row = plain[index]
            pair = row["text_pair"]
            sequences = encoder.windows(row["text"], slices) if pair is None else [encoder.pair(row["text"], pair)]
            return text_of(row["id"], sequences, targets[index : index + 1])

        return LazyTexts(len(records), make)

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
        if not self.ranking:
            return super().counted(records)
        from trbert_env.tasks.ranking_metrics import Queries

        found = np.zeros(len(records), np.bool_)
        for places in Queries.of(_queries_of(records), self._targets_of(records).astype(np.float64)).places:
            found[places] = True
        return found

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
        return np.array([classes[name] for name in values], dtype=np.int64 if self.head == "classes" else np.float32)

    def _numbers_of(self, ids: Sequence[str], values: Sequence[float]) -> npt.NDArray[np.float32]:
        """Labels that are numbers, as the head needs them."""
        for key, value in zip(ids, values, strict=True):
            if self.head == "classes":
                raise ValueError(f"record {key!r} has the label {value!r}: head 'classes' needs names")
            if self.head == "relevance" and value not in (0, 1):
                raise ValueError(f"record {key!r} has the label {value!r}: head 'relevance' needs 0 or 1")
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
        logits, gold = max_over_sequences(logits, layout), targets.to(logits.device)
        if self.head == "classes":
            return logits.log_softmax(-1).gather(1, gold).squeeze(1)
        scores, numbers = logits.squeeze(1), gold.squeeze(1).float()
        if self.head == "relevance" or self.bounded:
            return -binary_cross_entropy_with_logits(scores, numbers, reduction="none")
        return -0.5 * (scores - numbers) ** 2

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """KL(teacher || student); of plain regression half the squared difference. See :meth:`Task.divergence`."""
        logits, teacher = (max_over_sequences(values, layout) for values in (logits, teacher_logits.detach()))
        if self.head == "regression" and not self.bounded:
            return 0.5 * ((logits - teacher) ** 2).squeeze(1)
        student = _log_probabilities(logits / temperature)
        teacher = _log_probabilities(teacher / temperature)
        return (teacher.exp() * (teacher - student)).sum(-1) * temperature**2

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
        if self.head != "classes":
            scores = rows[:, 0].astype(float)
            numbers = 1.0 / (1.0 + np.exp(-scores)) if self.bounded else scores
            return dict(zip(ids, numbers.tolist(), strict=True))
        return {key: self.labels[index] for key, index in zip(ids, rows.argmax(1).tolist(), strict=True)}

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """Accuracy and macro F1, or the metrics of a single logit; see :mod:`trbert_env.tasks.class_metrics`."""
        # scikit-learn is slow to import, and no `--help` needs it
        from trbert_env.tasks.class_metrics import class_metrics, regression_metrics, relevance_metrics
        from trbert_env.tasks.ranking_metrics import ranking_metrics

        (ids,) = columns(records, "id")
        found, gold = [predictions[key] for key in ids], self._targets_of(records)
        if self.head == "classes":
            right = [self.labels[index] for index in gold]
            return class_metrics(found, right, self.labels if self.ordered else (), self._looked_for)
        scores, numbers = np.asarray(found, dtype=np.float64), gold.astype(np.float64)
        if self.head == "regression":
            return regression_metrics(scores, numbers)
        relevance, ranking = relevance_metrics(scores, numbers), ranking_metrics(_queries_of(records), scores, numbers)
        return ranking | relevance if self.ranking else relevance | ranking

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
        if self.head == "classes":
            return str(prediction)
        if self.head == "regression":
            return f"{prediction:.2f}"
        probability = float(torch.tensor(prediction, dtype=torch.float64).sigmoid())
        return f"{probability:.2f}" if self.names is None else self.names[int(prediction > 0)]

    def record_score(self, prediction: Any, record: Dataset) -> float | None:
        """Return 100 for the right class and 0 for another; None in regression and ranking, which compare records."""
        return None if self.ranking or self.head == "regression" else super().record_score(prediction, record)

    def changed_answers(self, predictions: Mapping[str, Any], others: Mapping[str, Any], records: Dataset) -> int:
        """Return how many classes, signs of a single logit, orders of candidates or told numbers differ.

        See :meth:`Task.changed_answers`.
        """
        if self.head == "classes":
            return super().changed_answers(predictions, others, records)
        (ids,) = columns(records, "id")
        one, other = (np.array([found[key] for key in ids], dtype=np.float64) for found in (predictions, others))
        if self.head == "regression":
            return sum(self.told_answer(a, {}) != self.told_answer(b, {}) for a, b in zip(one, other, strict=True))
        if not self.ranking:
            return int(((one > 0) != (other > 0)).sum())
        from trbert_env.tasks.ranking_metrics import Queries

        queries = Queries.of(_queries_of(records), self._targets_of(records).astype(np.float64)).places
        orders = ([np.argsort(-values[own], kind="stable") for own in queries] for values in (one, other))
        return sum(not np.array_equal(a, b) for a, b in zip(*orders, strict=True))

    def own_record(self, values: Mapping[str, str]) -> Dataset:
        """Return a text or a pair of texts; see :meth:`Task.own_record`."""
        found = checked_values(self.own_fields, values)
        label: str | float = self._outputs[0] if self.label_kind == "class" else 0.0
        row = {"id": "own", "text": found["text"], "text_pair": found["text_pair"] or None, "label": label}
        return records_of([row], LABELLED_TEXT if isinstance(label, str) else SCORED_TEXT)

    def record_scores(self, predictions: Mapping[str, Any], records: Dataset) -> npt.NDArray[np.float64]:
        """Return 100 where the class is right, else 0; of rankings the nDCG of each query, at its first record.

        Of regression they are the pseudo-values of Pearson's correlation.

        See :meth:`Task.record_scores`, and :func:`~trbert_env.tasks.class_metrics.pearson_pseudo_values`, whose mean is
        the correlation but for a bias of order 1/n.
        """
        from trbert_env.tasks.class_metrics import pearson_pseudo_values
        from trbert_env.tasks.ranking_metrics import ranking_scores

        (ids,) = columns(records, "id")
        found, gold = [predictions[key] for key in ids], self._targets_of(records)
        if self.head == "classes":
            return np.array([100.0 * (name == self.labels[index]) for name, index in zip(found, gold, strict=True)])
        scores, numbers = np.asarray(found, dtype=np.float64), gold.astype(np.float64)
        if self.ranking:
            return ranking_scores(_queries_of(records), scores, numbers)
        if self.head == "relevance":
            return np.where((scores > 0) == (numbers == 1), 100.0, 0.0)
        return pearson_pseudo_values(scores, numbers)

    def stock_logits(self, outputs: Any, layout: Layout) -> Tensor:
        """``(num_sequences, num_logits)``; see :meth:`Task.stock_logits`."""
        result: Tensor = outputs.logits
        return result

    def model_output(self, logits: Tensor, layout: Layout, mask: Tensor) -> SequenceClassifierOutput:
        """``logits``, ``(num_texts, num_logits)``; see :meth:`Task.model_output`."""
        return SequenceClassifierOutput(logits=max_over_sequences(logits, layout))


@dataclass(frozen=True)
class _Labels:
    """Labels in the data: names, or the kind of head that their numbers make."""

    head: Head
    names: tuple[str, ...]
    #: Whether they are numbers from 0 to 1.
    within_bounds: bool = False

    def check(self, head: Head) -> None:
        """Refuse a head that such labels cannot train.

        Raises:
            ValueError: Names where numbers are needed, or the other way round.
        """
        if self.names and head == "regression":
            raise ValueError(f"head 'regression' needs numbers, and the data have the labels {listed(self.names)}")
        if not self.names and head == "classes":
            raise ValueError("head 'classes' needs names of classes, and the labels of the data are numbers")
        if self.head == "regression" and head == "relevance":
            raise ValueError("head 'relevance' needs the labels 0 and 1, and the data have other numbers")

    @classmethod
    def of(cls, records: Dataset, labels: Sequence[str]) -> _Labels:
        """Read the column ``label``, whose names are ``labels`` where these are given."""
        if labels:
            return cls("classes", tuple(labels))
        column = records.with_format("arrow")[:]["label"]
        values = pc.unique(column).to_pylist()
        if values and isinstance(values[0], str):
            return cls("classes", sorted_labels(values))
        within = all(0.0 <= value <= 1.0 for value in values)
        return cls("relevance" if set(values) <= {0.0, 1.0} else "regression", (), within)


def _goes_through_sigmoid(config: PreTrainedConfig) -> bool:
    """Whether an encoder's configuration says that its logit is read through a sigmoid, as of sentence-transformers."""
    said = getattr(config, "sentence_transformers", None)
    name = said.get("activation_fn") if isinstance(said, Mapping) else None
    name = name or getattr(config, "sbert_ce_default_activation_function", None)
    return str(name).rpartition(".")[2] == "Sigmoid"


def _queries_of(records: Dataset) -> list[str]:
    """The query of each record: its group, or the first text of a pair; a single text is one of its own."""
    ids, texts, pairs = columns(records, "id", "text", "text_pair")
    if GROUP in records.column_names:
        texts = columns(records, GROUP)[0]
    elif None in pairs:
        texts = ids
    return list(texts)


def _log_probabilities(logits: Tensor) -> Tensor:
    """``(rows, classes)``; of a single logit those of no and yes."""
    if logits.shape[1] > 1:
        return logits.log_softmax(-1)
    return torch.cat([logsigmoid(-logits), logsigmoid(logits)], 1)
