"""How clock and memory grow with the length of texts, beside what the FLOPs formula says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from runners.cli.plots import Points, line_plot
from runners.cli.tables import Cell as TableCell
from runners.cli.tables import print_table
from runners.evaluation.grid import Cell, Measurement, grid_record
from trbert_env.encoder.texts import EncodedText

#: Tokens that are timed at each length, and that run together: as many texts as hold them.
TIMED_TOKENS, BATCH_TOKENS = 16_384, 8_192
#: Token ids of these texts; the clock does not see which they are.
_FIRST_ID = 1000
#: Kinds of a system with nothing skipped, in torch and in other runtimes.
_FULL = ("packed", "unreduced")


def length_cells(lengths: Sequence[int], vocabulary: int, seed: int) -> list[Cell]:
    """Return a cell for each length, all of about the same number of tokens; a text is one sequence of random tokens.

    Args:
        lengths: Tokens of the texts.
        vocabulary: Token ids that the encoder embeds.
        seed: Fixes the tokens.
    """
    found = []
    for length in lengths:
        batch_size = max(1, BATCH_TOKENS // length)
        texts = random_texts(length, max(batch_size, TIMED_TOKENS // length), vocabulary, seed)
        found.append(Cell(str(length), texts, batch_size, "sorted"))
    return found


def random_texts(length: int, count: int, vocabulary: int, seed: int) -> list[EncodedText]:
    """Return texts of one sequence of random tokens each.

    Args:
        length: Tokens of each.
        count: Number of them.
        vocabulary: Token ids that the encoder embeds.
        seed: Fixes the tokens.
    """
    generator = np.random.default_rng([seed, length])
    first = min(_FIRST_ID, vocabulary - 1)
    segments = np.zeros(length, dtype=np.int32)
    return [
        EncodedText(
            text_id=f"{length}-{index}",
            input_ids=generator.integers(first, vocabulary, length).astype(np.int32),
            token_type_ids=segments,
            sequence_lengths=(length,),
            target=np.zeros((1, 2), dtype=np.int64),
        )
        for index in range(count)
    ]


def spread(rows: Sequence[Measurement], name: str, by_cpu: bool = False) -> float:
    """Return by how much GFLOPs a second of a side differ over the lengths: largest over smallest, less 1.

    Args:
        rows: Measurements, one for each side and length.
        name: Name of the side.
        by_cpu: True for seconds of CPU time instead of the clock's.
    """
    own = [row for row in rows if row.name == name]
    speeds = [row.gflops / (row.cpu_milliseconds if by_cpu else row.milliseconds) for row in own]
    return max(speeds) / min(speeds) - 1.0


def growth_record(rows: Sequence[Measurement]) -> dict[str, float]:
    """Return what was measured by flat names, such as ``reduced_512_milliseconds``, and the spread of each side."""
    record = grid_record(rows)
    for name in dict.fromkeys(row.name for row in rows):
        record |= {f"{name}_spread": spread(rows, name), f"{name}_cpu_spread": spread(rows, name, by_cpu=True)}
    return record


@dataclass(frozen=True)
class _Runtime:
    """Measurements of one runtime in one number format.

    Attributes:
        name: Runtime and number format.
        of: Measurements by kind of system, in the order of the lengths.
    """

    name: str
    of: dict[str, list[Measurement]]

    @property
    def pairs(self) -> list[tuple[Measurement, Measurement]]:
        """Full and reduced system at each length."""
        (full,) = (kind for kind in _FULL if kind in self.of)
        return list(zip(self.of[full], self.of["reduced"], strict=True))


def _runtimes(rows: Sequence[Measurement]) -> list[_Runtime]:
    found: dict[str, dict[str, list[Measurement]]] = {}
    for row in rows:
        found.setdefault(f"{row.backend} {row.precision}", {}).setdefault(row.kind, []).append(row)
    return [_Runtime(name, of) for name, of in found.items()]


def print_growth(rows: Sequence[Measurement]) -> None:
    """Print a line for each length, and how far the clock is from the formula."""
    names = ["packed", "reduced"]
    header = ["tokens", *(f"ms {name}" for name in names), "FLOPs", "stock", "packed"]
    header += [f"{unit} {name}" for unit in ("GFLOP/s", "of products", "MiB") for name in names]
    for runtime in _runtimes(rows):
        stock = runtime.of.get("stock", [None] * len(runtime.pairs))
        table: list[list[TableCell]] = []
        for of_stock, (full, reduced) in zip(stock, runtime.pairs, strict=True):
            both = (full, reduced)
            table.append(
                [
                    f"{full.tokens:,.0f}",
                    *(row.milliseconds for row in both),
                    full.gflops / reduced.gflops,
                    None if of_stock is None else of_stock.milliseconds / reduced.milliseconds,
                    full.milliseconds / reduced.milliseconds,
                    *(row.gflops_per_second for row in both),
                    *(row.matrix_share for row in both),
                    *(row.mebibytes for row in both),
                ]
            )
        print_table(
            f"how cost grows with length, {runtime.name}: ms a text, speed-ups by FLOPs and by the clock, GFLOP/s and "
            "their share of a matrix product's, MiB a batch",
            header,
            table,
        )
    spreads: list[list[TableCell]] = [
        [name, *(f"{100 * spread(rows, name, by_cpu):.0f} %" for by_cpu in (False, True))]
        for name in dict.fromkeys(row.name for row in rows)
    ]
    print_table("largest GFLOP/s over smallest, less 1", ["", "by the clock", "by CPU time"], spreads)


def growth_plot(rows: Sequence[Measurement], caption: str) -> Figure:
    """Draw time, memory and speed-up against length.

    Args:
        rows: Measurements, one for each side and length.
        caption: Encoder and machine.
    """
    panels: dict[str, dict[str, Points]] = {}
    speedups: dict[str, Points] = {}
    runtimes = _runtimes(rows)
    for runtime in runtimes:
        panels[f"ms a text, {runtime.name}"] = _time_panel(runtime)
        speedups[runtime.name] = [(one.tokens, one.milliseconds / other.milliseconds) for one, other in runtime.pairs]
    speedups["by the formula"] = [(one.tokens, one.gflops / other.gflops) for one, other in runtimes[0].pairs]
    memory: dict[str, Points] = {
        name: [(row.tokens, row.mebibytes) for row in rows if row.name == name and row.mebibytes is not None]
        for name in dict.fromkeys(row.name for row in rows if row.mebibytes is not None)
    }
    panels |= {"MiB a batch": memory, "speed-up of the reduced model": speedups}
    return line_plot("cost by length", "tokens", panels, caption)


def _time_panel(runtime: _Runtime) -> dict[str, Points]:
    """Time by length, and the formula with the full system's speed at the length in the middle."""
    time: dict[str, Points] = {
        kind: [(row.tokens, row.milliseconds) for row in own] for kind, own in runtime.of.items()
    }
    pairs = runtime.pairs
    rate = pairs[len(pairs) // 2][0].gflops_per_second
    for name, own in (("full", [one for one, _ in pairs]), ("reduced", [other for _, other in pairs])):
        time[f"{name}, by the formula"] = [(row.tokens, 1000.0 * row.gflops / rate) for row in own]
    return time
