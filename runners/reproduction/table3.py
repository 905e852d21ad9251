"""Table 3: FLOPs of an encoder of long texts, with and without reduction, against the encoder over slices."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from runners.cli.options import resolve_device
from runners.cli.plots import metric_label
from runners.cli.run import UserError
from runners.cli.tables import Cell
from runners.evaluate import EvaluateOptions, evaluate
from runners.evaluation.nested_runs import kept_record
from runners.evaluation.record import EvaluationRecord
from runners.evaluation.summary import interval, shown_interval
from runners.reproduction.field import Field, load_field
from runners.reproduction.nested import Result, Runs
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.plan import Estimator, PlannedRun
from runners.reproduction.published import CONTROL, ENCODER, OURS, TABLE_3
from runners.reproduction.rows import by_data_set, in_paper
from runners.reproduction.telling import Told, close, on_what, panel_label, write_told
from runners.runs.run_folder import RunFolder
from trbert_env.presets import get_preset
from trbert_env.tasks import task_class

#: Rows of the table.
SYSTEMS = (CONTROL, OURS)


def load(options: ReproduceOptions, env: str) -> Field:
    """Load a data set; see :func:`~runners.reproduction.field.load_field`.

    Raises:
        UserError: Its task reads no slices.
    """
    kind = task_class(get_preset(env).task)
    if "max_slices" not in {entry.name for entry in fields(kind)}:
        raise UserError(f"table 3 compares with slices, and a {kind.__name__} reads none: leave {env} out of --env")
    return load_field(options, env, (OURS,))


def plan(estimator: Estimator) -> list[PlannedRun]:
    """Return the runs of one data set; see :func:`~runners.reproduction.plan.print_plan`."""
    options = estimator.options
    return [
        estimator.control(),
        estimator.ours(options.target(estimator.field.env), options.seeds),
        estimator.evaluations("against slices", options.seeds * len(SYSTEMS)),
    ]


def reproduce(options: ReproduceOptions, data_sets: Sequence[Runs], folder: RunFolder) -> None:
    """Run what is missing, seed by seed, and evaluate it against slices; write the table after each data set.

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
            for result in (runs.control(seed), runs.ours(options.target(runs.env), seed)):
                results.append(against_slices(options, result, folder))
            write_told(tell(results, options.slices), results, folder)
    close(tell(results, options.slices), results, folder)


def against_slices(options: ReproduceOptions, result: Result, folder: RunFolder) -> Result:
    """Return a result whose record counts FLOPs against slices too; it is kept for the next time.

    Args:
        options: Options of the reproduction.
        result: A run.
        folder: Folder of the reproduction.
    """
    run, record = result.run, result.record
    assert run is not None, "it is trained"

    def found() -> EvaluationRecord:
        asked = EvaluateOptions(
            model=run,
            slices=options.slices,
            full_from=run,
            data=options.data.of(result.env),
            run=options.run,
        )
        return evaluate(asked, str(resolve_device(options.run.device)))

    name = f"{result.env}-{result.system.replace(' ', '-')}-seed{result.seed}.json"
    # The evaluation loads the encoder with the positions that it was given, and does not know how many it had.
    conditions = replace(record.conditions, extended_from=None)
    kept = kept_record(folder.path / "slices" / name, found, conditions, record.identity)
    return Result(result.env, result.system, result.target, result.seed, kept, run)


def tell(results: Sequence[Result], slices: int) -> Told:
    """Return the table of results.

    Args:
        results: All runs, with FLOPs against slices.
        slices: Tokens of a slice.
    """
    rows = [_row(own, system) for own in by_data_set(results).values() for system in SYSTEMS]
    cells: list[list[Cell]] = [
        [
            *(row["env"], row["system"], row["seeds"], metric_label(row["metric"])),
            shown_interval(row["quality"], row["quality_interval"]),
            *(f"{row['slices_speedup']:.2f}x", f"{row['flops_speedup']:.2f}x", row.get("paper")),
            f"{row['paper_slices_speedup']:.2f}x" if "paper" in row else None,
        ]
        for row in rows
    ]
    headings = ["data set", "system", "seeds", "metric", "quality", "over slices", "FLOPs"]
    headings += ["paper", "paper over slices"]
    notes = (
        f"over slices: FLOPs of the same unreduced encoder over slices of {slices} tokens, divided by those spent.",
        "FLOPs: speed-up over the unreduced encoder on the texts as they are.",
        f"The {CONTROL} is trained as long as both stages of ours, with nothing skipped; paper: TR-BERT's table 3, of "
        f"{ENCODER} with more positions, fine-tuned as usual.",
    )
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        label = next(panel_label(result) for result in results if result.env == row["env"])
        panel = panels.setdefault(label, {})
        panel[row["system"]] = [(row["slices_speedup"], row["quality"])]
        if "paper" in row:
            panel[in_paper(row["system"])] = [(row["paper_slices_speedup"], row["paper"])]
    over = f"FLOPs speed-up over slices of {slices} tokens"
    return Told("table3", f"table 3: {on_what(results)}", headings, cells, notes, rows, panels, over)


def _row(results: Sequence[Result], system: str) -> dict[str, Any]:
    """Row of one system on one data set."""
    chosen = [result for result in results if result.system == system]
    first = chosen[0]
    quality, half = interval([result.quality for result in chosen])
    speedups = []
    for result in chosen:
        cost = result.record.slices
        assert cost is not None, "it was evaluated against slices"
        speedups.append(cost.slices_full_speedup * result.flops_speedup)
    row: dict[str, Any] = {"env": first.env, "system": system, "metric": first.main_metric, "seeds": len(chosen)}
    row |= {"quality": quality, "quality_interval": half, "slices_speedup": statistics.fmean(speedups)}
    row["flops_speedup"] = statistics.fmean(result.flops_speedup for result in chosen)
    paper = TABLE_3[system].get(first.env)
    return row if paper is None else row | {"paper": paper.quality, "paper_slices_speedup": paper.speedup}
