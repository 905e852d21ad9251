"""Table 2: systems at one FLOPs speed-up against the unreduced control, one group of columns a data set."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from runners.cli.plots import metric_label
from runners.cli.tables import Cell
from runners.evaluation.nested_runs import SEEDED_HEURISTICS
from runners.reproduction.alike import differences
from runners.reproduction.field import Entrant, Field, load_field
from runners.reproduction.nested import Result, Runs
from runners.reproduction.options import DEFAULT_SYSTEMS, HEURISTICS, ReproduceOptions
from runners.reproduction.plan import Estimator, PlannedRun
from runners.reproduction.published import CONTROL
from runners.reproduction.rows import HEADINGS, SHARED_NOTES, START, by_data_set, cells_of, panels_of, rows_of
from runners.reproduction.telling import Told, close, on_what, write_told
from runners.runs.run_folder import RunFolder

#: Lines below the table on some systems.
NOTES = {
    "deformer": "deformer: FLOPs with passages cached, as published; its clock is without a cache, where it computes "
    "about as much as the encoder does.",
    "early-exit": "early-exit: half of the texts are for the encoder, and half for the off-ramps.",
}


def notes(options: ReproduceOptions, systems: Collection[str]) -> tuple[str, ...]:
    """Return the lines below the table: what is alike in all rows, and what the options made different.

    Args:
        options: Options of the reproduction.
        systems: Names of the systems in the table.
    """
    texts = options.baseline.training.total_texts
    trained = "as many texts as both stages of ours" if texts is None else f"{texts:,} texts"
    long = "they" if options.compared_alone else "both stages of ours"
    beginning = (
        f"All systems start from the fine-tuned encoder ({START}) and have one teacher; compared systems are trained "
        f"on {trained}, and the {CONTROL} on as many as {long}, with nothing skipped. Differences are to it, of the "
        "same seed."
    )
    own = [note for system, note in NOTES.items() if system in systems]
    if untrained := [name for name in HEURISTICS if name in systems]:
        seen = "; residual sees the gold answer" if "residual" in untrained else ""
        own.append(f"Heuristics ({', '.join(untrained)}) skip tokens of the start, untrained{seen}.")
    return (beginning, *differences(options.joint, options.baseline), *SHARED_NOTES, *own)


def load(options: ReproduceOptions, env: str) -> Field:
    """Load a data set, with the systems that fit it; see :func:`~runners.reproduction.field.load_field`."""
    return load_field(options, env, options.systems or DEFAULT_SYSTEMS)


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
                    write_told(tell(results, options), results, folder)
    close(tell(results, options), results, folder)


def _seeds(options: ReproduceOptions, entrant: Entrant) -> range:
    """Seeds of a system: the first one where a seed changes nothing."""
    fixed = entrant.is_heuristic and entrant.name not in SEEDED_HEURISTICS
    return options.all_seeds[:1] if fixed else options.all_seeds


def tell(results: Sequence[Result], options: ReproduceOptions) -> Told:
    """Return the table of results.

    Args:
        results: All runs.
        options: Options of the reproduction.
    """
    groups = {env: rows_of(own) for env, own in by_data_set(results).items()}
    rows = [row for own in groups.values() for row in own]
    headings = ["system"]
    for env, own in groups.items():
        headings += [f"{env} {metric_label(own[0]['metric'])}", *HEADINGS]
    found = {(row["env"], row["system"]): row for row in rows}
    cells: list[list[Cell]] = [
        [system, *(cell for env in groups for cell in cells_of(found.get((env, system))))]
        for system in dict.fromkeys(row["system"] for row in rows)
    ]
    below = notes(options, {row["system"] for row in rows})
    return Told("table2", f"table 2: {on_what(results)}", headings, cells, below, rows, panels_of(results))
