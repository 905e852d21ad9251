"""What the outputs of a classification head mean: classes, a single logit of relevance, a ranking or a number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from trbert_env.data.records import columns
from trbert_env.data.sampling import GROUP

Numbers = npt.NDArray[np.float64]

#: The metrics of :mod:`trbert_env.tasks.ranking_metrics`; the first leads.
RANKING_METRICS = ("ndcg_at_10", "mrr_at_10")


class ClassificationHead(ABC):
    """Meaning of the logits of a text, ``(num_texts, num_logits)``: their likelihood, predictions and metrics.

    Labels are int64 classes, or float32 numbers.

    Attributes:
        dtype: Type of the labels.
        has_record_scores: False where records are compared, so that one alone has no score.
    """

    dtype: ClassVar[type[np.generic]] = np.float32
    has_record_scores: ClassVar[bool] = True

    @property
    @abstractmethod
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics that tables show; the first is the main one."""

    @abstractmethod
    def needed(self, value: float) -> str | None:
        """Return what the head needs in place of a label that is a number; None where it can learn that."""

    @abstractmethod
    def log_likelihood(self, logits: Tensor, gold: Tensor) -> Tensor:
        """Log-likelihood of the labels ``(num_texts, 1)``, in nats, ``(num_texts,)``."""

    @property
    def has_temperature(self) -> bool:
        """Whether :meth:`divergence` depends on the temperature."""
        return True

    def divergence(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """KL(teacher || student) of each text, ``(num_texts,)``; see :meth:`~trbert_env.tasks.base.Task.divergence`."""
        student = _log_probabilities(logits / temperature)
        teacher = _log_probabilities(teacher / temperature)
        return (teacher.exp() * (teacher - student)).sum(-1) * temperature**2

    def predictions(self, logits: npt.NDArray[np.float32]) -> list[Any]:
        """Return the prediction of each text, by default its one logit."""
        return [float(value) for value in logits[:, 0]]

    @abstractmethod
    def told(self, prediction: Any) -> str:
        """Return a prediction in words."""

    @abstractmethod
    def metrics(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> dict[str, float]:
        """Return the metrics of predictions.

        Args:
            found: The prediction of each record.
            gold: Its label.
            records: The records.
        """

    @abstractmethod
    def record_scores(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> Numbers:
        """Return what each record adds to the main metric; see :meth:`~trbert_env.tasks.base.Task.record_scores`."""

    @abstractmethod
    def changed(self, one: Sequence[Any], other: Sequence[Any]) -> int:
        """Return how many predictions two models do not share."""


@dataclass(frozen=True)
class ClassesHead(ClassificationHead):
    """One logit for each class.

    Attributes:
        labels: Names of the classes.
        ordered: True if they have an order.
        positive: The class that is looked for; None where there is none.
    """

    dtype: ClassVar[type[np.generic]] = np.int64

    labels: tuple[str, ...]
    ordered: bool
    positive: str | None

    @property
    def looked_for(self) -> str | None:
        """The class that is looked for, as the encoder names it; None where it has none of that name."""
        wanted = None if self.positive is None else self.positive.casefold()
        return next((label for label in self.labels if label.casefold() == wanted), None)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Accuracy and macro F1; the distance of ordered classes; what is known of the one looked for."""
        of_order = ("mean_absolute_error",) if self.ordered else ()
        of_one_class = ("f1", "precision", "recall") if self.positive is not None else ()
        return ("accuracy", "macro_f1", *of_order, *of_one_class)

    def needed(self, value: float) -> str | None:
        """Return that it needs names."""
        return "names"

    def log_likelihood(self, logits: Tensor, gold: Tensor) -> Tensor:
        """Log-softmax of the gold class."""
        return logits.log_softmax(-1).gather(1, gold).squeeze(1)

    def predictions(self, logits: npt.NDArray[np.float32]) -> list[Any]:
        """Return the name of each text's class."""
        return [self.labels[index] for index in logits.argmax(1).tolist()]

    def told(self, prediction: Any) -> str:
        """Return the class."""
        return str(prediction)

    def metrics(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> dict[str, float]:
        """Return the metrics of classes; see :func:`~trbert_env.tasks.class_metrics.class_metrics`."""
        # scikit-learn is slow to import, and no `--help` needs it
        from trbert_env.tasks.class_metrics import class_metrics

        right = [self.labels[index] for index in gold]
        return class_metrics(found, right, self.labels if self.ordered else (), self.looked_for)

    def record_scores(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> Numbers:
        """Return 100 where the class is right, else 0."""
        return np.array([100.0 * (name == self.labels[index]) for name, index in zip(found, gold, strict=True)])

    def changed(self, one: Sequence[Any], other: Sequence[Any]) -> int:
        """Return how many classes differ."""
        return sum(a != b for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class RelevanceHead(ClassificationHead):
    """A single logit, which means yes above 0.

    Attributes:
        names: Names of no and yes; None where the labels are 0 and 1.
    """

    names: tuple[str, str] | None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Accuracy and F1 of yes."""
        return ("accuracy", "f1")

    def needed(self, value: float) -> str | None:
        """Return that it needs 0 or 1, where it is another number."""
        return None if value in (0, 1) else "0 or 1"

    def log_likelihood(self, logits: Tensor, gold: Tensor) -> Tensor:
        """Log-sigmoid of the logit, or of minus it."""
        return _log_sigmoid_of(logits, gold)

    def told(self, prediction: Any) -> str:
        """Return the name that it stands for, or the probability."""
        if self.names is not None:
            return self.names[int(prediction > 0)]
        return f"{float(torch.tensor(prediction, dtype=torch.float64).sigmoid()):.2f}"

    def metrics(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> dict[str, float]:
        """Return the metrics of a single logit, then those of the ranking, where there are queries to rank for."""
        return self._relevance_metrics(found, gold) | self._ranking_metrics(found, gold, records)

    def _relevance_metrics(self, found: Sequence[Any], gold: npt.NDArray[Any]) -> dict[str, float]:
        from trbert_env.tasks.class_metrics import relevance_metrics

        return relevance_metrics(_numbers(found), _numbers(gold))

    def _ranking_metrics(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> dict[str, float]:
        from trbert_env.tasks.ranking_metrics import ranking_metrics

        return ranking_metrics(_queries_of(records), _numbers(found), _numbers(gold))

    def record_scores(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> Numbers:
        """Return 100 where the sign is right, else 0."""
        return np.where((_numbers(found) > 0) == (gold == 1), 100.0, 0.0)

    def changed(self, one: Sequence[Any], other: Sequence[Any]) -> int:
        """Return how many signs differ."""
        return int(((_numbers(one) > 0) != (_numbers(other) > 0)).sum())


@dataclass(frozen=True)
class RankingHead(RelevanceHead):
    """A single logit by which the candidates of a query are ranked."""

    has_record_scores: ClassVar[bool] = False

    @property
    def metric_names(self) -> tuple[str, ...]:
        """NDCG and the reciprocal rank lead."""
        return (*RANKING_METRICS, *super().metric_names)

    def metrics(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> dict[str, float]:
        """Return the metrics of the ranking, then those of the single logit."""
        return self._ranking_metrics(found, gold, records) | self._relevance_metrics(found, gold)

    def record_scores(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> Numbers:
        """Return the nDCG of each query at its first record; NaN elsewhere."""
        from trbert_env.tasks.ranking_metrics import ranking_scores

        return ranking_scores(_queries_of(records), _numbers(found), _numbers(gold))

    def counted(self, gold: npt.NDArray[Any], records: Dataset) -> npt.NDArray[np.bool_]:
        """Return the candidates of queries that have relevant and irrelevant ones, ``(n,)``.

        Args:
            gold: Label of each record.
            records: The records.
        """
        found = np.zeros(len(records), np.bool_)
        for places in _places_of_queries(gold, records):
            found[places] = True
        return found

    def changed_orders(self, one: Sequence[Any], other: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> int:
        """Return for how many queries two models order the candidates otherwise.

        Args:
            one: Scores of the one model.
            other: Scores of the other.
            gold: Label of each record.
            records: The records.
        """
        first, second = -_numbers(one), -_numbers(other)
        return sum(
            not np.array_equal(first[places].argsort(kind="stable"), second[places].argsort(kind="stable"))
            for places in _places_of_queries(gold, records)
        )


@dataclass(frozen=True)
class RegressionHead(ClassificationHead):
    """A single logit that is a number.

    Attributes:
        bounded: True if the number is the logit's sigmoid, from 0 to 1.
    """

    has_record_scores: ClassVar[bool] = False

    bounded: bool

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Correlations and the squared error."""
        return ("pearson", "spearman", "mean_squared_error")

    def needed(self, value: float) -> str | None:
        """Return None: it can learn every number."""
        return None

    def log_likelihood(self, logits: Tensor, gold: Tensor) -> Tensor:
        """Minus half the squared error; of numbers from 0 to 1 the log-sigmoid, weighed by them."""
        return _log_sigmoid_of(logits, gold) if self.bounded else -0.5 * ((logits - gold.float()) ** 2).squeeze(1)

    @property
    def has_temperature(self) -> bool:
        """Whether its numbers lie between 0 and 1; differences of others are not softened."""
        return self.bounded

    def divergence(self, logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Half the squared difference; of numbers from 0 to 1 as of a single logit."""
        if self.bounded:
            return super().divergence(logits, teacher, temperature)
        return 0.5 * ((logits - teacher) ** 2).squeeze(1)

    def predictions(self, logits: npt.NDArray[np.float32]) -> list[Any]:
        """Return the number of each text."""
        scores = logits[:, 0].astype(float)
        return list((1.0 / (1.0 + np.exp(-scores)) if self.bounded else scores).tolist())

    def told(self, prediction: Any) -> str:
        """Return the number in two digits."""
        return f"{prediction:.2f}"

    def metrics(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> dict[str, float]:
        """Return the metrics of regression."""
        from trbert_env.tasks.class_metrics import regression_metrics

        return regression_metrics(_numbers(found), _numbers(gold))

    def record_scores(self, found: Sequence[Any], gold: npt.NDArray[Any], records: Dataset) -> Numbers:
        """Return the pseudo-values of Pearson's correlation, whose mean is that but for a bias of order 1/n."""
        from trbert_env.tasks.class_metrics import pearson_pseudo_values

        return pearson_pseudo_values(_numbers(found), _numbers(gold))

    def changed(self, one: Sequence[Any], other: Sequence[Any]) -> int:
        """Return how many numbers differ as they are told."""
        return sum(self.told(a) != self.told(b) for a, b in zip(one, other, strict=True))


def _numbers(values: Sequence[Any] | npt.NDArray[Any]) -> Numbers:
    return np.asarray(values, dtype=np.float64)


def _places_of_queries(gold: npt.NDArray[Any], records: Dataset) -> tuple[npt.NDArray[np.int64], ...]:
    """The records of each query that has relevant and irrelevant candidates."""
    from trbert_env.tasks.ranking_metrics import Queries

    return Queries.of(_queries_of(records), _numbers(gold)).places


def _queries_of(records: Dataset) -> list[str]:
    """The query of each record: its group, or the first text of a pair; a single text is one of its own."""
    ids, texts, pairs = columns(records, "id", "text", "text_pair")
    if GROUP in records.column_names:
        texts = columns(records, GROUP)[0]
    elif None in pairs:
        texts = ids
    return list(texts)


def _log_sigmoid_of(logits: Tensor, gold: Tensor) -> Tensor:
    """``(num_texts,)``: the log-likelihood of numbers from 0 to 1 by a single logit's sigmoid."""
    return -binary_cross_entropy_with_logits(logits.squeeze(1), gold.squeeze(1).float(), reduction="none")


def _log_probabilities(logits: Tensor) -> Tensor:
    """``(rows, classes)``; of a single logit those of no and yes."""
    if logits.shape[1] > 1:
        return logits.log_softmax(-1)
    return torch.cat([logsigmoid(-logits), logsigmoid(logits)], 1)
