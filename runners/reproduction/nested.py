"""Runs of a reproduction: each is done once, begun where it is missing and gone on with where it was interrupted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runners.cli.display import announce
from runners.cli.options import EncoderOptions, RunOptions
from runners.cli.run import UserError
from runners.evaluation.certainty import Certainty
from runners.evaluation.nested_runs import HeuristicPoints, found_or_run, going_on, heuristics_beside
from runners.evaluation.record import EvaluationRecord, Savings
from runners.finetune import finetune
from runners.joint_finetune import joint_finetune
from runners.reproduction.field import Entrant, Field, half_depth
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.published import CONTROL, HALF, OURS, OURS_ON_HALF
from runners.runs.earlier import run_record
from runners.train_baseline import train_baseline
from runners.train_policy import measured_on, train_policy
from trbert_env.data.backbones import Backbone
from trbert_env.presets import get_preset
from trbert_env.tasks import make_task


@dataclass(frozen=True)
class Result:
    """One measured run of a reproduction.

    Attributes:
        env: Name of the data set.
        system: Name of the system.
        target: FLOPs speed-up that was aimed at; 1 of the control, and its own of half depth, which aims at none.
        seed: Seed of the run, or of the heuristic.
        record: Record of the evaluation.
        run: Folder of the run; None for heuristics.
    """

    env: str
    system: str
    target: float
    seed: int
    record: EvaluationRecord
    run: Path | None = None

    def row(self) -> dict[str, Any]:
        """Return the row of ``runs.csv``."""
        flat = self.record.to_flat()
        told = {"env": self.env, "system": self.system, "target": self.target, "seed": self.seed}
        if self.system == CONTROL:  # whose policy is not run in use
            costs = {"flops_speedup": self.flops_speedup, "slices_speedup": flat.get("slices_full_speedup")}
            told |= {name: cost for name, cost in costs.items() if name in flat}
        return flat | told | ({} if self.run is None else {"run": str(self.run)})

    @property
    def main_metric(self) -> str:
        """Name of the task's main metric."""
        return make_task(get_preset(self.env)).metric_names[0]

    @property
    def quality(self) -> float:
        """Main metric of the run."""
        return self.record.reduced.quality[self.main_metric]

    @property
    def flops_speedup(self) -> float:
        """FLOPs speed-up that was reached over the unreduced encoder; 1 of the control, which skips nothing."""
        savings = self.record.reduced.savings
        return 1.0 if savings is None or self.system == CONTROL else savings.flops_speedup


class Runs:
    """The runs of one data set.

    Args:
        options: Options of the reproduction.
        field: The data set and its systems.
        folder: Folder of the reproduction; it holds ``<system>-seed<n>/<env>/`` with the runs.
    """

    def __init__(self, options: ReproduceOptions, field: Field, folder: Path) -> None:
        self.options, self.field, self.folder, self.env = options, field, folder, field.env
        #: A run whose metrics of the unreduced encoder serve the others.
        self._full_from: Path | None = None
        self._heuristics: HeuristicPoints | None = None
        #: Runs on the student of each seed.
        self._students: dict[int, Runs] = {}

    def prepare(self) -> None:
        """Fine-tune the encoder where it is not, and measure where to cut it; all runs then have the same start.

        Raises:
            UserError: The encoder was fine-tuned, and cannot be found any more.
        """
        backbone = self.fine_tuned_start() if self.field.needs_stage1 else self.field.some.backbone
        fastest = self.options.fastest(self.env)
        stage2 = self.options.stage2(self.env, fastest, self._run("cuts", self.options.run.seed))
        encoder = measured_on(stage2, self.field.examples, backbone)
        self.options = replace(self.options, encoder=encoder)

    def fine_tuned_start(self) -> Backbone:
        """Return the fine-tuned encoder, after stage 1 where that is still to do.

        Raises:
            UserError: It was fine-tuned, and cannot be found any more.
        """
        encoder = EncoderOptions(self.options.encoder.backbone)
        backbone = self.field.examples.load_encoder(encoder)
        if backbone.fine_tuned:
            return backbone
        announce(f"backbone '{backbone.name}' is not fine-tuned for {self.env}: stage 1 runs first")
        run = self._run("start", self.options.run.seed)
        finetune(going_on(self.options.stage1(self.env, run), run.output_dir / self.env, "finetune-*"))
        backbone = self.field.examples.load_encoder(encoder)
        if not backbone.fine_tuned:
            raise UserError(
                f"stage 1 in {run.output_dir} has ended, and its encoder is not in the cache (TRBERT_CACHE): set that "
                "to the folder of before, or delete stage 1 to run it again"
            )
        return backbone

    def result(self, entrant: Entrant, seed: int) -> Result:
        """Return what a system reaches; runs what is missing.

        Args:
            entrant: The system.
            seed: Seed of its training.
        """
        if entrant.is_heuristic:
            record = self._heuristic(entrant, seed)
            return Result(self.env, entrant.name, entrant.target, seed, record)
        if entrant.name == OURS:
            return self.ours(entrant.target, seed)
        options = self.options.compared(
            self.env, entrant.name, entrant.target, self._run(entrant.name, seed), self.field.texts.baseline
        )
        path = self._found(train_baseline, options, f"baseline-{entrant.name}", entrant.name)
        return Result(self.env, entrant.name, entrant.target, seed, run_record(path), path)

    def half(self, seed: int) -> Result:
        """Return what a student of half the layers reaches; runs it where it is missing.

        Args:
            seed: Seed of its training.
        """
        run = self._run(f"{HALF}-half", seed)
        options = self.options.compared(self.env, HALF, None, run, self.field.texts.baseline)
        path = self._found(train_baseline, options, f"baseline-{HALF}", "half depth")
        record = run_record(path)
        savings = record.reduced.savings
        assert savings is not None, "it has fewer layers"
        return Result(self.env, HALF, savings.flops_speedup, seed, record, path)  # it aims at no speed-up

    def on_half(self, target: float, seed: int) -> Result:
        """Return what stages 2 and 3 reach on a student of half the layers, against the whole encoder.

        Args:
            target: FLOPs speed-up over the student to train for.
            seed: Seed of all.
        """
        half = self.half(seed)
        if seed not in self._students:
            options = self.options.on_student(str(half.run), half_depth(self.field), self.fine_tuned_start().source)
            self._students[seed] = Runs(options, self.field, self.folder)
        found = self._students[seed].ours(target, seed, OURS_ON_HALF.replace(" ", "-"))
        layers = self.field.depth / half_depth(self.field)
        record = multiplied(found.record, half.record, layers)
        return replace(found, system=OURS_ON_HALF, target=target * layers, record=record)

    def ours(self, target: float, seed: int, name: str = OURS) -> Result:
        """Return what stages 2 and 3 reach; runs what is missing.

        Args:
            target: FLOPs speed-up to train for.
            seed: Seed of both stages.
            name: Name of the runs' folder.
        """
        told = f"{name} for {target:g}x"
        run = self._run(f"{name}-{target:g}x", seed)
        policy = self._found(train_policy, self.options.stage2(self.env, target, run), "policy-*", f"{told}, stage 2")
        later = self.options.stage3(self.env, target, run, policy, self.field.texts.joint)
        path = self._found(joint_finetune, later, "joint-*", f"{told}, stage 3")
        return Result(self.env, OURS, target, seed, run_record(path), path)

    def control(self, seed: int) -> Result:
        """Return what the encoder reaches that is trained as long with nothing skipped; runs it where it is missing.

        Args:
            seed: Seed of its training.
        """
        options = self.options.control(self.env, self._run("unreduced", seed), self.field.texts.control)
        path = self._found(joint_finetune, options, "joint-unreduced", CONTROL)
        return Result(self.env, CONTROL, 1.0, seed, run_record(path), path)

    def _found(self, runner: Any, options: Any, pattern: str, label: str) -> Path:
        run: RunOptions = options.run
        notice = f"{self.env}: {label}, seed {run.seed}"
        given = replace(options, full_from=self._full_from)
        path = found_or_run(runner, given, run.output_dir / self.env, pattern, notice)
        self._full_from = self._full_from or path
        return path

    def _heuristic(self, entrant: Entrant, seed: int) -> EvaluationRecord:
        points = self._heuristic_points()
        place = self.folder / "heuristics" / self.env
        place.mkdir(parents=True, exist_ok=True)
        earlier = None if self._full_from is None else run_record(self._full_from)
        return points.record(entrant.name, entrant.target, seed, earlier, place)

    def _heuristic_points(self) -> HeuristicPoints:
        if self._heuristics is None:
            targets = [entrant.target for entrant in self.field.entrants if entrant.is_heuristic]
            stage2 = self.options.stage2(self.env, targets[0], self.options.run)
            self._heuristics = heuristics_beside(stage2, self.options.policy.agent.keep_fractions, targets)
        return self._heuristics

    def _run(self, name: str, seed: int) -> RunOptions:
        return replace(self.options.run, seed=seed, output_dir=self.folder / f"{name}-seed{seed}")


def multiplied(reduced: EvaluationRecord, half: EvaluationRecord, layers: float) -> EvaluationRecord:
    """Return a record of ours on a student, against the whole encoder: what both save multiplies.

    Args:
        reduced: Record of the student with tokens reduced, against all of the student's layers on all tokens.
        half: Record of the student, against the whole encoder.
        layers: Layers of the encoder over those of the student. Its own speed-up is greater where the head reads first
            tokens, for its last layer computes no others, which the first record counts already.
    """
    own = reduced.reduced.savings
    assert own is not None, "its tokens are reduced"
    savings = Savings(own.flops_speedup * layers, own.kept_fractions)
    clock = reduced.clock
    if clock is not None and half.clock is not None:
        # Both are told by the packed student: it is what the first is measured with, and what the second reduces.
        stock, packed = (
            clock.wall_speedup_packed * factor
            for factor in (half.clock.wall_speedup_stock, half.clock.wall_speedup_packed)
        )
        clock = replace(clock, wall_speedup_stock=stock, wall_speedup_packed=packed)
    measured = replace(reduced.reduced, savings=savings)
    # Intervals and ranges do not multiply.
    return replace(reduced, reduced=measured, full=half.full, clock=clock, certainty=Certainty())
