"""Figure 2: what one elimination of tokens costs, by the strategy that chooses them."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from agents.heuristics import KeepAll, make_heuristic
from runners.cli.flags import refuse_unused
from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions, resolve_device
from runners.cli.plots import line_plot, metric_label, save_plot
from runners.cli.run import UserError, run
from runners.cli.tables import Cell, print_table
from runners.evaluation.passes import evaluation_conditions, evaluation_env, run_pass
from runners.evaluation.record import Conditions
from runners.runs.files import read_csv, write_csv
from runners.runs.run_folder import RunFolder, reopen
from runners.runs.session import held
from runners.runs.tracking import Tracker
from runners.training.loading import load_split
from runners.training.precision import evaluation_dtype
from trbert_env.data.workload import Workload
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.ranges import Items, Range


@dataclass(frozen=True)
class PilotOptions:
    """Options of the pilot study."""

    after_layer: Annotated[int, Range(1)] | None = None
    """Eliminate tokens after this layer; when not given, after a third of them, as the paper (4 of 12)."""

    proportions: Annotated[tuple[Annotated[float, Range(above=0, below=1)], ...], Items(1, distinct=True)] = (
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
    )
    """Kept shares of every text; 1 is always added."""

    strategies: Annotated[
        tuple[Literal["random", "overlap", "attention", "residual"], ...], Items(1, distinct=True)
    ] = ("random", "attention", "residual")
    """Strategies that choose the tokens; residual sees the gold answer."""

    resume: Path | None = None
    """Go on with this study: what is measured is not measured again."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        no_training = "nothing is trained, give --max-eval-texts"
        refuse_unused(self, reduction_layers="give --after-layer", max_train_texts=no_training)
        percents = [round(100 * kept) for kept in (*self.proportions, 1.0)]
        if len(set(percents)) < len(percents):
            raise ValueError(
                f"--proportions is {' '.join(map(str, self.proportions))}; two of them, or one and 1, are alike in "
                "whole percent, by which metrics are named: leave one out"
            )


def measure(options: PilotOptions, workload: Workload, reduction_layer: int, table: Path) -> list[dict[str, Any]]:
    """One row a strategy and proportion: its quality and FLOPs; the table is written as they come, and gone on with."""
    device = str(resolve_device(options.run.device))
    dtype = evaluation_dtype(options.run.dtype)
    known = _measured(table)
    rows: list[dict[str, Any]] = []
    whole: dict[str, Any] = next((row for (_, kept), row in known.items() if kept == 1.0), {})

    def keep(strategy: str, kept: float, found: Mapping[str, Any]) -> None:
        named = {"strategy": strategy, "kept": kept}
        rows.append({**named, **found, **named})
        known.pop((strategy, kept), None)
        write_csv(table, [*rows, *known.values()])

    for strategy in options.strategies:
        env = evaluation_env(
            workload,
            reduction_layers=(reduction_layer,),
            dtype=dtype,
            device=device,
        )
        for proportion in sorted(options.proportions):
            found = known.get((strategy, proportion))
            if found is None:
                agent = make_heuristic(strategy, (proportion,), 1, options.run.seed)
                found = run_pass(env, agent, f"{strategy}, {proportion:.0%} kept").measured.to_flat()
            keep(strategy, proportion, found)
        whole = whole or run_pass(env, KeepAll(), "all kept").measured.to_flat()
        keep(strategy, 1.0, whole)
    return rows


def _measured(table: Path) -> dict[tuple[str, float], dict[str, Any]]:
    """The rows of a study that was begun, by strategy and kept share."""
    if not table.exists():
        return {}
    return {(row["strategy"], row["kept"]): row for row in read_csv(table, ("strategy",))}


def report(
    rows: list[dict[str, Any]], folder: RunFolder, conditions: Conditions, after_layer: int, metrics: Sequence[str]
) -> None:
    """Write plot, TensorBoard and ``metrics.json``, and print the table.

    Args:
        rows: One row a strategy and proportion.
        folder: Folder of the study.
        conditions: Conditions that it was made on.
        after_layer: Layer that tokens were eliminated after.
        metrics: Metrics to plot and print, the main one first.
    """
    metrics = [name for name in metrics if name in rows[0]]  # a split may lack some
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    panels = {
        metric_label(metric): {
            strategy: [(100 * row["kept"], row[metric]) for row in rows if row["strategy"] == strategy]
            for strategy in strategies
        }
        for metric in metrics
    }
    caption = f"{conditions.num_examples:,} examples, backbone {Path(conditions.backbone or '').name}"
    title = f"{conditions.env}: tokens eliminated after layer {after_layer}"
    figure = line_plot(title, "kept tokens, %", panels, caption)
    save_plot(figure, folder.path / "pilot.png")
    flat = {
        f"{row['strategy']}_{round(100 * row['kept'])}_{name}": value
        for row in rows
        for name, value in row.items()
        if name not in ("strategy", "kept")
    }
    with Tracker(folder.events_dir) as tracker:
        tracker.log_figure("pilot", figure)
        for row in rows:
            points = {f"pilot/{row['strategy']}/{name}": row[name] for name in (*metrics, "flops_speedup")}
            tracker.log(points, round(100 * row["kept"]))
    table: list[list[Cell]] = []
    for kept in sorted({row["kept"] for row in rows}):
        chosen = [row for row in rows if row["kept"] == kept]
        cells = [row[metric] for metric in metrics for row in chosen]
        table.append([f"{kept:.0%}", chosen[0]["flops_speedup"], *cells])
    headings = [f"{metric.replace('_', ' ')}, {strategy}" for metric in metrics for strategy in strategies]
    print_table(title, ["kept", "FLOPs", *headings], table)
    folder.write_metrics(conditions.to_flat() | {"after_layer": after_layer} | flat)


def pilot(options: PilotOptions) -> RunFolder:
    """Make the study; returns its folder."""
    folder: RunFolder | None = None
    if options.resume is not None:
        options, folder = reopen(options, options.resume)
    workload = load_split(options.data, options.encoder.backbone)
    num_layers = StagedEncoder(workload.backbone.model).num_layers
    after_layer = max(1, round(num_layers / 3)) if options.after_layer is None else options.after_layer
    if after_layer >= num_layers:
        raise UserError(
            f"--after-layer is {after_layer}, and the encoder has {num_layers} layers: give 1 to {num_layers - 1}"
        )
    StagedEncoder(workload.backbone.model, (after_layer + 1,))  # says what is wrong before the work begins
    facts = {"data_source": workload.data_source, **workload.backbone.facts, **workload.fingerprints}
    if folder is None:
        folder = RunFolder.create(options.run.output_dir, options.data.env, "pilot", "heuristics", options.run.seed)
        folder.write_config(options, facts)
    else:
        folder.check_recorded(facts)
    print(f"run folder: {folder.path}")
    with held(folder):
        rows = measure(options, workload, after_layer + 1, folder.path / "pilot.csv")
        conditions = evaluation_conditions(workload, evaluation_dtype(options.run.dtype))
        report(rows, folder, conditions, after_layer, (*workload.task.metric_names, "log_likelihood"))
    return folder


def main(options: PilotOptions) -> None:
    """Figure 2: what one elimination of tokens costs, by the strategy that chooses them."""
    pilot(options)


if __name__ == "__main__":
    run(main, PilotOptions)
