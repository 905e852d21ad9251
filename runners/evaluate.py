"""Evaluate a trained model, or a heuristic at equal FLOPs, on a split."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from agents.policy_agent import KeepFractions
from baselines.saving import is_system, load_system
from runners.cli.display import announce
from runners.cli.flags import refuse_given, refuse_unused
from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions, resolve_device
from runners.cli.run import UserError, run
from runners.evaluation.evaluations import evaluate_exported, evaluate_heuristic, evaluate_model, evaluate_system
from runners.evaluation.matching import match_fractions
from runners.evaluation.passes import measure_keep_all
from runners.evaluation.record import EvaluationRecord
from runners.evaluation.slice_cost import slices_speedup, with_slices
from runners.runs.earlier import data_of_run, earlier_record
from runners.runs.models import check_settled, is_token_reduced, load_first, load_model, load_original
from runners.runs.run_folder import RunFolder
from runners.training.layers import settled_layers
from runners.training.loading import TrainedOn, load_split
from runners.training.precision import evaluation_dtype
from trbert_env.data.checkpoints import model_folder
from trbert_env.data.workload import Workload
from trbert_env.deploy.config import TokenReducedConfig
from trbert_env.deploy.export.backends import BackendName, Precision, check_precision
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.ranges import Range
from trbert_env.reduction.decision import DecisionRule, check_keep_fractions
from trbert_env.tasks import Task


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of an evaluation."""

    model: Path | None = None
    """A run's folder, or a folder with a model."""

    agent: Literal["stock", "keep-all", "random", "overlap", "attention", "residual"] | None = None
    """A heuristic to evaluate instead of a model; residual sees the gold answer; stock is plain transformers."""

    keep_fractions: KeepFractions | None = None
    """Kept fractions of the full length, one a reduction."""

    match: Path | None = None
    """With --agent: find the fractions that cost as much as this run did."""

    threshold: Annotated[float, Range(0, 1)] | None = None
    """With --model: keep tokens of at least this probability, whatever the model was made for."""

    speedup: Annotated[float, Range(least=1)] | None = None
    """With --model: about this FLOPs speed-up, by the threshold that gave it on training texts."""

    full_from: Path | None = None
    """A run's folder to take the unreduced backbone's metrics from, instead of running it again."""

    original: str | None = None
    """With --model of joint training: folder or hub name of the encoder that it began with, if that was moved."""

    backend: Literal["torch"] | BackendName = "torch"
    """With --model: the runtime of an export that export.py made, instead of torch."""

    precision: Precision = "float32"
    """With --backend onnx or openvino: number format of the export; --dtype is that of torch."""

    slices: Annotated[int, Range(16)] | None = None
    """Compare FLOPs with the unreduced encoder over slices of so many tokens too, as for long texts."""

    split: Literal["train", "validation", "test"] | None = None
    """The split."""

    clock: bool = True
    """With --model: read the clock too."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def defaults(self) -> EvaluateOptions:
        """Return the defaults: the data of the run that the model is of, or that a heuristic is to match."""
        return EvaluateOptions(data=data_of_run(self.model or self.match, self.data))

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        refuse_unused(self, max_train_texts="nothing is trained, give --max-eval-texts")
        if (self.model is None) == (self.agent is None):
            raise UserError(
                "give either --model RUN_OR_MODEL_DIR or --agent keep-all|random|overlap|attention|residual"
            )
        if self.threshold is not None and (self.model is None or self.keep_fractions is not None):
            raise UserError("--threshold goes with --model, and not with --keep-fractions: leave one out")
        ways = (self.speedup, self.threshold, self.keep_fractions)
        if self.speedup is not None and (self.model is None or sum(way is not None for way in ways) > 1):
            raise UserError("--speedup goes with --model, without --threshold and --keep-fractions: leave them out")
        if self.original is not None and self.model is None:
            raise UserError("--original is the encoder that --model began with: leave it out without --model")
        if not self.clock and self.model is None:
            raise UserError("--agent reads no clock: leave --no-clock out")
        if self.match is not None and self.model is not None:
            raise UserError("--match finds the fractions of an --agent: leave it out with --model")
        if self.backend == "torch" and self.precision != "float32":
            raise UserError(f"--precision {self.precision} is of an export: name its --backend, or give --dtype")
        if self.backend != "torch":
            if self.model is None:
                raise UserError(f"--backend {self.backend} runs an export of --model: leave it out with --agent")
            refuse_given(self, ("--dtype", "--device"), f"--backend {self.backend} has --precision and the CPU")
            check_precision(self.backend, self.precision)
        needs_fractions = self.agent not in (None, "stock", "keep-all")
        if self.agent is not None and not needs_fractions and (self.keep_fractions or self.match):
            raise UserError(f"--agent {self.agent} skips nothing: leave --keep-fractions and --match out")
        if needs_fractions and (self.keep_fractions is None) == (self.match is None):
            raise UserError(f"--agent {self.agent} needs either --keep-fractions or --match RUN_DIR")
        if self.model is not None:
            refuse_unused(self, reduction_layers="--model has its own cuts, leave it out")
        if self.agent == "stock":
            refuse_unused(self, reduction_layers="--agent stock has no cuts, leave it out")


def threshold_for(model: TokenReducedModel, speedup: float) -> float:
    """Return the threshold of ``--speedup``.

    Raises:
        ValueError: The model's speed table does not reach so far.
    """
    try:
        return model.speed_table.threshold(speedup)
    except ValueError as error:
        speeds = model.speed_table.speedups
        within = f"give {speeds[0]:.2f} to {speeds[-1]:.2f}" if len(speeds) > 1 else "name a --threshold"
        error.add_note(f"{within}, or train for that speed by --target-speedup")
        raise


def load_export(options: EvaluateOptions) -> ExportedModel | None:
    """Return the export of ``--backend``; None for torch."""
    if options.backend == "torch":
        return None
    return ExportedModel.from_pretrained(model_folder(str(options.model)), options.backend, options.precision)


def evaluate_trained(options: EvaluateOptions, device: str) -> EvaluationRecord:
    """Evaluate ``--model``."""
    assert options.model is not None
    exported = load_export(options)
    model, backbone = load_model(options.model, device)
    check_settled(options, model.config.env)
    decision = model.decision
    if options.threshold is not None:
        decision = DecisionRule(threshold=options.threshold)
    elif options.speedup is not None:
        decision = DecisionRule(threshold=threshold_for(model, options.speedup))
    elif options.keep_fractions is not None:
        fractions = check_keep_fractions(options.keep_fractions, model.encoder.num_reductions)
        decision = DecisionRule(keep_fractions=fractions)
    # The loss that counts is the one against the encoder that training began with, not against what it became.
    original = load_original(model, backbone, options.original)
    workload = load_split(
        options.data, original or backbone, options.split, trained=TrainedOn.of(model, options.model), training=False
    )
    dtype, earlier = evaluation_dtype(options.run.dtype), earlier_record(options.full_from)
    slices = None if options.slices is None else slices_speedup(workload, options.slices)
    if exported is None:
        record = evaluate_model(model, workload, dtype, device, decision, earlier, clock=options.clock)
    else:
        record = evaluate_exported(exported, model, workload, decision, earlier, clock=options.clock)
    if options.slices is not None and slices is not None:
        record = with_slices(record, options.slices, slices)
    if original is None:
        return record
    return replace(record, keep_all=measure_keep_all(model, workload, dtype, device))


def evaluate_compared(options: EvaluateOptions, folder: Path, device: str) -> EvaluationRecord:
    """Evaluate a ``--model`` that is a compared system.

    Raises:
        ValueError: An option is of token-reduced models only, or the encoder that it began with is another.
        FileNotFoundError: That encoder is not there.
    """
    unread = ("--threshold", "--speedup", "--keep-fractions", "--slices", "--backend")
    refuse_given(options, unread, f"{options.model} is a compared system, which runs in one way")
    system, own, record = load_system(folder)
    check_settled(options, record.env)
    try:
        source = options.original or record.original
        original = load_first(source, record.original_fingerprint, system.task, system.reference, own)
    except (OSError, ValueError) as error:
        error.add_note("name the encoder that training began with by --original")
        raise
    workload = load_split(
        options.data, original, options.split, trained=TrainedOn(record.env, system.task, options.model), training=False
    )
    dtype = evaluation_dtype(options.run.dtype)
    earlier = earlier_record(options.full_from)
    return evaluate_system(system, workload, dtype, device, earlier, clock=options.clock)


def evaluate_agent(options: EvaluateOptions, device: str) -> EvaluationRecord:
    """Evaluate ``--agent``."""
    assert options.agent is not None
    matched = _matched(options)
    workload = load_split(options.data, options.encoder.backbone, options.split, training=False)
    encoder = workload.encoder(_cuts(options, workload))
    fractions = options.keep_fractions or (1.0,) * encoder.num_reductions
    if matched is not None and options.match is not None:
        _check_read_alike(workload.task, options.match)
        fractions, speedup = match_fractions(matched.reduced.savings, encoder, workload.texts)
        announce(f"{options.agent}: keep fractions {fractions} give {speedup:.3f}x, as {options.match}")
    dtype = evaluation_dtype(options.run.dtype)
    slices = None if options.slices is None else slices_speedup(workload, options.slices)
    record = evaluate_heuristic(
        options.agent,
        fractions,
        workload,
        dtype,
        device,
        encoder.reduction_layers,
        options.run.seed,
        earlier_record(options.full_from),
    )
    return record if options.slices is None or slices is None else with_slices(record, options.slices, slices)


def _matched(options: EvaluateOptions) -> EvaluationRecord | None:
    """Record of ``--match``; None where there is none.

    Raises:
        UserError: It is of another data set.
    """
    matched = earlier_record(options.match)
    if matched is not None and (env := matched.conditions.env) != options.data.env:
        raise UserError(f"--match is a run on {env}, and --env is {options.data.env}: leave --env out")
    return matched


def _check_read_alike(task: Task, match: Path) -> None:
    """Check that a task has the settings of the model of a run that a heuristic is to match.

    Args:
        task: Task that the texts are read by.
        match: Folder of the run; one without a model is not checked.

    Raises:
        UserError: It has others, so that the same FLOPs would be of other texts.
    """
    config = _model_of(RunFolder.open(match))
    theirs, own = {} if config is None else config.make_task().told_settings, task.told_settings
    other = [name for name, value in own.items() if name in theirs and theirs[name] != value]
    if other:
        told = ", ".join(f"{name} {theirs[name]} and not {own[name]}" for name in other)
        raise UserError(f"--match read its texts with {told}: give --max-length and --task-options as there")


def _cuts(options: EvaluateOptions, workload: Workload) -> tuple[float, ...] | None:
    """The cuts of a heuristic: those that are named, the matched run's, or measured ones; any where nothing is cut."""
    named = options.encoder.layers
    if named is not None or options.agent in ("stock", "keep-all"):
        return named
    if options.match is not None:
        return _cuts_of(RunFolder.open(options.match))
    own = options.data.own
    if own.validation_file is not None and own.train_file is None:
        raise UserError("the cuts are measured on training data: give --train-file, or name them by --reduction-layers")
    training = load_split(replace(options.data, max_eval_texts=None), workload.backbone, "train")
    return settled_layers(options.encoder, training, resolve_device(options.run.device)).layers


def _cuts_of(run: RunFolder) -> tuple[float, ...] | None:
    """The cuts that a run recorded, or those of its model or of the model that it evaluated.

    Raises:
        UserError: Neither tells them.
    """
    recorded = run.read_config().get("facts", {}).get("reduction_layers")
    if recorded is not None:
        return tuple(recorded)
    config = _model_of(run)
    if config is None:
        raise UserError(f"{run.path} does not record where its cuts are: name them by --reduction-layers")
    return None if config.reduction_layers is None else tuple(config.reduction_layers)


def _model_of(run: RunFolder) -> TokenReducedConfig | None:
    """The configuration of a run's model, or of the model that it evaluated; None where there is neither."""
    for place in (str(run.path), run.read_config()["options"].get("model")):
        if place and is_token_reduced(folder := model_folder(place)):
            return TokenReducedConfig.from_pretrained(folder)
    return None


def evaluate(options: EvaluateOptions, device: str) -> EvaluationRecord:
    """Evaluate what the options name."""
    if options.model is None:
        return evaluate_agent(options, device)
    folder = Path(model_folder(str(options.model)))
    return evaluate_compared(options, folder, device) if is_system(folder) else evaluate_trained(options, device)


def main(options: EvaluateOptions) -> None:
    """Evaluate a trained model, or a heuristic at equal FLOPs, on a split."""
    record = evaluate(options, str(resolve_device(options.run.device)))
    place, seed = options.run.output_dir, options.run.seed
    on = record.conditions
    folder = RunFolder.create(place, on.env, "evaluate", options.agent or "model", seed)
    extended = {} if on.extended_from is None else {"extended_from": on.extended_from}
    folder.write_config(options, {"data_source": on.data_source, "backbone": on.backbone, **extended})
    folder.write_metrics(record.to_flat())
    print(f"record: {folder.metrics_path}")


if __name__ == "__main__":
    run(main, EvaluateOptions)
