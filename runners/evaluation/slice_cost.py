"""FLOPs of the same texts in slices, which encoders of long texts are compared with (TR-BERT, table 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from runners.cli.run import UserError
from runners.cli.tables import Cell, print_table
from runners.evaluation.record import EvaluationRecord, SliceCost
from trbert_env.data.workload import Workload
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.reduction.cost import CostModel
from trbert_env.tasks import task_name, task_of

#: Texts whose cost is worked out at once.
_BATCH = 1024


def slices_speedup(workload: Workload, tokens: int) -> float:
    """Return the FLOPs of an unreduced encoder over slices, divided by its FLOPs on the texts as they are.

    The most tokens of a text settle the number of slices, as in the paper. Each slice repeats the query or what else
    begins it, which takes room there: of a text that fills its limit, the slices hold a little less.

    Args:
        workload: The texts.
        tokens: Tokens of a slice.

    Raises:
        UserError: The task has no slices.
    """
    task = workload.task
    if "max_slices" not in {entry.name for entry in fields(task)}:
        raise UserError(f"--slices compares with slices of long texts, and {task_name(task)} has none: leave it out")
    # Where each window is a text of its own, a context is read to its end: by slices too.
    slices = math.ceil(task.max_text_tokens / tokens) if task.settings["max_slices"] else 0
    wanted: dict[str, Any] = {"max_tokens": tokens, "max_slices": slices}
    # Slices of one text follow each other: they neither overlap nor leave a middle out.
    whole = {"truncation": "head", **({"stride": 0} if slices else {})}
    wanted |= {name: value for name, value in whole.items() if name in task.settings}
    sliced = task_of(task_name(task), task.settings | wanted)
    sliced.configure(workload.backbone.model.config)
    cost = CostModel.of(StagedEncoder(workload.backbone.model))
    texts = sliced.encode(workload.examples, workload.backbone.tokenizer)
    return _total(texts, cost) / _total(workload.texts, cost)


def with_slices(record: EvaluationRecord, tokens: int, full: float) -> EvaluationRecord:
    """Add the FLOPs against slices to an evaluation, and print them.

    Args:
        record: An evaluation.
        tokens: Tokens of a slice.
        full: FLOPs of the unreduced encoder over slices, as a multiple of those on its texts; see
            :func:`slices_speedup`.
    """
    savings = record.reduced.savings
    found = SliceCost(tokens, full, full * (1.0 if savings is None else savings.flops_speedup))
    rows: list[list[Cell]] = [["unreduced", found.slices_full_speedup], ["reduced", found.slices_speedup]]
    print_table(f"FLOPs speed-up over slices of {tokens} tokens", ["", "value"], rows)
    return replace(record, slices=found)


def _total(texts: Iterable[EncodedText], cost: CostModel) -> float:
    """FLOPs of all texts, unreduced."""
    total, lengths = 0.0, list[int]()
    for text in texts:
        lengths.extend(text.sequence_lengths)
        if len(lengths) >= _BATCH:
            total, lengths = total + _of_sequences(lengths, cost), []
    return total + (_of_sequences(lengths, cost) if lengths else 0.0)


def _of_sequences(lengths: list[int], cost: CostModel) -> float:
    return float(cost.full(Layout.from_lengths(lengths, [1] * len(lengths))).sum())
