"""Plan of a reproduction: the runs to do, and an estimate of their hours from a few measured steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from agents.distillation import Teacher
from runners.cli.options import resolve_device
from runners.cli.tables import Cell, print_table
from runners.evaluation.layer_probe import planned_cuts
from runners.evaluation.timing import TIMED_TEXTS
from runners.finetune import make_schedule
from runners.reproduction.field import Entrant, Field
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.published import CONTROL, OURS
from runners.training.options.policy import TrainPolicyOptions
from runners.training.pace import forward_pace, joint_pace, own_teacher, policy_pace
from trbert_env.data.backbones import placed

#: Steps of compared systems in steps of the unreduced encoder, for each text; 1 where none is said. DynaBERT trains
#: four widths in its first phase (2.5) and twelve networks in its second (5.6), LAT the whole and three reduced ones.
FULL_STEPS = {"dynabert": 4.05, "length-adaptive": 2.8}
#: Systems that train at the speed of their use.
SMALLER = ("distilled", "pooled")
#: A step is forward and backward, which is three forward passes, and the teacher's is one more.
STEP_PASSES, TEACHER_PASSES = 3.0, 1.0


class Pace:
    """Seconds a text of each kind of work, from a few steps on this machine; each is measured when it is asked for.

    Args:
        options: Options of the reproduction.
        field: The data set; its first training texts are used.
    """

    def __init__(self, options: ReproduceOptions, field: Field) -> None:
        self._options, self._field = options, field
        self._device, self._run = resolve_device(options.run.device), replace(options.run, output_dir=Path())

    @cached_property
    def policy(self) -> float:
        """Seconds of stage 2."""
        return policy_pace(self._stage2, self._field.some)

    @cached_property
    def joint(self) -> float:
        """Seconds of stage 3."""
        options = self._options.stage3(self._field.env, self._speedup, self._run, Path(), 1)
        return joint_pace(replace(options, encoder=self._stage2.encoder), self._field.some, self._teacher)

    @cached_property
    def unreduced(self) -> float:
        """Seconds of training with nothing skipped, the teacher's pass included."""
        return joint_pace(self._options.control(self._field.env, self._run, 1), self._field.some, self._teacher)

    @cached_property
    def forward(self) -> float:
        """Seconds of an evaluation with nothing skipped."""
        some = self._field.some
        return forward_pace(placed(some.backbone.model, self._device, torch.float32), some)

    @cached_property
    def _stage2(self) -> TrainPolicyOptions:
        # Cuts that are still to be found: the earliest ones, as where it is asked whether a speed-up is within reach.
        options = self._options.stage2(self._field.env, self._speedup, self._run)
        layers = planned_cuts(options.encoder.layers, self._field.some.backbone.model)
        return replace(options, encoder=replace(options.encoder, reduction_layers=layers))

    @cached_property
    def _teacher(self) -> Teacher:
        return own_teacher(self._field.some, self._options.run.dtype, self._device)

    @property
    def _speedup(self) -> float:
        return self._options.fastest(self._field.env)


@dataclass(frozen=True)
class PlannedRun:
    """Runs to do that differ in their seeds alone.

    Attributes:
        env: Name of the data set.
        name: Name of the run.
        count: Number of runs.
        texts: Texts to train on in each; 0 where nothing is trained.
        hours: Estimated hours of each.
    """

    env: str
    name: str
    count: int
    texts: int
    hours: float


class Estimator:
    """Estimates of the runs of one data set.

    Args:
        options: Options of the reproduction.
        field: The data set and its systems.
        pace: Seconds a text.
    """

    def __init__(self, options: ReproduceOptions, field: Field, pace: Pace) -> None:
        self.options, self.field, self._pace = options, field, pace

    def stage1(self) -> list[PlannedRun]:
        """Return stage 1, where the encoder is not fine-tuned."""
        if not self.field.needs_stage1:
            return []
        options = self.options.stage1(self.field.env, self.options.run).training
        schedule = make_schedule(options, self.field.some, self.field.train_texts)
        texts = schedule.steps * schedule.batch_size
        seconds = self._pace.unreduced * STEP_PASSES / (STEP_PASSES + TEACHER_PASSES)
        return [self._planned("stage 1", 1, texts, texts * seconds + self._evaluation(1.0))]

    def control(self) -> PlannedRun:
        """Return the unreduced control."""
        texts = self.field.texts.control
        seconds = texts * self._pace.unreduced + self._evaluation(1.0)
        return self._planned(CONTROL, self.options.seeds, texts, seconds)

    def ours(self, target: float, count: int, name: str = OURS, size: float = 1.0) -> PlannedRun:
        """Return both stages of ours.

        Args:
            target: FLOPs speed-up to train for.
            count: Number of runs.
            name: Name of the run.
            size: Share of the encoder's layers that there are.
        """
        texts = self.field.texts
        training = size * (texts.policy * self._pace.policy + texts.joint * self._pace.joint)
        seconds = training + 2 * size * self._evaluation(target)
        return self._planned(f"{name}, {target:g}x", count, texts.both, seconds)

    def entrant(self, entrant: Entrant, count: int) -> PlannedRun:
        """Return the runs of a system.

        Args:
            entrant: The system.
            count: Number of runs.
        """
        if entrant.name == OURS:
            return self.ours(entrant.target, count)
        name = f"{entrant.name}, {entrant.target:g}x"
        if entrant.is_heuristic:
            return self.evaluations(name, count)
        steps = 1.0 / entrant.target if entrant.name in SMALLER else FULL_STEPS.get(entrant.name, 1.0)
        share = (steps * STEP_PASSES + TEACHER_PASSES) / (STEP_PASSES + TEACHER_PASSES)
        texts = self.field.texts.baseline
        seconds = texts * self._pace.unreduced * share + self._evaluation(entrant.target)
        return self._planned(name, count, texts, seconds)

    def evaluations(self, name: str, count: int) -> PlannedRun:
        """Return passes over the evaluation texts with scores, which cost about two.

        Args:
            name: Name of the passes.
            count: Number of passes.
        """
        return self._planned(name, count, 0, 2 * self._pace.forward * self.field.evaluation_texts)

    def _evaluation(self, speedup: float) -> float:
        """Seconds of a closing evaluation: one pass reduced, and the clock in four rounds of three systems."""
        return self._pace.forward * (self.field.evaluation_texts / speedup + 4 * 3 * TIMED_TEXTS)

    def _planned(self, name: str, count: int, texts: int, seconds: float) -> PlannedRun:
        return PlannedRun(self.field.env, name, count, texts, seconds / 3600)


def print_plan(
    options: ReproduceOptions,
    fields: Sequence[Field],
    planned: Callable[[Estimator], list[PlannedRun]],
) -> None:
    """Measure, and print the runs with their estimated hours.

    Args:
        options: Options of the reproduction.
        fields: The data sets.
        planned: Function that names the runs of a data set.
    """
    runs: list[PlannedRun] = []
    for field in fields:
        estimator = Estimator(options, field, Pace(options, field))
        runs += [*estimator.stage1(), *planned(estimator)]
    rows: list[list[Cell]] = [
        [run.env, run.name, run.count, f"{run.texts:,}" if run.texts else None, run.hours, run.count * run.hours]
        for run in runs
    ]
    print_table(f"plan of {options.product}", ["data set", "run", "runs", "texts each", "hours each", "hours"], rows)
    total = sum(run.count * run.hours for run in runs)
    print(
        f"{total:.2f} hours in all, by an estimate: of a step of stage 2, of stage 3 and of the control, and of a pass "
        "that skips nothing, those that these runs make were measured just now on this machine; compared systems are "
        "scaled from the control by FLOPs"
    )
