"""How tables and figures of a reproduction are written: CSV, Markdown and a plot, and a table on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from runners.cli.plots import Points, line_plot, metric_label, save_plot
from runners.cli.tables import Cell, markdown_table, print_table
from runners.reproduction.nested import Result
from runners.runs.files import write_csv, write_durably
from runners.runs.run_folder import RunFolder
from runners.runs.tracking import Tracker


@dataclass(frozen=True)
class Told:
    """A table or figure, ready to be written.

    Attributes:
        name: Name of its files.
        title: Line above it.
        headings: Headings of the Markdown table.
        cells: Rows of the Markdown table.
        notes: Lines below it.
        rows: Rows of its CSV file.
        panels: Panels of its plot; see :func:`~runners.cli.plots.line_plot`.
        x_label: Label of the x axis of its plot.
    """

    name: str
    title: str
    headings: Sequence[str]
    cells: Sequence[Sequence[Cell]]
    notes: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    panels: Mapping[str, Mapping[str, Points]]
    x_label: str = "FLOPs speed-up"

    @property
    def figure(self) -> Figure:
        """The plot."""
        return line_plot(self.title, self.x_label, self.panels)


def write_told(told: Told, results: Sequence[Result], folder: RunFolder) -> None:
    """Write the files of a table or figure, in place of those of before.

    Args:
        told: The table or figure.
        results: Runs that it is made of.
        folder: Folder of the reproduction.
    """
    write_csv(folder.path / "runs.csv", [result.row() for result in results])
    write_csv(folder.path / f"{told.name}.csv", told.rows)
    notes = "".join(f"\n- {note}" for note in told.notes)
    text = f"{told.title}\n\n{markdown_table(told.headings, told.cells)}{notes}\n"
    write_durably(folder.path / f"{told.name}.md", text)
    save_plot(told.figure, folder.path / f"{told.name}.png")


def close(told: Told, results: Sequence[Result], folder: RunFolder) -> None:
    """Write a table or figure, also for TensorBoard, print it, and end the reproduction by ``metrics.json``.

    Args:
        told: The table or figure.
        results: Runs that it is made of.
        folder: Folder of the reproduction.
    """
    write_told(told, results, folder)
    print_table(told.title, told.headings, told.cells)
    for note in told.notes:
        print(f"- {note}")
    texts, figures = {told.name: markdown_table(told.headings, told.cells)}, {told.name: told.figure}
    close_with(texts, figures, results, folder)
    print(f"table: {folder.path / told.name}.md, and beside it .csv, .png and runs.csv")


def close_with(
    texts: Mapping[str, str], figures: Mapping[str, Figure], results: Sequence[Result], folder: RunFolder
) -> None:
    """Log texts and figures to TensorBoard, and end the reproduction by ``metrics.json``.

    Args:
        texts: Markdown by name.
        figures: Plots by name.
        results: Runs of the reproduction.
        folder: Folder of the reproduction.
    """
    with Tracker(folder.events_dir) as tracker:
        for name, text in texts.items():
            tracker.log_text(name, text, 0)
        for name, figure in figures.items():
            tracker.log_figure(name, figure)
    folder.write_metrics(
        {
            f"{result.env}/{result.system}/{result.target:g}/{result.seed}/{name}": value
            for result in results
            for name, value in result.record.reduced.quality.to_flat().items()
        }
    )


def on_what(results: Sequence[Result]) -> str:
    """Return what results were measured on, one data set after the other.

    Args:
        results: The results.
    """
    firsts = {result.env: result.record.conditions for result in reversed(results)}
    told = []
    for env in dict.fromkeys(result.env for result in results):
        on = firsts[env]
        told.append(
            f"{env} {on.split} ({on.data_source}), {on.num_examples:,} examples, {Path(on.backbone or '').name}"
        )
    return "; ".join(told)


def panel_label(result: Result) -> str:
    """Return the label of a data set's panel: its name and its main metric.

    Args:
        result: A result on it.
    """
    return f"{result.env}, {metric_label(result.main_metric)}"
