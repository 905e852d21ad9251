"""A benchmark's grid: every side on every cell (texts, batch size, order), in turns, with what a machine can do beside.

========================  ==============================================================================
:class:`Side`             a system in a number format and a runtime
:class:`Cell`             texts in the order in which they run, and how many run together
:class:`Measurement`      one side on one cell
========================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from runners.cli.display import progress
from runners.evaluation.machine import LoadWatch, Product, matrix_product
from runners.evaluation.memory import peak_memory
from runners.evaluation.timing import BATCH_SIZE, Timing, measure, ordered_pass
from trbert_env.deploy.export.backends import Precision
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.system import System

#: Order of the texts: shortest first, or as they were drawn.
Order = Literal["sorted", "unsorted"]


@dataclass(frozen=True)
class Side:
    """A system in a number format and a runtime, which is measured on every cell.

    Attributes:
        kind: Kind of system, such as ``"stock"`` or ``"reduced"``.
        backend: Runtime.
        precision: Number format.
        system: The system.
        name: Name in records, without spaces.
    """

    kind: str
    backend: str
    precision: Precision
    system: System
    name: str


@dataclass(frozen=True)
class Cell:
    """Texts in the order in which all sides run them.

    Attributes:
        key: Name in records, without spaces.
        texts: Texts in the order in which they run.
        batch_size: Texts that run together.
        order: Order of the texts.
    """

    key: str
    texts: Sequence[EncodedText]
    batch_size: int
    order: Order

    @property
    def largest(self) -> Sequence[EncodedText]:
        """Texts of the batch that needs most memory: the most tokens if padded to the longest."""
        firsts = range(0, len(self.texts), self.batch_size)
        batches = [self.texts[first : first + self.batch_size] for first in firsts]
        return max(batches, key=lambda batch: len(batch) * max(map(len, batch)))


@dataclass(frozen=True)
class Measurement:
    """Times, FLOPs and memory of one side on one cell.

    Attributes:
        name: Name of the side.
        kind: See :class:`Side`.
        backend: See :class:`Side`.
        precision: See :class:`Side`.
        cell: Name of the cell.
        batch_size: Texts that ran together.
        order: Order of the texts.
        num_texts: Texts of a round.
        tokens: Mean tokens of a text.
        gflops: Mean GFLOPs of a text, by the closed form, padding not counted.
        milliseconds: Time of a text by the clock: the median over the rounds.
        spread: Interquartile range of that time over its median.
        cpu_milliseconds: CPU time of a text, over all threads: the median over the rounds.
        mebibytes: Largest memory of the tensors of a pass over one batch, beyond the weights; None for other runtimes,
            which do not say.
        matrix_share: GFLOPs a second over those of a large matrix product, measured in the same rounds (on a CPU, of
            CPU time); None for a number format that torch has no such product in.
        others: Processors that other processes kept busy in the meantime; None where the system does not say.
    """

    name: str
    kind: str
    backend: str
    precision: str
    cell: str
    batch_size: int
    order: str
    num_texts: int
    tokens: float
    gflops: float
    milliseconds: float
    spread: float
    cpu_milliseconds: float
    mebibytes: float | None
    matrix_share: float | None
    others: float | None

    @property
    def gflops_per_second(self) -> float:
        """GFLOPs a second; the same in every cell where the clock follows the formula."""
        return 1000.0 * self.gflops / self.milliseconds

    def row(self) -> dict[str, Any]:
        """Return the line of a CSV file."""
        return asdict(self) | {"gflops_per_second": self.gflops_per_second}


def batch_cells(texts: Sequence[EncodedText], batch_sizes: Sequence[int], orders: Sequence[Order]) -> list[Cell]:
    """Return a cell for each batch size and order of the same texts.

    Args:
        texts: Texts as they were drawn.
        batch_sizes: Texts that run together.
        orders: Orders of the texts.
    """
    arranged: dict[Order, list[EncodedText]] = {"sorted": sorted(texts, key=len), "unsorted": list(texts)}
    return [Cell(f"batch_{size}_{order}", arranged[order], size, order) for size in batch_sizes for order in orders]


def measure_grid(sides: Sequence[Side], cells: Sequence[Cell], rounds: int, watch: LoadWatch) -> list[Measurement]:
    """Measure all sides on all cells; on each cell they take turns.

    Args:
        sides: Sides, all on one device.
        cells: Cells.
        rounds: Rounds that count.
        watch: Watch that the rounds' load is added to.
    """
    device = sides[0].system.device
    products: dict[Precision, Product] = {
        side.precision: matrix_product(getattr(torch, side.precision), device)
        for side in sides
        if side.precision in ("float32", "bfloat16")
    }
    counted: dict[tuple[str, frozenset[str]], float] = {}
    found = []
    with progress("benchmark", len(cells), unit="cells") as bar:
        for cell in cells:
            own_watch = LoadWatch()
            passes = {side.name: ordered_pass(side.system, cell.texts, cell.batch_size) for side in sides}
            passes |= {f"product {name}": product.run for name, product in products.items()}
            with watch, own_watch:
                timings = measure(passes, rounds, str(device))
            for side in sides:
                key = side.name, frozenset(text.text_id for text in cell.texts)
                if key not in counted:
                    counted[key] = _mean_gflops(side.system, cell.texts)
                share = _share(counted[key] * len(cell.texts), timings, side, products.get(side.precision))
                found.append(_measurement(side, cell, timings[side.name], counted[key], share, own_watch.load.others))
            bar.update(1)
    return found


def _measurement(
    side: Side, cell: Cell, timing: Timing, gflops: float, share: float | None, others: float | None
) -> Measurement:
    """One side on one cell."""
    count = len(cell.texts)
    return Measurement(
        side.name,
        side.kind,
        side.backend,
        side.precision,
        cell.key,
        cell.batch_size,
        cell.order,
        count,
        sum(map(len, cell.texts)) / count,
        gflops,
        1000.0 * timing.median / count,
        timing.spread,
        1000.0 * timing.cpu_median / count,
        peak_memory(side.system, cell.largest) if side.backend == "torch" else None,
        share,
        others,
    )


def _share(gflops: float, timings: Mapping[str, Timing], side: Side, product: Product | None) -> float | None:
    """GFLOPs a second of a round over those of a matrix product; None where there is no such product.

    On a CPU these are of CPU time: a product is so short that other processes hit it or miss it.
    """
    if product is None:
        return None
    own, of_product = timings[side.name], timings[f"product {side.precision}"]
    if side.system.device.type == "cpu":
        return gflops / own.cpu_median / (product.gflops / of_product.cpu_median)
    return gflops / own.median / (product.gflops / of_product.median)


def _mean_gflops(system: System, texts: Sequence[EncodedText]) -> float:
    """Mean GFLOPs of a text."""
    spent = 0.0
    with torch.inference_mode():
        for first in range(0, len(texts), BATCH_SIZE):
            output = system.run(TextBatch.from_texts(texts[first : first + BATCH_SIZE], system.device))
            spent += float(output.flops.sum())
    return spent / len(texts) / 1e9


def grid_record(rows: Sequence[Measurement]) -> dict[str, float]:
    """Return what was measured by flat names, such as ``reduced_batch_32_sorted_milliseconds``.

    Args:
        rows: Measurements.
    """
    names = ("gflops", "milliseconds", "spread", "cpu_milliseconds", "mebibytes", "matrix_share")
    values = {f"{row.name}_{row.cell}_{name}": getattr(row, name) for row in rows for name in names}
    return {name: value for name, value in values.items() if value is not None}
