"""Line plots as inline SVG, whose colours come from the page, so that they fit a light and a dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape

#: Lines that have a colour and a marker of their own; further ones take them again.
NUM_STYLES = 8
#: Height of a plot, and room around its axes, in pixels of a plot that is not scaled.
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 280, 52, 16, 12, 44
#: Ticks of an axis, about.
_TICKS = 5


@dataclass(frozen=True)
class Mark:
    """A point of a line.

    Attributes:
        x: Its place.
        y: Its height.
        half: Half the height of its interval; NaN for none.
        label: Text that is shown while one points at it.
    """

    x: float
    y: float
    half: float = math.nan
    label: str = ""

    def ends(self, ceiling: float = math.inf) -> tuple[float, float]:
        """Return both ends of the interval.

        Args:
            ceiling: The greatest height that there can be.

        Example:
            >>> Mark(1.0, 99.0, 3.0).ends(100.0)
            (96.0, 100.0)
        """
        return self.y - self.half, max(self.y, min(self.y + self.half, ceiling))


@dataclass(frozen=True)
class Line:
    """A line of a plot.

    Attributes:
        name: Name in the legend.
        style: Number of its colour and marker.
        marks: Points with markers, in the order of x.
        path: Points of the line, where these are others than the marks.
        behind: Points of a faint line behind it: values before they were smoothed.
    """

    name: str
    style: int
    marks: Sequence[Mark] = ()
    path: Sequence[tuple[float, float]] = ()
    behind: Sequence[tuple[float, float]] = field(default=())

    @property
    def line(self) -> Sequence[tuple[float, float]]:
        """Points that are joined."""
        return self.path or [(mark.x, mark.y) for mark in self.marks]


@dataclass(frozen=True)
class Chart:
    """A plot with its legend.

    Attributes:
        title: Line above it.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        lines: The lines.
        floor: A height that the y axis reaches down to; None for the least of the lines.
        ceiling: The greatest height that there can be, where intervals end; infinite for none.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    floor: float | None = None
    ceiling: float = math.inf

    def svg(self, width: int) -> Markup:
        """Return the plot as an SVG element.

        Args:
            width: Width in pixels at which its letters have their own size.
        """
        points = [point for line in self.lines for point in line.line]
        spans = [mark for line in self.lines for mark in line.marks if not math.isnan(mark.half)]
        heights = [y for _, y in points] + [y for line in self.lines for _, y in line.behind]
        heights += [] if self.floor is None else [self.floor]
        heights += [end for mark in spans for end in mark.ends(self.ceiling)]
        x_axis, y_axis = Axis.over([x for x, _ in points]), Axis.over(heights)
        frame = _Frame(width, x_axis, y_axis, self.ceiling)
        drawn = Markup("").join([frame.grid(), *(frame.drawn(line) for line in self.lines)])
        label = f"{self.title}: {self.y_label} against {self.x_label}; " + ", ".join(line.name for line in self.lines)
        return Markup(
            '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">{drawn}'
            '<text class="axis" x="{cx}" y="{by}" text-anchor="middle">{x}</text></svg>'
        ).format(
            w=width, h=_HEIGHT, label=label, drawn=drawn, cx=(_LEFT + width - _RIGHT) / 2, by=_HEIGHT - 6,
            x=self.x_label,
        )  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """The numbers of an axis.

    Attributes:
        low: Its beginning.
        high: Its end.
        ticks: Numbers that are written at it.
    """

    low: float
    high: float
    ticks: Sequence[float]

    @classmethod
    def over(cls, values: Sequence[float]) -> Axis:
        """Return an axis that holds values, with round ticks.

        Args:
            values: The values; there may be none.

        Example:
            >>> Axis.over([1.0, 3.9]).ticks
            [1.0, 2.0, 3.0, 4.0]
        """
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        room = (high - low) or abs(high) or 1.0
        step = _round_step(room / _TICKS)
        first, last = math.floor(low / step), math.ceil(high / step)
        if first == last:
            last += 1
        ticks = [round(number * step, 10) for number in range(first, last + 1)]
        return cls(ticks[0], ticks[-1], ticks)

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the beginning and 1 at the end."""
        return (value - self.low) / (self.high - self.low)


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


@dataclass(frozen=True)
class _Frame:
    """Draws in the frame of a plot."""

    width: int
    x_axis: Axis
    y_axis: Axis
    ceiling: float

    def x(self, value: float) -> float:
        return round(_LEFT + self.x_axis.place(value) * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - self.y_axis.place(value) * (_HEIGHT - _TOP - _BOTTOM), 1)

    def grid(self) -> Markup:
        """Lines and numbers of the axes."""
        pieces = []
        for tick in self.y_axis.ticks:
            y = self.y(tick)
            pieces.append(f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{y}" y2="{y}"/>')
            pieces.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{number(tick)}</text>')
        for tick in self.x_axis.ticks:
            y = _HEIGHT - _BOTTOM
            pieces.append(
                f'<text class="tick" x="{self.x(tick)}" y="{y + 18}" text-anchor="middle">{number(tick)}</text>'
            )
        return Markup("".join(pieces))

    def drawn(self, line: Line) -> Markup:
        """A line with what belongs to it."""
        style = line.style % NUM_STYLES
        pieces = [self._path(line.behind, f"line faint s{style}"), self._path(line.line, f"line s{style}")]
        pieces += [self._mark(mark, style) for mark in line.marks]
        return Markup("").join(pieces)

    def _path(self, points: Sequence[tuple[float, float]], style: str) -> Markup:
        if len(points) < 2:
            return Markup("")
        steps = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        return Markup(f'<polyline class="{style}" points="{steps}"/>')

    def _mark(self, mark: Mark, style: int) -> Markup:
        x, y = self.x(mark.x), self.y(mark.y)
        bar = ""
        if not math.isnan(mark.half):
            low, high = (self.y(end) for end in mark.ends(self.ceiling))
            bar = f'<path class="line s{style}" d="M{x} {low}V{high}M{x - 4} {low}h8M{x - 4} {high}h8"/>'
        return Markup(f"<g><title>{escape(mark.label)}</title>{bar}{marker(x, y, style)}</g>")


def marker(x: float, y: float, style: int) -> Markup:
    """Return a marker, whose form tells lines apart without their colours.

    Args:
        x: Its place, in pixels.
        y: Its height, in pixels.
        style: Number of the style.
    """
    shapes = (
        "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
        "M-4.5-4.5H4.5V4.5H-4.5Z",
        "M0-6L5.5 4.5H-5.5Z",
        "M0-6L6 0L0 6L-6 0Z",
        "M0 6L5.5-4.5H-5.5Z",
        "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
        "M-6-3L-3-6L0-3L3-6L6-3L3 0L6 3L3 6L0 3L-3 6L-6 3L-3 0Z",
        "M-6-2.5H6V2.5H-6Z",
    )
    which = style % NUM_STYLES
    return Markup(f'<path class="mark s{which}" transform="translate({x} {y})" d="{shapes[which]}"/>')


def number(value: float) -> str:
    """Return a number as it stands at an axis.

    Example:
        >>> [number(value) for value in (24000, 2500, 0.5, -2.0, 61.25)]
        ['24k', '2.5k', '0.5', '-2', '61.25']
    """
    if abs(value) >= 1000 and value % 100 == 0:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def smoothed(points: Sequence[tuple[float, float]], most: int = 120) -> list[tuple[float, float]]:
    """Return the means of a curve's values over neighbouring points: at most so many points.

    Args:
        points: Points, in the order of x.
        most: The most points.

    Example:
        >>> smoothed([(0, 1.0), (1, 3.0), (2, 5.0), (3, 7.0)], most=2)
        [(0.5, 2.0), (2.5, 6.0)]
    """
    if not points:
        return []
    pieces = np.array_split(np.asarray(points, dtype=np.float64), min(most, len(points)))
    return [(float(piece[:, 0].mean()), float(piece[:, 1].mean())) for piece in pieces]
