"""Metrics of classes, of a single logit and of regression, from 0 to 100."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support, roc_auc_score

Numbers = npt.NDArray[np.float64]


def class_metrics(
    predicted: Sequence[str], gold: Sequence[str], ordered: Sequence[str] = (), positive: str | None = None
) -> dict[str, float]:
    """Return accuracy, the mean F1 of the classes, the mean distance of ordered classes, and the metrics of one class.

    Args:
        predicted: Predicted class of each record.
        gold: Its right class.
        ordered: All classes in their order, where they have one (stars); adds ``mean_absolute_error``, in classes.
        positive: The class that is looked for; adds its ``f1``, ``precision`` and ``recall``, 0 where there is none.

    Raises:
        ValueError: There is no record.

    Example:
        >>> class_metrics(["a", "b", "b"], ["a", "b", "a"])["accuracy"]
        66.66666666666667
    """
    _check_some(gold)
    hits = sum(one == other for one, other in zip(predicted, gold, strict=True))
    metrics = {
        "accuracy": 100.0 * hits / len(gold),
        "macro_f1": 100.0 * float(f1_score(gold, predicted, average="macro", zero_division=0.0)),
    }
    if ordered:
        place = {name: index for index, name in enumerate(ordered)}
        distances = [abs(place[one] - place[other]) for one, other in zip(predicted, gold, strict=True)]
        metrics["mean_absolute_error"] = sum(distances) / len(distances)
    if positive is not None:
        counted = precision_recall_fscore_support(gold, predicted, labels=[positive], zero_division=0.0)
        precision, recall, f1, _ = (100.0 * float(values[0]) for values in counted)
        metrics |= {"f1": f1, "precision": precision, "recall": recall}
    return metrics


def relevance_metrics(scores: Numbers, gold: Numbers) -> dict[str, float]:
    """Return accuracy at score 0, F1 of the relevant, average precision and the area under the ROC curve.

    The latter two need relevant and irrelevant records and are left out where there are only ones of a kind.

    Args:
        scores: ``(n,)`` logits.
        gold: ``(n,)``, 1 for relevant, else 0.

    Raises:
        ValueError: There is no record.
    """
    _check_some(gold)
    metrics = {
        "accuracy": 100.0 * float(((scores > 0) == (gold == 1)).mean()),
        "f1": 100.0 * float(f1_score(gold == 1, scores > 0, zero_division=0.0)),
    }
    if 0 < gold.sum() < len(gold):
        metrics["average_precision"] = 100.0 * float(average_precision_score(gold, scores))
        metrics["roc_auc"] = 100.0 * float(roc_auc_score(gold, scores))
    return metrics


def regression_metrics(predicted: Numbers, gold: Numbers) -> dict[str, float]:
    """Return Pearson's and Spearman's correlation times 100, and the mean squared error.

    A correlation with something constant is 0 here.

    Args:
        predicted: ``(n,)``.
        gold: ``(n,)``.

    Raises:
        ValueError: There is no record.
    """
    _check_some(gold)
    constant = len(gold) < 2 or np.ptp(gold) == 0 or np.ptp(predicted) == 0
    return {
        "pearson": 0.0 if constant else 100.0 * float(pearsonr(predicted, gold).statistic),
        "spearman": 0.0 if constant else 100.0 * float(spearmanr(predicted, gold).statistic),
        "mean_squared_error": float(((predicted - gold) ** 2).mean()),
    }


def pearson_pseudo_values(predicted: Numbers, gold: Numbers) -> Numbers:
    """Return the jackknife's pseudo-values of Pearson's correlation times 100: what each record adds to it.

    A record's is n times the correlation of all records, less n - 1 times that of the others (Tukey 1958). Their mean
    estimates the correlation, and their spread how far it is known.

    Args:
        predicted: ``(n,)``.
        gold: ``(n,)``.

    Returns:
        ``(n,)``; of fewer than three records, the correlation for each.
    """
    whole, count = regression_metrics(predicted, gold)["pearson"], len(gold)
    if count < 3:
        return np.full(count, whole)
    x, y = predicted - predicted.mean(), gold - gold.mean()
    sum_x, sum_y = -x, -y  # of all but one: the sums of all are 0
    products = (x * y).sum() - x * y - sum_x * sum_y / (count - 1)
    squares_x = (x * x).sum() - x * x - sum_x**2 / (count - 1)
    squares_y = (y * y).sum() - y * y - sum_y**2 / (count - 1)
    scale = np.sqrt(np.clip(squares_x, 0.0, None) * np.clip(squares_y, 0.0, None))
    others = np.divide(products, scale, out=np.zeros(count), where=scale > 1e-12)
    values: Numbers = count * whole - (count - 1) * 100.0 * others
    return values


def _check_some(gold: Sequence[str] | Numbers) -> None:
    if not len(gold):
        raise ValueError("there are no records to score: give at least one")
