"""Figure 3: quality against FLOPs speed-up, of ours, of an encoder of half depth, and of ours on top of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from baselines.distilled import keep_layers
from runners.cli.display import announce
from runners.cli.plots import metric_label
from runners.cli.tables import Cell
from runners.reproduction.alike import differences
from runners.reproduction.field import Entrant, Field, half_depth, load_field
from runners.reproduction.nested import Result, Runs
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.plan import Estimator, PlannedRun
from runners.reproduction.published import CONTROL, HALF, OURS_ON_HALF
from runners.reproduction.rows import HEADINGS, SHARED_NOTES, START, by_data_set, cells_of, panels_of, rows_of
from runners.reproduction.telling import Told, close, on_what, write_told
from runners.runs.run_folder import RunFolder
from runners.training.reach import check_reach

#: Lines below the table.
NOTES = (
    f"ours reduces tokens of the fine-tuned encoder ({START}), {HALF} keeps half of its layers, and {OURS_ON_HALF} "
    "reduces tokens of those. FLOPs and clock of the last are against the whole encoder.",
    f"The {CONTROL} is trained as long as ours, with nothing skipped.",
    *SHARED_NOTES,
)


def notes(options: ReproduceOptions) -> tuple[str, ...]:
    """Return the lines below the table, with what the options made different.

    Args:
        options: Options of the reproduction.
    """
    return (*NOTES, *differences(options.joint, options.baseline))


def load(options: ReproduceOptions, env: str) -> Field:
    """Load a data set; see :func:`~runners.reproduction.field.load_field`.

    Raises:
        ValueError: A speed-up is out of reach of ours, or half of the encoder is a single layer.
    """
    field = load_field(options, env, ())
    if half_depth(field) < 2:
        raise ValueError(
            f"half of the encoder's {field.depth} layers is a single one, of which no tokens can be skipped: make "
            "figure 3 with an encoder of at least 4"
        )
    for speedup in options.speedups:
        check_reach(options.stage2(env, speedup, options.run), field.some)
    return field


def half_speedups(options: ReproduceOptions, field: Field) -> list[float]:
    """Return those of the speed-ups that ours can reach on the student of half depth; announce the others.

    Args:
        options: Options of the reproduction.
        field: The data set.
    """
    depth, backbone = half_depth(field), field.some.backbone
    model = keep_layers(backbone.model, range(1, depth + 1))
    some = replace(field.some, backbone=replace(backbone, model=model, name=HALF))
    on_student = options.on_student(HALF, depth, "")
    found = []
    for speedup in options.speedups:
        try:
            check_reach(on_student.stage2(field.env, speedup, options.run), some)
        except ValueError as error:
            announce(f"{field.env}: {OURS_ON_HALF} is left out at {speedup:g}x of the half: {error}")
        else:
            found.append(speedup)
    return found


def plan(estimator: Estimator) -> list[PlannedRun]:
    """Return the runs of one data set; see :func:`~runners.reproduction.plan.print_plan`."""
    options, field = estimator.options, estimator.field
    share = half_depth(field) / field.depth
    return [
        estimator.control(),
        estimator.entrant(Entrant(HALF, 1 / share), options.seeds),
        *(estimator.ours(speedup, options.seeds) for speedup in options.speedups),
        *(estimator.ours(speedup, options.seeds, OURS_ON_HALF, share) for speedup in half_speedups(options, field)),
    ]


def reproduce(options: ReproduceOptions, data_sets: Sequence[Runs], folder: RunFolder) -> None:
    """Run what is missing, seed by seed; write the figure after each data set.

    Args:
        options: Options of the reproduction.
        data_sets: Runs of each data set.
        folder: Folder of the reproduction.
    """
    results: list[Result] = []
    on_half = {runs.env: half_speedups(options, runs.field) for runs in data_sets}
    for runs in data_sets:
        runs.prepare()
    for seed in options.all_seeds:
        for runs in data_sets:
            results += [runs.control(seed), runs.half(seed)]
            results += [runs.ours(speedup, seed) for speedup in options.speedups]
            results += [runs.on_half(speedup, seed) for speedup in on_half[runs.env]]
            write_told(tell(results, options), results, folder)
    close(tell(results, options), results, folder)


def tell(results: Sequence[Result], options: ReproduceOptions) -> Told:
    """Return the figure of results.

    Args:
        results: All runs.
        options: Options of the reproduction.
    """
    rows = [row for own in by_data_set(results).values() for row in rows_of(own)]
    cells: list[list[Cell]] = [
        [row["env"], row["system"], row.get("seeds"), metric_label(row["metric"]), *cells_of(row)] for row in rows
    ]
    headings = ["data set", "system", "seeds", "metric", "quality", *HEADINGS]
    return Told("figure3", f"figure 3: {on_what(results)}", headings, cells, notes(options), rows, panels_of(results))
