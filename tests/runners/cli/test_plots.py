"""Plots say all of their title and legend, and hide no point behind them."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from runners.cli.plots import line_plot

LONG = "figure 3: SQuAD2 validation (local), 2,000 examples, an encoder whose folder has a rather long name"


@pytest.fixture(params=[1, 2], ids=["one panel", "two panels"])
def figure(request: pytest.FixtureRequest) -> Figure:
    """Nine series whose points fill each panel to its corners."""
    series = {f"system number {index}": [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0)] for index in range(9)}
    panels = {f"quality {index}": series for index in range(request.param)}
    found = line_plot(LONG, "speed", panels, caption="measured here")
    FigureCanvasAgg(found).draw()
    return found


def extent(artist: object) -> Bbox:
    return artist.get_window_extent()  # type: ignore[attr-defined]


def test_the_legend_names_each_series_once_beside_the_panels(figure: Figure) -> None:
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"system number {index}" for index in range(9)]
    assert all(axis.get_legend() is None for axis in figure.axes)
    assert not any(extent(axis).overlaps(extent(legend)) for axis in figure.axes)


def test_title_and_legend_lie_within_the_figure(figure: Figure) -> None:
    title = next(text for text in figure.texts if text.get_text().startswith("figure 3"))
    assert title.get_text().replace("\n", " ") == LONG
    for artist in (title, *figure.legends):
        found = extent(artist)
        assert figure.bbox.x0 <= found.x0
        assert found.x1 <= figure.bbox.x1


def test_the_caption_stands_above_the_legend(figure: Figure) -> None:
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "measured here"
    assert not any(extent(text).overlaps(extent(legend.get_title())) for text in legend.get_texts())


def test_panels_without_a_series() -> None:
    (legend,) = line_plot("nothing", "speed", {"quality": {}}, caption="measured here").legends
    assert legend.get_texts() == []
    assert legend.get_title().get_text() == "measured here"
