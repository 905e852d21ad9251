"""Quality and FLOPs of any system over a split: one function for reduced, unreduced, stock and compared systems."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from runners.cli.display import progress
from runners.evaluation.record import Measured, Quality, Savings
from trbert_env.data.workload import Workload
from trbert_env.encoder.batching import pass_rows
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.system import System

#: Predictions that are alike at least where a warning says so: few of skewed data may be alike by chance.
LEAST_TELLING = 100


class MeanLikelihood:
    """Mean log-likelihood of the texts that have a gold answer, batch by batch.

    Example:
        >>> likelihood = MeanLikelihood()
        >>> likelihood.add(torch.tensor([-1.0, 0.0, -2.0]), torch.tensor([True, False, True]))
        >>> likelihood.mean
        -1.5
    """

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values: Tensor, has_gold: Tensor) -> None:
        """Count a batch.

        Args:
            values: ``(num_texts,)``, nats.
            has_gold: ``(num_texts,)`` bool; see :meth:`trbert_env.tasks.base.Task.has_gold`.
        """
        self._sum += float(values[has_gold].sum())
        self._count += int(has_gold.sum())

    @property
    def mean(self) -> float:
        """The mean, NaN of nothing."""
        return self._sum / self._count if self._count else math.nan


@dataclass(frozen=True)
class MeasuredPass:
    """One pass of a system over a split, record by record.

    Attributes:
        measured: Quality and savings of the pass.
        predictions: Prediction of each record, by id.
        workload: The split.
        flops: ``(num_texts,)`` FLOPs of each text.
        full_flops: ``(num_texts,)`` FLOPs of the system's reference on it.
    """

    measured: Measured
    predictions: Mapping[str, Any]
    workload: Workload
    flops: npt.NDArray[np.float64]
    full_flops: npt.NDArray[np.float64]

    @cached_property
    def scores(self) -> npt.NDArray[np.float64]:
        """What each record adds to the main metric, ``(num_records,)``; see :meth:`Task.record_scores`."""
        return self.workload.task.record_scores(self.predictions, self.workload.examples)


def measure_quality(system: System, workload: Workload) -> Measured:
    """Run a system once over a split; see :func:`measure_pass`.

    Args:
        system: System to measure, with the task of the workload.
        workload: The split; its backbone is not run.
    """
    return measure_pass(system, workload).measured


def measure_pass(system: System, workload: Workload) -> MeasuredPass:
    """Run a system once over a split.

    Texts run in the order of the split, and the last pass is filled up with the first text, as an environment's is:
    metrics are then the same through both, to the last bit. Systems that pad run their texts by length.

    Args:
        system: System to measure, with the task of the workload.
        workload: The split; its backbone is not run.

    Raises:
        ValueError: The texts are unlabelled.
    """
    workload.require_labels("an evaluation")
    texts, task = workload.texts, workload.task
    rows = pass_rows(system.device)
    places = text_order(system, texts)
    logits: dict[int, npt.NDArray[np.float32]] = {}
    costs = np.zeros((2, len(texts)))
    tokens, likelihood = 0.0, MeanLikelihood()
    kept = torch.zeros(0, dtype=torch.float64)
    with progress(system.name, len(texts)) as bar, torch.inference_mode():
        for first in range(0, len(places), rows):
            own = places[first : first + rows]
            count = len(own)
            chosen = [texts[place] for place in own]
            if not system.pads:
                chosen += [texts[0]] * (rows - count)
            batch = TextBatch.from_texts(chosen, system.device)
            output = system.run(batch)
            targets = task.targets(chosen).to(system.device)
            found = task.log_likelihood(output.logits, batch.layout, targets)
            likelihood.add(found.cpu()[:count], task.has_gold(targets).cpu()[:count])
            pieces = task.split(output.logits.float().cpu(), batch.layout)[:count]
            logits |= {place: piece.numpy() for place, piece in zip(own, pieces, strict=True)}
            costs[:, own] = output.flops[:count].cpu().numpy(), output.full_flops[:count].cpu().numpy()
            kept_here = output.kept_tokens[:count].sum(0).double()
            kept = kept + kept_here if first else kept_here
            tokens += float(batch.layout.text_lengths.cpu()[:count].sum())
            bar.update(count)
    predictions = task.predict(texts, [logits[place] for place in range(len(texts))], workload.examples)
    warn_of_one_answer(system.name, predictions)
    quality = Quality(task.metrics_with_subsets(predictions, workload.examples), likelihood.mean)
    spent, full = costs
    savings = Savings(float(full.sum() / spent.sum()), tuple((kept / tokens).tolist()))
    return MeasuredPass(Measured(quality, savings), predictions, workload, spent, full)


def warn_of_one_answer(name: str, predictions: Mapping[str, Any]) -> None:
    """Warn of a system that answers alike whatever it reads, which metrics of skewed data may hide.

    Args:
        name: Name of the system.
        predictions: Its prediction for each record, by id.
    """
    answers = [answer for answer in predictions.values() if isinstance(answer, (str, int, float))]
    if len(answers) >= LEAST_TELLING and len(answers) == len(predictions) and len(set(answers)) == 1:
        warnings.warn(
            f"{name}: all {len(answers):,} predictions are {answers[0]!r}, so it has not learned the task: "
            "fine-tune longer (--epochs of finetune.py), or check the labels",
            stacklevel=3,
        )


def text_order(system: System, texts: Sequence[EncodedText]) -> list[int]:
    """Return the places of the texts in the order that a system runs them in."""
    places = range(len(texts))
    return sorted(places, key=lambda place: len(texts[place])) if system.pads else list(places)
