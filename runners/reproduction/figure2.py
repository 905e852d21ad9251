"""Figure 2: what one elimination of tokens costs, by the strategy that chooses them, on each data set."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runners.cli.display import announce
from runners.cli.options import EncoderOptions
from runners.cli.plots import Points, line_plot, metric_label, save_plot
from runners.cli.tables import Cell, markdown_table
from runners.evaluation.nested_runs import ended_run
from runners.pilot import PilotOptions, pilot
from runners.reproduction.field import Field, load_field
from runners.reproduction.nested import Runs
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.plan import Estimator, PlannedRun
from runners.reproduction.telling import close_with
from runners.runs.files import write_csv, write_durably
from runners.runs.run_folder import RunFolder
from trbert_env.tasks import make_task


def load(options: ReproduceOptions, env: str) -> Field:
    """Load a data set; see :func:`~runners.reproduction.field.load_field`."""
    return load_field(options, env, ())


def plan(estimator: Estimator) -> list[PlannedRun]:
    """Return the passes of one data set; see :func:`~runners.reproduction.plan.print_plan`."""
    study = PilotOptions()
    return [estimator.evaluations("passes of the pilot", len(study.strategies) * len(study.proportions) + 1)]


def reproduce(options: ReproduceOptions, data_sets: Sequence[Runs], folder: RunFolder) -> None:
    """Make the pilot study of each data set that is missing, and write them side by side.

    Args:
        options: Options of the reproduction.
        data_sets: Runs of each data set.
        folder: Folder of the reproduction.
    """
    rows, panels = list[dict[str, Any]](), dict[str, dict[str, Points]]()
    for runs in data_sets:
        metric = make_task(runs.field.examples.request.preset).metric_names[0]
        own = _rows(_studied(options, runs, folder.path / "pilot"), runs.env, metric)
        rows += own
        strategies = dict.fromkeys(row["strategy"] for row in own)
        panels[f"{runs.env}, {metric_label(metric)}"] = {
            strategy: [(100 * row["kept"], row["quality"]) for row in own if row["strategy"] == strategy]
            for strategy in strategies
        }
    cells: list[list[Cell]] = [[row["env"], row["strategy"], f"{row['kept']:.0%}", row["quality"]] for row in rows]
    table = markdown_table(["data set", "strategy", "kept", "quality"], cells)
    figure = line_plot("figure 2: one elimination", "kept tokens, %", panels)
    write_csv(folder.path / "figure2.csv", rows)
    write_durably(folder.path / "figure2.md", f"figure 2: quality after one elimination of tokens\n\n{table}")
    save_plot(figure, folder.path / "figure2.png")
    close_with({"figure2": table}, {"figure2": figure}, [], folder)
    print(
        f"plot: {folder.path / 'figure2.png'}, and beside it .md and .csv; the studies are in {folder.path / 'pilot'}"
    )


def _studied(options: ReproduceOptions, runs: Runs, place: Path) -> Path:
    """Folder of the pilot study of a data set, which is made where it is missing."""
    runs.fine_tuned_start()
    path = ended_run(place / runs.env, "pilot-*")
    if path is not None:
        return path
    announce(f"{runs.env}: the pilot study")
    studies = [RunFolder(path.parent) for path in sorted((place / runs.env).glob("pilot-*/*/config.json"))]
    # Those of earlier versions could not be gone on with.
    begun = next((study.path for study in studies if "resume" in study.read_config()["options"]), None)
    if begun is not None:
        RunFolder(begun).move_to(options)
        return pilot(PilotOptions(resume=begun)).path
    data = replace(options.data.of(runs.env), max_train_texts=None)
    encoder = EncoderOptions(options.encoder.backbone)
    return pilot(PilotOptions(data=data, encoder=encoder, run=replace(options.run, output_dir=place))).path


def _rows(study: Path, env: str, metric: str) -> list[dict[str, Any]]:
    with (study / "pilot.csv").open(newline="", encoding="utf-8") as file:
        return [
            {
                **{"env": env, "strategy": row["strategy"], "kept": float(row["kept"]), "metric": metric},
                **{"quality": float(row[metric]), "flops_speedup": float(row["flops_speedup"])},
            }
            for row in csv.DictReader(file)
        ]
