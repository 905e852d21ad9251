"""Rows of tables and lines of figures: means over seeds, differences to the control, and the published figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from runners.cli.plots import Points
from runners.cli.tables import Cell
from runners.evaluation.summary import interval, mean_line, shown_interval, shown_speedup
from runners.reproduction.nested import Result
from runners.reproduction.published import CONTROL, ENCODER, published
from runners.reproduction.telling import panel_label

#: The encoder that all systems start from.
START = "unreduced start"
#: Headings of :func:`cells_of`, behind that of the main metric.
HEADINGS = ("to control", "FLOPs", "clock", "paper", "paper FLOPs")

#: Lines below tables of such rows.
SHARED_NOTES = (
    "Means over seeds, with 95 % intervals; * is off the speed-up aimed at by 3 % and more.",
    "FLOPs: speed-up over the unreduced encoder. clock: over stock transformers, padded, on a sample of the texts.",
    f"paper: what TR-BERT's table 2 says of {ENCODER}, at the FLOPs speed-up beside it; - where it says nothing. Its "
    "DistilBERT was distilled on a general corpus.",
)

Row = dict[str, Any]


def rows_of(results: Sequence[Result]) -> list[Row]:
    """Return one row a system and target of one data set, the unreduced encoders first.

    Args:
        results: Runs on the data set, the control among them.
    """
    first = results[0]
    metric = first.main_metric
    control = {result.seed: result.quality for result in results if result.system == CONTROL}
    start = first.record.full[metric]
    rows: list[Row] = [
        {"env": first.env, "system": START, "metric": metric, "quality": start, "flops_speedup": 1.0}
        | {"difference": start - statistics.fmean(control.values())}
    ]
    for system, target in dict.fromkeys((result.system, result.target) for result in results):
        chosen = [result for result in results if (result.system, result.target) == (system, target)]
        rows.append(_row(chosen, control))
    _add_published(rows)
    return rows


def _row(results: Sequence[Result], control: dict[int, float]) -> Row:
    """Row of one system and target on one data set."""
    first = results[0]
    quality, half = interval([result.quality for result in results])
    row: Row = {"env": first.env, "system": first.system, "metric": first.main_metric}
    row |= {"seeds": len(results), "quality": quality, "quality_interval": half}
    if first.system != CONTROL:
        difference, width = interval([result.quality - control[result.seed] for result in results])
        row |= {"difference": difference, "difference_interval": width, "target": first.target}
    row["flops_speedup"] = statistics.fmean(result.flops_speedup for result in results)
    clocks = [result.record.clock.wall_speedup_stock for result in results if result.record.clock is not None]
    return row | ({"wall_speedup_stock": statistics.fmean(clocks)} if clocks else {})


def _add_published(rows: Sequence[Row]) -> None:
    """Add what the paper says of a system to that of its rows whose speed-up is nearest."""
    for system in dict.fromkeys(row["system"] for row in rows):
        found = published(system, rows[0]["env"])
        if found is not None:
            own = [row for row in rows if row["system"] == system]
            nearest = min(own, key=lambda row: abs(math.log(row["flops_speedup"] / found.speedup)))
            nearest |= {"paper": found.quality, "paper_flops_speedup": found.speedup}


def cells_of(row: Row | None) -> list[Cell]:
    """Return a row's group of columns, main metric and :data:`HEADINGS`; dashes where the system was left out.

    Args:
        row: A row of :func:`rows_of`.
    """
    if row is None:
        return [None] * (1 + len(HEADINGS))

    def shown(name: str, sign: bool = False) -> Cell:
        return shown_interval(row.get(name, math.nan), row.get(f"{name}_interval", math.nan), sign) or None

    def factor(name: str) -> Cell:
        return f"{row[name]:.2f}x" if name in row else None

    return [
        shown("quality"),
        shown("difference", sign=True),
        shown_speedup(row["flops_speedup"], row.get("target")),
        factor("wall_speedup_stock"),
        row.get("paper"),
        factor("paper_flops_speedup"),
    ]


def panels_of(results: Sequence[Result]) -> dict[str, dict[str, Points]]:
    """Return one panel a data set: a line a system, means over seeds of speed-up and quality, and the paper's.

    Args:
        results: All runs.
    """
    panels: dict[str, dict[str, Points]] = {}
    for result in results:
        chosen = [one for one in results if (one.env, one.system) == (result.env, result.system)]
        panel = panels.setdefault(panel_label(result), {START: [(1.0, result.record.full[result.main_metric])]})
        panel[result.system] = mean_line(chosen, result.main_metric)
    for env, own in by_data_set(results).items():
        for system in dict.fromkeys(one.system for one in own):
            if (found := published(system, env)) is not None:
                panels[panel_label(own[0])][in_paper(system)] = [(found.speedup, found.quality)]
    return panels


def in_paper(system: str) -> str:
    """Return the name that the published figure of a system has in a plot.

    Args:
        system: Name of the system.
    """
    return f"{system}, paper"


def by_data_set(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results of each data set, in the order in which they come.

    Args:
        results: All runs.
    """
    envs = dict.fromkeys(result.env for result in results)
    return {env: [result for result in results if result.env == env] for env in envs}
