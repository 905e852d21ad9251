"""Figure 3: the frontier of quality and speed, over budgets and seeds, with heuristics beside it."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from runners.cli.display import announce
from runners.cli.flags import check_options
from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions, resolve_device
from runners.cli.plots import line_plot, metric_label, save_plot
from runners.cli.run import UserError, run
from runners.cli.tables import print_table
from runners.evaluation.evaluations import evaluate_model
from runners.evaluation.nested_runs import (
    HeuristicPoints,
    found_or_run,
    heuristics_beside,
    kept_record,
    trained_agent,
)
from runners.evaluation.passes import evaluation_conditions
from runners.evaluation.record import EvaluationRecord, Identity
from runners.evaluation.summary import mean_line
from runners.joint_finetune import joint_finetune
from runners.runs.earlier import run_record
from runners.runs.files import write_csv
from runners.runs.models import is_token_reduced, load_model
from runners.runs.run_folder import RunFolder, reopen
from runners.runs.session import held
from runners.runs.tracking import Tracker
from runners.train_policy import measured_encoder, train_policy
from runners.training.loading import Holdout, check_holdout
from runners.training.options.joint import JointFinetuneOptions, JointStageOptions, measured_defaults
from runners.training.options.policy import PolicyStageOptions, TrainPolicyOptions
from runners.training.precision import evaluation_dtype
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.ranges import LARGEST_SEED, Items, Range
from trbert_env.reduction.decision import DecisionRule


@dataclass(frozen=True)
class SweepOptions:
    """Options of a sweep."""

    speedups: Annotated[tuple[Annotated[float, Range(above=1)], ...], Items(1, distinct=True)] = (1.5, 2.0, 2.5, 3.0)
    """FLOPs speed-ups to train for: one run for each of them and each seed."""

    seeds: Annotated[tuple[Annotated[int, Range(0, LARGEST_SEED)], ...], Items(1, distinct=True)] = (0,)
    """The seeds; --seed fixes what is not trained."""

    stage: Literal["policy", "joint"] = "policy"
    """policy: a run of stage 2 each; joint: one of stage 3 behind it."""

    heuristics: Annotated[tuple[Literal["random", "overlap", "attention", "residual"], ...], Items(distinct=True)] = (
        "random",
        "attention",
        "residual",
    )
    """Lines to draw beside it; residual sees the gold answer."""

    one_model: float | None = None
    """Draw the frontier of the one model that was trained for this speed-up too, by its thresholds."""

    resume: Path | None = None
    """Go on with this sweep: what is done is not done again."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    policy: PolicyStageOptions = field(default_factory=PolicyStageOptions)
    joint: JointStageOptions = field(default_factory=JointStageOptions)

    #: See :class:`~runners.training.options.joint.JointFinetuneOptions`.
    withdrawn: ClassVar[dict[str, str]] = {
        "--joint.imitation-fraction": "there is no imitation in joint training: leave --joint.imitation-fraction out"
    }

    def defaults(self) -> SweepOptions:
        """Return the defaults on this device; see :func:`~runners.training.options.joint.measured_defaults`."""
        return SweepOptions(joint=measured_defaults(resolve_device(self.run.device).type, has_policy=True))

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        if len({f"{speedup:g}" for speedup in self.speedups}) < len(self.speedups):
            raise UserError(f"--speedups is {' '.join(map(str, self.speedups))}; two of them are alike in six digits")
        if self.one_model is not None and self.one_model not in self.speedups:
            raise UserError(f"--one-model is {self.one_model}; it must be one of --speedups")
        if self.stage == "policy" and self.joint not in (JointStageOptions(), self.defaults().joint):
            raise UserError("--stage policy has no stage 3: leave the options behind --joint. out")
        stages: dict[str, TrainPolicyOptions | JointFinetuneOptions] = {
            "--policy": self.stage2(self.speedups[0], 0, Path()),
            "--joint": self.stage3(self.speedups[0], 0, Path(), Path()),
        }
        for group, options in stages.items():
            try:
                check_options(options)
            except (ValueError, UserError) as error:
                raise UserError(f"in the options behind {group}.: {error}") from error

    def stage2(self, speedup: float, seed: int, output_dir: Path) -> TrainPolicyOptions:
        """The options of one run of stage 2."""
        return TrainPolicyOptions(
            data=self.data,
            encoder=self.encoder,
            run=replace(self.run, seed=seed, output_dir=output_dir),
            algorithm=self.policy.algorithm,
            agent=trained_agent(self.policy.agent, self.policy.training.cloning_texts, self.heuristics),
            training=self.policy.training,
            target_speedup=speedup,
        )

    def stage3(self, speedup: float, seed: int, output_dir: Path, policy: Path) -> JointFinetuneOptions:
        """The options of one run of stage 3; encoder, cuts and settings of the task are those of its policy's run."""
        return JointFinetuneOptions(
            data=replace(self.data, task_options=(), max_length=None),  # as encoder and cuts
            run=replace(self.run, seed=seed, output_dir=output_dir),
            joint=self.joint.joint,
            agent=self.joint.agent,
            training=self.joint.training,
            target_speedup=speedup,
            policy=policy,
        )


@dataclass(frozen=True)
class Point:
    """One point of the frontier.

    Attributes:
        series: Line that it belongs to.
        target: FLOPs speed-up that was aimed at.
        seed: Seed of the run, or of the heuristic.
        record: Record of the evaluation.
        run: Name of the run's folder; empty for heuristics.
    """

    series: str
    target: float
    seed: int
    record: EvaluationRecord
    run: str = ""

    def row(self) -> dict[str, Any]:
        """Return the row of ``frontier.csv``."""
        row = {"series": self.series, "target": self.target, "seed": self.seed, **self.record.to_flat()}
        return row | ({"run": self.run} if self.run else {})

    @property
    def flops_speedup(self) -> float:
        """FLOPs speed-up that was reached."""
        assert self.record.reduced.savings is not None, "a point of the frontier skips tokens"
        return self.record.reduced.savings.flops_speedup


class Sweep:
    """The runs of a sweep, in one folder; what is done is found and left alone.

    Args:
        options: The sweep's.
        folder: Holds ``<speed-up>-seed<n>/`` with the runs, and ``heuristics/`` with records.
        heuristic_points: Heuristics at the FLOPs of the runs, drawn beside them.
    """

    def __init__(self, options: SweepOptions, folder: RunFolder, heuristic_points: HeuristicPoints) -> None:
        self.options, self.folder, self._heuristic_points = options, folder, heuristic_points
        self._device, self._dtype = str(resolve_device(options.run.device)), evaluation_dtype(options.run.dtype)
        #: A run whose metrics of the unreduced backbone serve the others.
        self._full_from: Path | None = None

    def points(self) -> list[Point]:
        """Return all that is measured; runs what is missing."""
        points = []
        for seed in self.options.seeds:
            for speedup in self.options.speedups:
                path = self._trained(speedup, seed)
                points.append(Point(self._name(), speedup, seed, run_record(path), path.name))
        if self.options.one_model is not None:
            points += self._one_model(self.options.one_model, self.options.seeds[0])
        if self.options.heuristics:
            points += self._heuristics()
        return points

    def _name(self) -> str:
        return "stage 2" if self.options.stage == "policy" else "joint"

    def _trained(self, speedup: float, seed: int) -> Path:
        place = self.folder.path / f"{speedup:g}x-seed{seed}"
        options = self.options.stage2(speedup, seed, place)
        runs = place / options.data.env
        options = replace(options, full_from=self._full_from)
        policy = found_or_run(train_policy, options, runs, "policy-*", f"stage 2 for {speedup:g}x, seed {seed}")
        self._full_from = self._full_from or policy
        needed = self.options.stage == "joint" or self.options.one_model is not None
        if needed and not is_token_reduced(str(RunFolder(policy).model_dir)):  # before the next run
            raise UserError(
                f"--policy.agent {self.options.policy.algorithm.agent} ends in no model to ship, which --stage joint "
                "and --one-model need: use another agent, or --stage policy without --one-model"
            )
        if self.options.stage == "policy":
            return policy
        later = replace(self.options.stage3(speedup, seed, place, policy), full_from=self._full_from)
        return found_or_run(joint_finetune, later, runs, "joint-*", f"stage 3 for {speedup:g}x, seed {seed}")

    def _one_model(self, speedup: float, seed: int) -> list[Point]:
        """One run at all speeds, by its thresholds."""
        path = self._trained(speedup, seed)
        model, _ = load_model(path, self._device)
        # Compared with the encoder that the sweep began with, also where stage 3 has changed the model's own.
        workload, earlier = self._heuristic_points.validation, run_record(path)
        conditions = evaluation_conditions(workload, self._dtype)
        points = []
        for wanted in self.options.speedups:
            try:
                decision = DecisionRule(threshold=model.speed_table.threshold(wanted))
            except ValueError as error:  # the other speeds are worth having without it
                announce(f"left out of the one model's frontier: {error}")
                continue
            place = self.folder.path / "one-model" / f"{speedup:g}x-at-{wanted:g}x.json"

            def evaluate(decision: DecisionRule = decision) -> EvaluationRecord:
                return evaluate_model(model, workload, self._dtype, self._device, decision, earlier)

            identity = Identity(fingerprint_model(model), decision.threshold)
            record = kept_record(place, evaluate, conditions, identity)
            name = f"{self._name()}, the one for {speedup:g}x by thresholds"
            points.append(Point(name, wanted, seed, record, path.name))
        return points

    def _heuristics(self) -> list[Point]:
        """Heuristics at the same FLOPs, with the same cuts."""
        path = self._trained(self.options.speedups[0], self.options.seeds[0])
        earlier, seed = run_record(path), self.options.run.seed
        return [
            Point(
                name,
                speedup,
                seed,
                self._heuristic_points.record(name, speedup, seed, earlier, self.folder.path),
            )
            for name in self.options.heuristics
            for speedup in self.options.speedups
        ]


def report(points: list[Point], folder: RunFolder, metrics: Sequence[str]) -> None:
    """Write CSV, plot, TensorBoard and ``metrics.json``, and print the closing table.

    Args:
        points: All points, the trained runs first.
        folder: Folder of the sweep.
        metrics: Metrics to plot and print, the main one first.
    """
    rows = [point.row() for point in points]
    write_csv(folder.path / "frontier.csv", rows)
    first, on = points[0].record, points[0].record.conditions
    metrics = [name for name in metrics if name in first.full.to_flat()]  # a split may lack some
    series = list(dict.fromkeys(point.series for point in points))
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for metric in metrics:
        lines = {name: mean_line([point for point in points if point.series == name], metric) for name in series}
        panels[metric_label(metric)] = {"unreduced": [(1.0, first.full[metric])], **lines}
    seeds = len({point.seed for point in points if point.series == series[0]})
    caption = f"{on.num_examples:,} examples, backbone {Path(on.backbone or '').name}, mean of {seeds} seed(s)"
    figure = line_plot(f"{on.env}: quality and speed", "FLOPs speed-up over the backbone", panels, caption)
    save_plot(figure, folder.path / "frontier.png")
    with Tracker(folder.events_dir) as tracker:
        tracker.log_figure("frontier", figure)
    shown = ["flops_speedup", *metrics, "wall_speedup_stock", "wall_speedup_packed"]
    print_table(
        f"quality and speed on {on.env} {on.split}, {on.num_examples:,} examples",
        ["", "target", "seed", *(name.replace("_", " ") for name in shown)],
        [[row["series"], row["target"], row["seed"], *(row.get(name) for name in shown)] for row in rows],
    )
    flat = {
        f"{point.series}/{point.target:g}/{point.seed}/{name}": value
        for point in points
        for name, value in point.record.reduced.quality.metrics.items()
    }
    folder.write_metrics(flat)


def heuristics_of(options: SweepOptions) -> HeuristicPoints:
    """Return the heuristics of a sweep, with the cuts of its runs; see :func:`heuristics_beside`."""
    stage2 = options.stage2(options.speedups[0], 0, Path())
    return heuristics_beside(stage2, options.policy.agent.keep_fractions, options.speedups)


def main(options: SweepOptions) -> None:
    """Figure 3: the frontier of quality and speed, over budgets and seeds, with heuristics beside it."""
    folder: RunFolder | None = None
    if options.resume is not None:
        options, folder = reopen(options, options.resume)
    # Both say what is wrong before there is a folder.
    beside = heuristics_of(options)
    if options.stage == "joint":
        check_holdout(options.data, Holdout(options.joint.training.holdout_texts))
    if options.encoder.layers is None or not beside.fine_tuned:
        stage2 = options.stage2(max(options.speedups), 0, options.run.output_dir)
        options = replace(options, encoder=measured_encoder(stage2))
        beside = heuristics_of(options)
    if folder is None:
        folder = RunFolder.create(options.run.output_dir, options.data.env, "sweep", options.stage, options.run.seed)
        folder.write_config(options, beside.facts)
        options = folder.read_options(SweepOptions)  # files of items, read now: the runs begin hours later
    else:
        folder.check_recorded(beside.facts)
    print(f"run folder: {folder.path}")
    with held(folder):
        report(Sweep(options, folder, beside).points(), folder, beside.metric_names)
    print(f"plot: {folder.path / 'frontier.png'}, table: {folder.path / 'frontier.csv'}")


if __name__ == "__main__":
    run(main, SweepOptions)
