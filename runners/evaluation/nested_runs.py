"""Runs of other runners inside of one run's folder: what is done is found, what was begun goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from agents.policy_agent import PolicyAgentOptions
from runners.cli.display import announce
from runners.cli.options import ResumableT, TaskOptions, resolve_device
from runners.evaluation.evaluations import evaluate_heuristic
from runners.evaluation.layer_probe import planned_cuts
from runners.evaluation.matching import fractions_for_speedup
from runners.evaluation.passes import evaluation_conditions
from runners.evaluation.record import REQUIRED, Conditions, EvaluationRecord, Identity
from runners.runs.checkpoint import has_state
from runners.runs.files import read_record, write_json
from runners.runs.run_folder import RunFolder
from runners.training.loading import load_split
from runners.training.options.policy import TrainPolicyOptions
from runners.training.precision import evaluation_dtype
from trbert_env.data.workload import Workload
from trbert_env.reduction.cost import CostModel

#: Heuristics that a seed changes.
SEEDED_HEURISTICS = ("random",)


def trained_agent(agent: PolicyAgentOptions, cloning_texts: int, heuristics: Sequence[str]) -> PolicyAgentOptions:
    """Return the options of the agents that are trained, without keep fractions that only heuristics read.

    Args:
        agent: Options behind ``--policy.``.
        cloning_texts: Texts on which a ranking is cloned, which takes the keep fractions too.
        heuristics: Heuristics beside the trained runs, whose keep fractions have the shape of these.
    """
    unread = agent.sampler == "bernoulli" and not cloning_texts
    return replace(agent, keep_fractions=None) if unread and heuristics else agent


def ended_run(place: Path, pattern: str) -> Path | None:
    """Return the run under ``place`` that has ended, if one has.

    Args:
        place: A folder of runs.
        pattern: Stage and agent of the run, as in the name of its folder.

    Raises:
        ValueError: Its record is damaged.
    """
    paths = (path.parent for path in sorted(place.glob(f"{pattern}/*/metrics.json")))
    return next((path for path in paths if RunFolder(path).ended), None)


def going_on(options: ResumableT, place: Path, pattern: str) -> ResumableT:
    """Return the options by which a run goes on from its checkpoint; the same where there is none.

    Args:
        options: Options of the run.
        place: Folder of its runs.
        pattern: Stage and agent of the run, as in the name of its folder.
    """
    for path in sorted(place.glob(f"{pattern}/*")):
        if has_state(path / "checkpoint"):
            RunFolder(path).move_to(options)
            return type(options)(resume=path)  # type: ignore[call-arg]
    return options


def run_to_end(runner: Callable[[ResumableT], RunFolder], options: ResumableT, place: Path, pattern: str) -> Path:
    """Run to the end, from its checkpoint where there is one; returns the run's folder."""
    return runner(going_on(options, place, pattern)).path


def found_or_run(
    runner: Callable[[ResumableT], RunFolder], options: ResumableT, place: Path, pattern: str, notice: str
) -> Path:
    """Return the folder of a run that has ended, or run it to its end.

    Args:
        runner: The job.
        options: Options of the run.
        place: Folder of its runs.
        pattern: Stage and agent of the run, as in the name of its folder.
        notice: Line that announces the run, where it is still to do.

    Raises:
        ValueError: Its record is damaged.
    """
    path = ended_run(place, pattern)
    if path is None:
        announce(notice)
        path = run_to_end(runner, options, place, pattern)
    return path


def kept_record(
    path: Path, evaluate: Callable[[], EvaluationRecord], conditions: Conditions, identity: Identity
) -> EvaluationRecord:
    """Return the record of an evaluation that is done once, and kept as JSON.

    Args:
        path: File that keeps it.
        evaluate: Function that measures the record where there is none yet.
        conditions: Conditions that a kept record must have, as of now.
        identity: Identity that it must have, of the same parts; a new record is kept with it.

    Raises:
        ValueError: The kept record is damaged, or was made on something else.
    """
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_json(path, replace(evaluate(), identity=identity).to_flat())
    wanted = conditions.decisive | identity.to_flat()
    record = read_record(path, (*wanted, *REQUIRED))
    for name, value in wanted.items():
        if record[name] != value:
            raise ValueError(
                f"{path} was made with {name} {record[name]!r}, now it is {value!r}: "
                "restore what it was made with, or delete the file to measure it again"
            )
    return EvaluationRecord.from_flat(record)


def heuristics_beside(
    stage2: TrainPolicyOptions, keep_fractions: tuple[float, ...] | None, speedups: Sequence[float]
) -> HeuristicPoints:
    """Return heuristics with the cuts that trained runs have.

    Args:
        stage2: Options of one of the trained runs.
        keep_fractions: Keep fractions that are bent to the speed-ups; None for the default ones.
        speedups: All that will be asked for.

    Raises:
        ValueError: A speed-up is out of reach of these cuts.
    """
    validation = load_split(stage2.data, stage2.encoder.backbone)
    # What stage 2 will take where the options leave it open, so that heuristics have the same cuts.
    filled = stage2.for_workload(validation)
    agent = replace(filled.agent, keep_fractions=keep_fractions or filled.agent.keep_fractions)
    cuts = planned_cuts(filled.encoder.layers, validation.backbone.model)
    return HeuristicPoints(stage2, validation, cuts, agent, speedups)


class HeuristicPoints:
    """Heuristics beside trained runs: at the same FLOPs, with the same cuts, on the same texts.

    Args:
        options: Options of the runner.
        validation: The split, as first loaded.
        reduction_layers: The cuts; None for the encoder's own.
        agent: Options of the trained agents, whose keep fractions are bent to the speed-ups.
        speedups: All that will be asked for.

    Raises:
        ValueError: A speed-up is out of reach; said before the first run.
    """

    def __init__(
        self,
        options: TaskOptions,
        validation: Workload,
        reduction_layers: tuple[float, ...] | None,
        agent: PolicyAgentOptions,
        speedups: Sequence[float],
    ) -> None:
        self._options, self._validation = options, validation
        encoder = validation.encoder(reduction_layers)
        self._layers, cost = encoder.reduction_layers, CostModel.of(encoder)
        shape = agent.fractions(encoder.num_reductions)
        self._fractions = {
            speedup: fractions_for_speedup(speedup, shape, cost, validation.texts) for speedup in speedups
        }

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the task's metrics, the main one first, and ``log_likelihood``."""
        return (*self._validation.task.metric_names, "log_likelihood")

    @property
    def fine_tuned(self) -> bool:
        """Whether the encoder was fine-tuned when it was loaded: stage 1 runs before heuristics where it was not."""
        return self._validation.backbone.fine_tuned

    @property
    def facts(self) -> dict[str, str]:
        """What the runs work on, beyond names and paths."""
        return self._validation.fingerprints

    @property
    def validation(self) -> Workload:
        """Validation texts with the encoder that the runs reduce."""
        return self._validation

    def record(
        self, name: str, speedup: float, seed: int, earlier: EvaluationRecord | None, folder: Path
    ) -> EvaluationRecord:
        """Return what a heuristic reaches at a speed-up.

        Args:
            name: Name of the heuristic.
            speedup: One of the speed-ups that were named.
            seed: Seed of its choices.
            earlier: Record with the unreduced backbone's metrics, if there is one.
            folder: Folder of the run, in which the record is kept.
        """
        dtype, device = evaluation_dtype(self._options.run.dtype), str(resolve_device(self._options.run.device))
        fractions = self._fractions[speedup]

        def evaluate() -> EvaluationRecord:
            return evaluate_heuristic(name, fractions, self.validation, dtype, device, self._layers, seed, earlier)

        path = folder / "heuristics" / f"{name}-{speedup:g}x-seed{seed}.json"
        identity = Identity(keep_fractions=fractions, reduction_layers=self._layers)
        return kept_record(path, evaluate, evaluation_conditions(self.validation, dtype), identity)
