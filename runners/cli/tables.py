"""Tables that a runner prints, or writes as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Columns of a table in a log file, where there is no terminal to ask.
_LOG_WIDTH = 140
#: Width that a longer word of text is folded at, where a table is too wide; numbers never are.
_LEAST_TEXT = 16
#: Width of a table without columns, and what a column adds to its cells: lines and blanks.
_FRAME, _BESIDE = 1, 3

Cell = str | float | int | None


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table to stdout; one that is wider than the terminal in parts, each with the first column.

    Args:
        title: Line above the table.
        columns: Headings.
        rows: Cells of each row, one a column; floats are shown with two decimals, None as a dash, and columns
            without text are set to the right.

    Raises:
        ValueError: A row has more or fewer cells.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a table row has {len(row)} cells for {len(columns)} columns: {list(row)}")
    made = [_Column.of(heading, [row[index] for row in rows]) for index, heading in enumerate(columns)]
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    for index, part in enumerate(_parts(made, console.width)):
        table = Table(title=Text(title) if index == 0 else None, title_justify="left")
        for column, width in zip(part, _fitted_widths(part, console.width), strict=True):
            table.add_column(Text(column.heading), justify=column.justify, width=width, overflow="fold")
        for row_cells in zip(*(column.cells for column in part), strict=True):
            table.add_row(*map(Text, row_cells))
        console.print(table, crop=False, overflow="ignore")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table as Markdown; see :func:`print_table`.

    Example:
        >>> print(markdown_table(["agent", "F1"], [["reinforce", 59.0]]))
        | agent | F1 |
        |---|---|
        | reinforce | 59.00 |
    """
    lines = [list(columns), ["---"] * len(columns), *([_text(value) for value in row] for row in rows)]
    texts = [f"|{'|'.join(line)}|" if index == 1 else f"| {' | '.join(line)} |" for index, line in enumerate(lines)]
    return "\n".join(texts) + "\n"


@dataclass(frozen=True)
class _Column:
    """A column, and the widths that its lines may have.

    Attributes:
        heading: Its heading.
        cells: Its cells.
        justify: Side that cells are set to.
        least: The width that no word is broken at; words of text break at :data:`_LEAST_TEXT` columns.
        natural: The width that no line is folded at.
    """

    heading: str
    cells: tuple[str, ...]
    justify: Literal["left", "right"]
    least: int
    natural: int

    @classmethod
    def of(cls, heading: str, values: Sequence[Cell]) -> _Column:
        """Measure a column of values."""
        is_text = any(isinstance(value, str) for value in values)
        cells = tuple(map(_text, values))
        words = max((cell_len(word) for line in (heading, *cells) for word in line.split()), default=0)
        numbers = 0 if is_text else max(map(cell_len, cells), default=0)
        natural = max(cell_len(part) for line in (heading, *cells) for part in line.split("\n"))
        return cls(heading, cells, "left" if is_text else "right", max(min(words, _LEAST_TEXT), numbers), natural)


def _parts(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """Return the columns of one table, or of several tables where one would be wider than a width."""
    parts: list[list[_Column]] = [list(columns[:1])]
    for column in columns[1:]:
        wider = [*parts[-1], column]
        if _FRAME + sum(one.least + _BESIDE for one in wider) > width and len(parts[-1]) > 1:
            wider = [columns[0], column]
            parts.append(wider)
        else:
            parts[-1] = wider
    return parts


def _fitted_widths(columns: Sequence[_Column], width: int) -> list[int]:
    """Return the widths of columns in a table of at most a width, if they can be so narrow: the widest gives first."""
    widths = [column.natural for column in columns]
    while _FRAME + sum(widths) + _BESIDE * len(widths) > width:
        spare = [index for index, column in enumerate(columns) if widths[index] > column.least]
        if not spare:
            break
        widths[max(spare, key=lambda index: widths[index])] -= 1
    return widths


def _text(value: Cell) -> str:
    """Return the text of a cell."""
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
