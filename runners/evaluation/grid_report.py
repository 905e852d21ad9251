"""What a benchmark's grid shows: a table, and a plot of speed-ups by batch size."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from runners.cli.plots import Points, line_plot
from runners.cli.tables import Cell as TableCell
from runners.cli.tables import print_table
from runners.evaluation.grid import Measurement


def print_grid(rows: Sequence[Measurement]) -> None:
    """Print a table for each cell; ratios are to the first side.

    Args:
        rows: Measurements.
    """
    header = ["", "numbers", "ms a text", "spread", "CPU ms", "faster", "by CPU", "FLOPs", "GFLOP/s", "of products"]
    for own in _by_cell(rows):
        first = own[0]
        table: list[list[TableCell]] = []
        for row in own:
            table.append(
                [
                    f"{row.kind} {row.backend}",
                    row.precision,
                    row.milliseconds,
                    f"{100 * row.spread:.0f} %",
                    row.cpu_milliseconds,
                    first.milliseconds / row.milliseconds,
                    first.cpu_milliseconds / row.cpu_milliseconds,
                    first.gflops / row.gflops,
                    row.gflops_per_second,
                    row.matrix_share,
                    row.mebibytes,
                ]
            )
        print_table(
            f"batch {first.batch_size}, {first.order}, {first.tokens:.0f} tokens a text: medians of rounds in turns; "
            f"ratios to {first.kind} {first.backend} {first.precision}; share of a matrix product's rate; MiB a batch",
            [*header, "MiB"],
            table,
        )


def grid_plot(rows: Sequence[Measurement], caption: str) -> Figure:
    """Draw the speed-up over the first side against the batch size, a panel for each order.

    Args:
        rows: Measurements.
        caption: Encoder and machine.
    """
    panels: dict[str, dict[str, Points]] = {}
    for own in _by_cell(rows):
        first = own[0]
        panel = panels.setdefault(f"times as fast as {first.name}, {first.order} texts", {})
        for row in own:
            earlier = panel.get(row.name, ())
            panel[row.name] = [*earlier, (row.batch_size, first.milliseconds / row.milliseconds)]
    return line_plot("speed by batch size", "texts of a batch", panels, caption)


def _by_cell(rows: Sequence[Measurement]) -> list[list[Measurement]]:
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        found.setdefault(row.cell, []).append(row)
    return list(found.values())
