"""Table 2: systems at one FLOPs speed-up against the unreduced control, one group of columns a data set."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from runners.cli.display import Cell
from runners.cli.plots import Points, metric_label
from runners.evaluation.nested_runs import SEEDED_HEURISTICS
from runners.evaluation.summary import interval, mean_line, shown_interval, shown_speedup
from runners.reproduction.field import Entrant
from runners.reproduction.nested import Result, Runs
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.plan import Estimator, PlannedRun
from runners.reproduction.published import CONTROL, ENCODER, published
from runners.reproduction.telling import Told, close, on_what, panel_label, write_told
from runners.runs.run_folder import RunFolder

#: The encoder that all systems start from.
START = "unreduced start"
#: Lines below the table.
NOTES = (
    f"All systems start from the fine-tuned encoder ({START}), have one teacher, and are trained on as many texts as "
    f"both stages of ours; the {CONTROL} is too, with nothing skipped. Differences are to it, of the same seed.",
    "Means over seeds, with 95 % intervals; * is off the speed-up aimed at by 3 % and more.",
    "clock is against stock transformers, padded, on a sample of the texts.",
    f"paper: what TR-BERT's table 2 says of {ENCODER}, at the FLOPs speed-up beside it; - where it says nothing. Its "
    "DistilBERT was distilled on a general corpus.",
    "deformer: FLOPs with passages cached, as published; its clock is without a cache.",
    "Heuristics (random, overlap, attention, residual) skip tokens of the start, untrained; residual sees the gold "
    "answer.",
)


def plan(estimator: Estimator) -> list[PlannedRun]:
    """Return the runs of one data set; see :func:`~runners.reproduction.plan.print_plan`."""
    entrants = estimator.field.entrants
    counted = [estimator.entrant(one, len(_seeds(estimator.options, one))) for one in entrants]
    return [estimator.control(), *counted]


def reproduce(options: ReproduceOptions, data_sets: Sequence[Runs], folder: RunFolder) -> None:
    """Run what is missing, seed by seed, so that all systems soon have one; write the table after each run.

    Args:
        options: Options of the reproduction.
        data_sets: Runs of each data set.
        folder: Folder of the reproduction.
    """
    results: list[Result] = []
    for runs in data_sets:
        runs.prepare()
    for seed in options.all_seeds:
        for runs in data_sets:
            results.append(runs.control(seed))
            for entrant in runs.field.entrants:
                if seed in _seeds(options, entrant):
                    results.append(runs.result(entrant, seed))
                    write_told(tell(results), results, folder)
    close(tell(results), results, folder)


def _seeds(options: ReproduceOptions, entrant: Entrant) -> range:
    """Seeds of a system: the first one where a seed changes nothing."""
    fixed = entrant.is_heuristic and entrant.name not in SEEDED_HEURISTICS
    return options.all_seeds[:1] if fixed else options.all_seeds


def tell(results: Sequence[Result]) -> Told:
    """Return the table of results.

    Args:
        results: All runs.
    """
    rows = [row for env in _names(results, "env") for row in rows_of([one for one in results if one.env == env])]
    envs, systems = _unique(rows, "env"), _unique(rows, "system")
    metrics = {result.env: metric_label(result.main_metric) for result in results}
    headings = ["system"]
    for env in envs:
        headings += [f"{env} {metrics[env]}", "to control", "FLOPs", "clock", "paper", "paper FLOPs"]
    found = {(row["env"], row["system"]): row for row in rows}
    cells: list[list[Cell]] = [
        [system, *(cell for env in envs for cell in _cells(found.get((env, system))))] for system in systems
    ]
    title = f"table 2: {on_what(results)}"
    return Told("table2", title, headings, cells, NOTES, rows, _panels(results))


def rows_of(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return one row a system of one data set, the unreduced encoders first.

    Args:
        results: Runs on the data set.
    """
    first = results[0]
    env, metric = first.env, first.main_metric
    control = {result.seed: result.quality for result in results if result.system == CONTROL}
    start = first.record.full[metric]
    rows: list[dict[str, Any]] = [
        {"env": env, "system": START, "metric": metric, "quality": start, "flops_speedup": 1.0}
        | {"difference": start - statistics.fmean(control.values())}
    ]
    for system in _names(results, "system"):
        rows.append(_row([result for result in results if result.system == system], control))
    return rows


def _row(results: Sequence[Result], control: dict[int, float]) -> dict[str, Any]:
    """Row of one system on one data set."""
    first = results[0]
    quality, half = interval([result.quality for result in results])
    row: dict[str, Any] = {"env": first.env, "system": first.system, "metric": first.main_metric}
    row |= {"seeds": len(results), "quality": quality, "quality_interval": half}
    if first.system != CONTROL:
        difference, width = interval([result.quality - control[result.seed] for result in results])
        row |= {"difference": difference, "difference_interval": width, "target": first.target}
    row["flops_speedup"] = statistics.fmean(result.flops_speedup for result in results)
    clocks = [result.record.clock.wall_speedup_stock for result in results if result.record.clock is not None]
    row |= {"wall_speedup_stock": statistics.fmean(clocks)} if clocks else {}
    paper = published(first.system, first.env)
    return row if paper is None else row | {"paper": paper.quality, "paper_flops_speedup": paper.speedup}


def _cells(row: dict[str, Any] | None) -> list[Cell]:
    """Group of columns of a data set; dashes where the system was left out."""
    if row is None:
        return [None] * 6

    def shown(name: str, sign: bool = False) -> str:
        return shown_interval(row.get(name, math.nan), row.get(f"{name}_interval", math.nan), sign)

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


def _panels(results: Sequence[Result]) -> dict[str, dict[str, Points]]:
    """One panel a data set, one marker a system: the mean over seeds of speed-up and quality."""
    panels: dict[str, dict[str, Points]] = {}
    for result in results:
        chosen = [one for one in results if (one.env, one.system) == (result.env, result.system)]
        panel = panels.setdefault(panel_label(result), {START: [(1.0, result.record.full[result.main_metric])]})
        panel[result.system] = mean_line(chosen, result.main_metric)
    return panels


def _names(results: Sequence[Result], name: str) -> list[str]:
    return list(dict.fromkeys(getattr(result, name) for result in results))


def _unique(rows: Sequence[dict[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))
