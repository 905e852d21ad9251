"""Algorithms against each other: the same texts for all, at the same FLOPs, over several seeds."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from agents.heuristics import HEURISTICS as ALL_HEURISTICS
from agents.policy_agent import PolicyAgentOptions
from agents.registry import AGENTS
from runners.cli.flags import check_options, flag, option_paths, refuse_given
from runners.cli.items import spelled_out
from runners.cli.options import DataOptions, EncoderOptions, Group, Part, RunOptions
from runners.cli.plots import line_plot, save_plot
from runners.cli.run import UserError, run
from runners.cli.tables import markdown_table, print_table
from runners.evaluation.nested_runs import (
    SEEDED_HEURISTICS,
    HeuristicPoints,
    found_or_run,
    heuristics_beside,
    trained_agent,
)
from runners.evaluation.record import EvaluationRecord
from runners.evaluation.summary import interval, shown_interval, shown_speedup
from runners.runs.earlier import run_record
from runners.runs.files import write_csv, write_durably
from runners.runs.run_folder import RunFolder, reopen
from runners.runs.session import held
from runners.runs.tracking import Tracker, read_curve
from runners.train_policy import measured_encoder, train_policy
from runners.training.options.policy import AlgorithmOptions, PolicyTrainingOptions, TrainPolicyOptions
from trbert_env.ranges import LARGEST_SEED, Items, Range
from trbert_env.suggestions import suggestion

#: Agents that need no training; the residual scores see the gold answer.
HEURISTICS = tuple(name for name in ALL_HEURISTICS if name != "keep-all")
#: Curves of the plot, and the points that each is averaged into.
CURVES, CURVE_POINTS = ("charts/log_likelihood", "charts/divergence", "losses/entropy"), 25


@dataclass(frozen=True)
class ComparedAlgorithmOptions:
    """Options that only some algorithms have, for a comparison of those that do."""

    baseline: Literal["mean", "leave-one-out", "none"] | None = None
    """As --agent-options reinforce.baseline=, where reinforce alone is trained."""

    log_probability: Literal["sum", "mean"] | None = None
    """As --agent-options AGENT.log_probability= for every one, where none but reinforce, rloo and grpo are trained."""


@dataclass(frozen=True)
class ComparedStageOptions:
    """Options of stage 2, for all algorithms."""

    algorithm: Part[ComparedAlgorithmOptions] = field(default_factory=ComparedAlgorithmOptions)
    agent: Part[PolicyAgentOptions] = field(default_factory=PolicyAgentOptions)
    training: Part[PolicyTrainingOptions] = field(default_factory=PolicyTrainingOptions)


@dataclass(frozen=True)
class CompareOptions:
    """Options of a comparison."""

    agents: Annotated[tuple[str, ...], Items(1, distinct=True)] = (
        *("reinforce", "rloo", "grpo", "ppo", "a2c"),
        *("random", "attention", "residual"),
    )
    """Learning agents, package.module:Class of your own among them, and heuristics."""

    seeds: Annotated[int, Range(1)] = 3
    """Number of seeds to train each with, from --seed on: 0, 1, 2 ..."""

    target_speedup: Annotated[float, Range(above=1)] = 2.0
    """FLOPs speed-up to train all for, and to compare them at."""

    agent_options: tuple[str, ...] = ()
    """Options of one agent alone, as agent.name=value or agent=FILE.yaml: ppo.n_epochs=4 grpo=grpo.yaml."""

    resume: Path | None = None
    """Go on with this comparison: what is done is not done again."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    policy: ComparedStageOptions = field(default_factory=ComparedStageOptions)

    #: Set for each agent.
    withdrawn: ClassVar[dict[str, str]] = dict.fromkeys(
        ("--policy.agent", "--policy.agent-options"),
        "--policy.agent and --policy.agent-options are set for each agent: use --agents, --agent-options",
    )

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        if self.run.seed + self.seeds - 1 > LARGEST_SEED:
            raise UserError(
                f"--seed {self.run.seed} and --seeds {self.seeds} go beyond the largest seed, {LARGEST_SEED}"
            )
        known = [*AGENTS, *HEURISTICS]
        for name in self.agents:
            if name not in known and ":" not in name:
                hint = suggestion(name, known, f"use {', '.join(known)}, or package.module:Class")
                raise UserError(f"--agents has {name!r}: {hint}")
        for item in self.agent_options:
            if not any(_said_to(name, item) for name in self.learners):
                prefixes = ", ".join(f"{name}." for name in self.learners)
                raise UserError(f"--agent-options has {item!r}: it must begin with one of {prefixes}")
        if not self.learners:
            unread = [flag(f"policy.{name}") for name in option_paths(ComparedStageOptions) if name != "keep_fractions"]
            refuse_given(self, unread, "--agents names heuristics alone, which are not trained")
        for name in self.learners:
            try:
                check_options(self.stage2(name, 0, Path()))
            except (ValueError, UserError) as error:
                raise UserError(f"in the options of {name}, which are those behind --policy.: {error}") from error

    @property
    def learners(self) -> tuple[str, ...]:
        """The agents that are trained."""
        return tuple(name for name in self.agents if name not in HEURISTICS)

    @property
    def heuristics(self) -> tuple[str, ...]:
        """The agents that are not."""
        return tuple(name for name in self.agents if name in HEURISTICS)

    def stage2(self, agent: str, seed: int, output_dir: Path) -> TrainPolicyOptions:
        """The options of one agent's run."""
        options = TrainPolicyOptions(
            data=self.data,
            encoder=self.encoder,
            run=replace(self.run, seed=seed, output_dir=output_dir),
            algorithm=AlgorithmOptions(
                agent, self.own_options(agent), self.policy.algorithm.baseline, self.policy.algorithm.log_probability
            ),
            agent=trained_agent(self.policy.agent, self.policy.training.cloning_texts, self.heuristics),
            training=self.policy.training,
            target_speedup=self.target_speedup,
        )
        return options.for_plug_in() if options.algorithm.plug_in else options

    def own_options(self, agent: str) -> tuple[str, ...]:
        """Return the options of this agent alone, files read."""
        own = [said for item in self.agent_options if (said := _said_to(agent, item))]
        return spelled_out("--agent-options", own)

    def without_files(self) -> CompareOptions:
        """The same with the files of agents' options read, so that to go on needs none."""
        spelled = [f"{agent}.{item}" for agent in self.learners for item in self.own_options(agent)]
        return replace(self, agent_options=tuple(spelled))


def _said_to(agent: str, item: str) -> str:
    """An item's own part, ``name=value`` or a file; empty where it is for another agent.

    Example:
        >>> _said_to("ppo", "ppo.n_epochs=4"), _said_to("ppo", "ppo=fast.yaml"), _said_to("a2c", "ppo.n_epochs=4")
        ('n_epochs=4', 'fast.yaml', '')
    """
    for start in (f"{agent}.", f"{agent}="):
        if item.startswith(start):
            return item.removeprefix(start)
    return ""


@dataclass(frozen=True)
class Entry:
    """One run of a comparison.

    Attributes:
        agent: Name of the agent.
        seed: Its seed.
        record: Record of its evaluation.
        run: Folder of the run; None for heuristics.
        cost: Training cost of the run by :func:`training_cost`; empty for heuristics.
    """

    agent: str
    seed: int
    record: EvaluationRecord
    run: Path | None = None
    cost: Mapping[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the row of ``runs.csv``."""
        row = {**self.record.to_flat(), "agent": self.agent, "seed": self.seed, **self.cost}
        return row if self.run is None else row | {"run": str(self.run)}

    @property
    def flops_speedup(self) -> float:
        """FLOPs speed-up that was reached."""
        assert self.record.reduced.savings is not None, "what is compared skips tokens"
        return self.record.reduced.savings.flops_speedup


class Comparison:
    """The runs of a comparison, in one folder; what is done is found and left alone.

    Args:
        options: The comparison's.
        folder: Holds ``<agent>-seed<n>/`` with the runs, and ``heuristics/`` with records.
        heuristic_points: Heuristics at the FLOPs of the runs, to compare them with.
    """

    def __init__(self, options: CompareOptions, folder: RunFolder, heuristic_points: HeuristicPoints) -> None:
        self.options, self.folder, self._heuristic_points = options, folder, heuristic_points
        #: The metrics of the unreduced backbone that the first evaluation took serve the others.
        self._full_from: Path | None = None

    def entries(self) -> list[Entry]:
        """Return one entry a run; runs what is missing, seed by seed, so that all agents soon have one."""
        entries = []
        for seed in self._seeds:
            for agent in self.options.learners:
                path = self._trained(agent, seed)
                entries.append(Entry(agent, seed, run_record(path), path, training_cost(path)))
        for name in self.options.heuristics:
            for seed in self._seeds if name in SEEDED_HEURISTICS else self._seeds[:1]:
                earlier = run_record(self._full_from) if self._full_from else None
                record = self._heuristic_points.record(
                    name, self.options.target_speedup, seed, earlier, self.folder.path
                )
                entries.append(Entry(name, seed, record))
        return entries

    @property
    def _seeds(self) -> range:
        first = self.options.run.seed
        return range(first, first + self.options.seeds)

    def _trained(self, agent: str, seed: int) -> Path:
        place = self.folder.path / f"{agent.replace(':', '.')}-seed{seed}"
        runs = place / self.options.data.env
        options = replace(self.options.stage2(agent, seed, place), full_from=self._full_from)
        path = found_or_run(train_policy, options, runs, "policy-*", f"{agent}, seed {seed}")
        self._full_from = self._full_from or path
        return path


def training_cost(run_dir: Path) -> dict[str, float]:
    """``texts_per_second`` and ``training_minutes`` of a run, from its curve; pauses between resumes do not count."""
    curve = read_curve(run_dir, "charts/texts_per_second")
    before = [0, *(step for step, _ in curve[:-1])]
    seconds = sum((step - last) / rate for (step, rate), last in zip(curve, before, strict=True))
    return {"texts_per_second": curve[-1][0] / seconds, "training_minutes": seconds / 60}


def leaderboard(entries: Sequence[Entry], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row an agent, best first by the first of the metrics.

    Args:
        entries: All runs.
        metrics: Metrics whose means over seeds and intervals are told, the main one first.
    """
    board = []
    for agent in dict.fromkeys(entry.agent for entry in entries):
        chosen = [entry for entry in entries if entry.agent == agent]
        row: dict[str, Any] = {"agent": agent, "seeds": len(chosen)}
        row["flops_speedup"] = statistics.fmean(entry.flops_speedup for entry in chosen)
        for metric in metrics:
            row[metric], row[f"{metric}_interval"] = interval(
                [entry.record.reduced.quality[metric] for entry in chosen]
            )
        for name in ("texts_per_second", "training_minutes"):
            row[name] = statistics.fmean(entry.cost.get(name, math.nan) for entry in chosen)
        board.append(row)
    return sorted(board, key=lambda row: math.inf if math.isnan(row[metrics[0]]) else -row[metrics[0]])


def learning_curves(entries: Sequence[Entry]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return a panel a curve, a line an agent: the mean over its seeds, in pieces of equal numbers of updates."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for key in CURVES:
        lines = {}
        for agent in dict.fromkeys(entry.agent for entry in entries if entry.run is not None):
            runs = [entry.run for entry in entries if entry.agent == agent and entry.run is not None]
            curves = [read_curve(run, key) for run in runs]
            if all(curves):  # one of your own may log other curves
                lines[agent] = averaged(curves)
        panels[key.partition("/")[2].replace("_", " ")] = lines
    return {name: lines for name, lines in panels.items() if lines}


def averaged(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[float, float]]:
    """The mean of curves over the steps that all of them have, in at most :data:`CURVE_POINTS` pieces.

    Example:
        >>> averaged([[(1, 0.0), (2, 2.0)], [(1, 2.0), (2, 4.0)]])
        [(1.0, 1.0), (2.0, 3.0)]
    """
    common = set.intersection(*({step for step, _ in curve} for curve in curves))
    points = np.array([[point for point in curve if point[0] in common] for curve in curves], dtype=np.float64).mean(0)
    pieces = np.array_split(points, min(CURVE_POINTS, len(points)))
    return [(float(piece[:, 0].mean()), float(piece[:, 1].mean())) for piece in pieces]


def report(entries: Sequence[Entry], folder: RunFolder, target: float, metrics: Sequence[str]) -> None:
    """Write CSV, Markdown, plot, TensorBoard and ``metrics.json``, and print the closing table.

    Args:
        entries: All runs.
        folder: Folder of the comparison.
        target: FLOPs speed-up that was aimed at.
        metrics: Metrics of the leaderboard, the main one first.
    """
    first, on = entries[0].record, entries[0].record.conditions
    metrics = [name for name in metrics if name in first.full.to_flat()]  # a split may lack some
    board = leaderboard(entries, metrics)
    write_csv(folder.path / "runs.csv", [entry.row() for entry in entries])
    write_csv(folder.path / "leaderboard.csv", board)
    full = {"agent": "unreduced", "flops_speedup": 1.0} | {name: first.full[name] for name in metrics}
    headings = ["agent", "seeds", "FLOPs", *(name.replace("_", " ") for name in metrics), "texts/s", "minutes"]
    cells = [_cells(row, metrics, target) for row in [full, *board]]
    on_what = f"{on.env} {on.split} ({on.data_source}), {on.num_examples:,} examples"
    title = (
        f"algorithms at {target:g}x on {on_what}, mean and 95 % interval over seeds (* off that speed by 3 % and more)"
    )
    write_durably(folder.path / "leaderboard.md", f"{title}\n\n{markdown_table(headings, cells)}")
    flat = {
        f"{entry.agent}/{entry.seed}/{name}": value
        for entry in entries
        for name, value in entry.record.reduced.quality.to_flat().items()
    }
    with Tracker(folder.events_dir) as tracker:
        tracker.log_text("leaderboard", markdown_table(headings, cells), 0)
        if any(entry.run is not None for entry in entries):
            caption = f"{on.env}, backbone {Path(on.backbone or '').name}, training texts, mean over seeds"
            figure = line_plot("learning curves", "texts seen", learning_curves(entries), caption)
            save_plot(figure, folder.path / "learning_curves.png")
            tracker.log_figure("learning_curves", figure)
    print_table(title, headings, cells)
    folder.write_metrics(flat)


def _cells(row: dict[str, Any], metrics: Sequence[str], target: float) -> list[str]:
    """A row of the table as text."""

    def shown(name: str) -> str:
        value = row.get(name, math.nan)
        return "" if math.isnan(value) else f"{value:.1f}"

    quality = [shown_interval(row.get(metric, math.nan), row.get(f"{metric}_interval", math.nan)) for metric in metrics]
    count = str(row.get("seeds", ""))
    cost = [shown("texts_per_second"), shown("training_minutes")]
    speedup = shown_speedup(row["flops_speedup"], target if "seeds" in row else None)
    return [row["agent"], count, speedup, *quality, *cost]


def heuristics_of(options: CompareOptions) -> HeuristicPoints:
    """Return the heuristics of a comparison, with the cuts of its runs; see :func:`heuristics_beside`."""
    stage2 = options.stage2("reinforce", 0, Path())
    return heuristics_beside(stage2, options.policy.agent.keep_fractions, [options.target_speedup])


def main(options: CompareOptions) -> None:
    """Algorithms against each other: the same texts for all, at the same FLOPs, over several seeds."""
    folder: RunFolder | None = None
    if options.resume is not None:
        options, folder = reopen(options, options.resume)
    beside = heuristics_of(options)  # says what is wrong before there is a folder
    if options.encoder.layers is None or not beside.fine_tuned:
        options = replace(options, encoder=measured_encoder(options.stage2("reinforce", 0, options.run.output_dir)))
        beside = heuristics_of(options)
    if folder is None:
        folder = RunFolder.create(options.run.output_dir, options.data.env, "compare", "agents", options.run.seed)
        options = options.without_files()
        folder.write_config(options, beside.facts)
    else:
        folder.check_recorded(beside.facts)
    print(f"run folder: {folder.path}")
    with held(folder):
        entries = Comparison(options, folder, beside).entries()
        report(entries, folder, options.target_speedup, beside.metric_names)
    curves = " and the learning curves" if (folder.path / "learning_curves.png").exists() else ""
    print(f"table: {folder.path / 'leaderboard.md'}, and beside it runs.csv{curves}")


if __name__ == "__main__":
    run(main, CompareOptions)
