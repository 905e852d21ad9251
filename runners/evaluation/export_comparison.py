"""Exports of one model side by side: quality, FLOPs, and CPU time in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runners.cli.tables import Cell
from runners.evaluation.quality import measure_quality
from runners.evaluation.record import Measured
from runners.evaluation.timing import measure, system_pass
from trbert_env.data.workload import Workload
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.encoder.texts import EncodedText
from trbert_env.system import ReducedSystem


@dataclass(frozen=True)
class ExportRow:
    """One export.

    Attributes:
        precision: Number format.
        unreduced: True where nothing is skipped.
        metric: Name of the task's main metric.
        measured: Quality and savings.
        milliseconds: CPU milliseconds a text, by batch size.
        speedups: The unreduced export's CPU time in the same number format over this one's, by batch size.
    """

    precision: str
    unreduced: bool
    metric: str
    measured: Measured
    milliseconds: dict[int, float]
    speedups: dict[int, float]

    @property
    def name(self) -> str:
        """Name in tables and records."""
        return f"{self.precision} {'unreduced' if self.unreduced else 'reduced'}"


def compare_exports(
    exports: Sequence[ExportedModel],
    workload: Workload,
    timed: Sequence[EncodedText],
    batch_sizes: Sequence[int],
    rounds: int,
) -> list[ExportRow]:
    """Measure exports of one model.

    CPU time tells them apart on a machine that others use too, where the clock does not.

    Args:
        exports: Exports; an unreduced one of each number format among them.
        workload: Split that quality is measured on.
        timed: Texts that are timed, in the order that they run in.
        batch_sizes: Texts of one batch.
        rounds: Rounds that count, the exports in turns.
    """
    systems = {export.name: ReducedSystem(export, name=export.name) for export in exports}
    measured = {name: measure_quality(system, workload) for name, system in systems.items()}
    milliseconds: dict[str, dict[int, float]] = {name: {} for name in systems}
    for size in batch_sizes:
        passes = {name: system_pass(system, timed, size) for name, system in systems.items()}
        timings = measure(passes, rounds, "cpu")
        for name, timing in timings.items():
            milliseconds[name][size] = 1e3 * timing.cpu_median / len(timed)
    unreduced = {
        export.manifest.precision: milliseconds[export.name] for export in exports if export.manifest.unreduced
    }
    return [
        ExportRow(
            export.manifest.precision,
            export.manifest.unreduced,
            workload.task.metric_names[0],
            measured[export.name],
            own := milliseconds[export.name],
            {size: unreduced[export.manifest.precision][size] / own[size] for size in batch_sizes},
        )
        for export in exports
    ]


def export_record(rows: Sequence[ExportRow]) -> dict[str, Any]:
    """Return the part of ``metrics.json`` on exports: ``<precision>_<kind>_<what>``."""
    record: dict[str, Any] = {}
    for row in rows:
        start = row.name.replace(" ", "_").replace("-", "_")
        record |= {f"{start}_{name}": value for name, value in row.measured.to_flat().items()}
        for size, value in row.milliseconds.items():
            record[f"{start}_cpu_milliseconds_batch_{size}"] = value
        if not row.unreduced:
            record |= {f"{start}_speedup_batch_{size}": value for size, value in row.speedups.items()}
    return record


def export_table(rows: Sequence[ExportRow]) -> tuple[list[str], list[list[Cell]]]:
    """Return header and rows of the table on the screen."""
    sizes = list(rows[0].milliseconds)
    header = ["", rows[0].metric.replace("_", " "), "FLOPs speed-up"]
    header += [f"{what}, batch {size}" for size in sizes for what in ("ms", "faster")]
    table: list[list[Cell]] = []
    for row in rows:
        savings = row.measured.savings
        line: list[Cell] = [
            row.name,
            row.measured.quality[row.metric],
            None if savings is None else savings.flops_speedup,
        ]
        for size in sizes:
            line += [row.milliseconds[size], row.speedups[size]]
        table.append(line)
    return header, table
