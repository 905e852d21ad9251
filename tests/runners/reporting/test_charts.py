"""Plots: points stand where the axes say, and nothing of a name is markup."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from runners.reporting.charts import Axis, Chart, Line, Mark, smoothed


def test_points_stand_where_the_axes_say() -> None:
    chart = Chart("a", "speed", "F1", [Line("ours", 1, [Mark(1.0, 60.0), Mark(2.0, 62.0, 0.5, "best")])], floor=58.0)
    root = ElementTree.fromstring(str(chart.svg(400)))
    ticks = {
        element.text: (float(element.get("x", "")), float(element.get("y", "")))
        for element in root.iter("text")
        if element.get("class") == "tick"
    }
    places = [
        re.findall(r"[\d.]+", element.get("transform", "")) for element in root.iter("path") if element.get("transform")
    ]
    (_, first_y), (second_x, second_y) = [(float(x), float(y)) for x, y in places]
    assert second_x == ticks["2"][0]
    assert first_y == pytest.approx(ticks["60"][1] - 4)
    assert second_y == pytest.approx(ticks["62"][1] - 4)
    assert "58" in ticks
    assert [element.text for element in root.iter("title")] == [None, "best"]


def test_an_interval_ends_where_there_can_be_no_more() -> None:
    def highest(ceiling: float) -> float:
        chart = Chart("a", "speed", "F1", [Line("ours", 1, [Mark(1.0, 98.0, 5.0), Mark(2.0, 95.0)])], ceiling=ceiling)
        root = ElementTree.fromstring(str(chart.svg(400)))
        return max(float(element.text or "") for element in root.iter("text") if element.get("text-anchor") == "end")

    assert highest(100.0) == 100.0
    assert highest(math.inf) > 100.0


def test_names_are_no_markup() -> None:
    chart = Chart("<b>", 'x"y', "z", [Line("<script>", 0, [Mark(0.0, 0.0, label="<i>")])])
    root = ElementTree.fromstring(str(chart.svg(300)))
    assert "<script>" in root.get("aria-label", "")
    assert [element.text for element in root.iter("title")] == ["<i>"]


@pytest.mark.parametrize("values", [[], [0.0], [3.0, 3.0], [-1e-9, 1e9], [0.1, 0.30000000000000004]])
def test_axes_hold_their_values(values: list[float]) -> None:
    axis = Axis.over(values)
    assert axis.low < axis.high
    assert len(axis.ticks) <= 8
    assert all(-1e-6 <= axis.place(value) <= 1 + 1e-6 for value in values)


def test_means_of_neighbours() -> None:
    points = [(float(step), math.sin(step)) for step in range(1000)]
    found = smoothed(points, 50)
    assert len(found) == 50
    assert found[0] == (9.5, pytest.approx(sum(y for _, y in points[:20]) / 20))
    assert smoothed([]) == []
