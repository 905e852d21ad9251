"""Quality with nothing skipped, by every way to compute it: each must be that of stock transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, get_args

import torch

from runners.cli.tables import Cell as TableCell
from runners.cli.tables import print_table
from runners.evaluation.grid import Side
from runners.evaluation.quality import MeasuredPass, measure_pass
from runners.evaluation.record import Quality
from runners.evaluation.timing import timed_model
from trbert_env.data.workload import Workload
from trbert_env.deploy.export.backends import Precision
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.kernels import Library, by_library, linear_library
from trbert_env.staged_model import StagedModel
from trbert_env.system import StockSystem, UnreducedSystem

#: Points of the main metric by which keep-all may differ from the stock forward.
TOLERANCE = 0.01


@dataclass(frozen=True)
class KeepAll:
    """Quality of one way to compute.

    Attributes:
        name: Name in records, without spaces.
        precision: Number format.
        quality: Metrics and log-likelihood.
        loss: Points of the main metric below the stock forward in the same number format; in float32 where torch has no
            such format, and of the stock forward itself.
        changed: Answers that are not those of that forward; see :meth:`Task.changed_answers`. Rounding decides between
            answers that are about as good: where it changes some, the metric moves to either side.
    """

    name: str
    precision: str
    quality: Quality
    loss: float
    changed: int

    @classmethod
    def of(cls, name: str, precision: str, found: MeasuredPass, stock: MeasuredPass) -> KeepAll:
        """Compare a pass with that of stock transformers."""
        metric = found.workload.task.metric_names[0]
        own, others = found.measured.quality, stock.measured.quality
        task, records = found.workload.task, found.workload.examples
        changed = task.changed_answers(found.predictions, stock.predictions, records)
        return cls(name, precision, own, others[metric] - own[metric], changed)

    @property
    def equal(self) -> bool:
        """Whether it answers as the stock forward does."""
        return abs(self.loss) <= TOLERANCE


def measure_keep_all(
    model: TokenReducedModel, workload: Workload, precisions: Sequence[Precision], device: str, exports: Sequence[Side]
) -> list[KeepAll]:
    """Measure stock transformers and packed keep-all in each number format and by each library, and unreduced exports.

    Args:
        model: The model; left as it is.
        workload: Split to measure on.
        precisions: Number formats of torch, float32 first.
        device: Device to compute on.
        exports: Exports; those of unreduced models are measured.
    """
    found: list[KeepAll] = []
    stock: dict[str, MeasuredPass] = {}
    for precision in precisions:
        placed = timed_model(model, model.decision, getattr(torch, precision), device)
        placed.requires_grad_(False)
        stock[precision] = measure_pass(StockSystem(placed.backbone, placed.task), workload)
        found.append(KeepAll.of(f"stock_{precision}", precision, stock[precision], stock["float32"]))
        for library in _libraries(getattr(torch, precision), device):
            with nullcontext() if library is None else by_library(library):
                own = measure_pass(UnreducedSystem(StagedModel(placed.backbone, placed.task)), workload)
            name = f"packed_{precision}" if library is None else f"packed_{library}_{precision}"
            found.append(KeepAll.of(name, precision, own, stock[precision]))
    for side in exports:
        if side.kind == "unreduced":
            own, of_stock = measure_pass(side.system, workload), stock.get(side.precision, stock["float32"])
            found.append(KeepAll.of(side.name, side.precision, own, of_stock))
    return found


def _libraries(dtype: torch.dtype, device: str) -> Iterator[Library | None]:
    """Libraries that can compute linear layers on the device; None where there is no choice."""
    if device != "cpu":
        yield None
        return
    libraries: tuple[Library, ...] = get_args(Library)
    for library in libraries:
        with by_library(library):
            there = linear_library(dtype) == library
        if there:
            yield library


def keep_all_record(rows: Sequence[KeepAll], metric: str) -> dict[str, Any]:
    """Return what was measured by flat names, such as ``packed_onednn_float32_f1``.

    Args:
        rows: Measurements.
        metric: Main metric of the task.
    """
    record: dict[str, Any] = {}
    for row in rows:
        record[f"{row.name}_{metric}"] = row.quality[metric]
        record[f"{row.name}_log_likelihood"] = row.quality.log_likelihood
        record |= {f"{row.name}_loss": row.loss, f"{row.name}_changed_answers": row.changed}
    return record


def print_keep_all(rows: Sequence[KeepAll], metric: str) -> None:
    """Print a line for each way to compute.

    Args:
        rows: Measurements.
        metric: Main metric of the task.
    """
    table: list[list[TableCell]] = [
        [
            row.name.replace("_", " "),
            f"{row.quality[metric]:.4f}",
            f"{row.quality.log_likelihood:.5f}",
            f"{row.loss:+.4f}",
            row.changed,
            f"{'yes' if row.equal else 'no'}",
        ]
        for row in rows
    ]
    header = ["", metric.replace("_", " "), "log-likelihood", "below stock", "other answers", f"equal to {TOLERANCE:g}"]
    print_table(
        "nothing skipped: below the stock forward in the same number format, where torch has it; itself below float32",
        header,
        table,
    )
