"""Plots of a table: lines in panels that share their x axis."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Points = Sequence[tuple[float, float]]

#: Width of a panel and height of a line below them, inches.
_PANEL_WIDTH, _LINE = 5.6, 0.2
#: Letters in an inch of the title, and of the smaller legend and caption; what a legend's marker and gaps take.
_LETTERS, _SMALL_LETTERS, _MARKER_LETTERS = 9, 13, 8
#: Styles that differ without colour too.
_STYLES = ("o-", "s--", "^:", "D-.", "v-", "P--", "X:", "*-.")


def line_plot(title: str, x_label: str, panels: Mapping[str, Mapping[str, Points]], caption: str = "") -> Figure:
    """Draw one panel a quantity, with one line a series; one legend, below them, hides no point.

    Args:
        title: Line above the panels.
        x_label: Label of the shared x axis.
        panels: Label of the y axis -> name of the series -> its points, in the order of x. A series of
            the same name has the same look in every panel; one of a single point is a marker.
        caption: Small line below the panels: the data of the measurement.
    """
    width = _PANEL_WIDTH * len(panels)
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    below = textwrap.fill(caption, int(width * _SMALL_LETTERS))
    longest = _MARKER_LETTERS + max(map(len, names), default=0)
    columns = max(1, min(len(names), int(width * _SMALL_LETTERS / longest)))
    rows = math.ceil(len(names) / columns) + len(below.splitlines())
    figure = Figure(figsize=(width, 4.2 + _LINE * rows), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    handles = dict[str, Line2D]()
    for axis, (y_label, series) in zip(axes, panels.items(), strict=True):
        for name, points in series.items():
            index = names.index(name)
            x, y = zip(*points, strict=True) if points else ((), ())
            style, color = _STYLES[index % len(_STYLES)], f"C{index % 10}"
            (handles[name],) = axis.plot(x, y, style, color=color, markersize=5)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.grid(alpha=0.3)
    # The caption is the legend's heading, for the layout keeps no room for both.
    legend = figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=columns, fontsize="small",
        title=below or None, title_fontsize="x-small", frameon=False,
    )  # fmt: skip
    legend.get_title().set_color("0.4")
    figure.suptitle(textwrap.fill(title, int(width * _LETTERS)))
    return figure


def metric_label(name: str) -> str:
    """Return a metric's name for readers: ``has_answer_f1`` is "has answer F1"."""
    return name.replace("_", " ").replace("f1", "F1")


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=150)
