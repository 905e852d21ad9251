"""Plots of a table: lines in panels that share their x axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

#: Styles that differ without colour too.
_STYLES = ("o-", "s--", "^:", "D-.", "v-", "P--", "X:", "*-.")


def line_plot(title: str, x_label: str, panels: Mapping[str, Mapping[str, Points]], caption: str = "") -> Figure:
    """Draw one panel a quantity, with one line a series.

    Args:
        title: Line above the panels.
        x_label: Label of the shared x axis.
        panels: Label of the y axis -> name of the series -> its points, in the order of x. A series of
            the same name has the same look in every panel; one of a single point is a marker.
        caption: Small line below the panels: the data of the measurement.
    """
    figure = Figure(figsize=(5.6 * len(panels), 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    explained: set[str] = set()
    for axis, (y_label, series) in zip(axes, panels.items(), strict=True):
        for name, points in series.items():
            index = names.index(name)
            x, y = zip(*points, strict=True) if points else ((), ())
            axis.plot(x, y, _STYLES[index % len(_STYLES)], color=f"C{index % 10}", label=name, markersize=5)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.grid(alpha=0.3)
        if any(series.keys() - explained):  # a legend tells what no earlier panel has told
            axis.legend(fontsize="small")
        explained |= series.keys()
    figure.suptitle(title)
    if caption:
        figure.supxlabel(caption, fontsize="x-small", color="0.4")
    return figure


def metric_label(name: str) -> str:
    """Return a metric's name for readers: ``has_answer_f1`` is "has answer F1"."""
    return name.replace("_", " ").replace("f1", "F1")


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=150)
