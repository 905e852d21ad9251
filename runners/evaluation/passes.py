"""Evaluation of a model, a heuristic or an agent on a split, beside the unreduced backbone."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from agents.base import Actor
from agents.heuristics import make_heuristic
from agents.trained import TrainedPolicy
from baselines.base import ComparedSystem
from runners.cli.display import Cell, print_table, progress
from runners.evaluation.quality import measure_quality
from runners.evaluation.record import Conditions, EvaluationRecord, Identity, Measured, Quality, Savings
from runners.evaluation.timing import against, model_systems, placed_reduced, timed_model, wall_speedups
from trbert_env.data.backbones import move, placed
from trbert_env.data.workload import Workload
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.batching import pass_rows
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.envs.settings import DType, EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.staged_model import StagedModel
from trbert_env.system import ReducedSystem, StockSystem, UnreducedSystem


def evaluation_env(
    workload: Workload,
    *,
    reduction_layers: tuple[int, ...] | None = None,
    policy_size: int = 0,
    dtype: DType = "float32",
    device: str = "cpu",
    rows: int | None = None,
    exit_offsets: ExitOffsets | None = None,
) -> TokenReductionVectorEnv:
    """An environment that goes once over a split, one row a text."""
    settings = EnvSettings(
        num_envs=pass_rows(device) if rows is None else rows,
        reduction_layers=reduction_layers,
        policy_size=policy_size,
        dtype=dtype,
        device=device,
        array_type="torch",
        order="once",
    )
    return TokenReductionVectorEnv(workload, settings, exit_offsets)


def run_pass(env: TokenReductionVectorEnv, actor: Actor, label: str = "evaluating") -> Measured:
    """Go once over the split of an environment made by :func:`evaluation_env`, for what acts in one.

    Models that need no environment are measured by :func:`runners.evaluation.quality.measure_quality`.

    Args:
        env: Environment that goes once over a split.
        actor: Actor that chooses the tokens; it may ask for the environment's scores.
        label: Label of the progress bar.
    """
    workload = env.workload
    logits: list[Any] = []
    totals = torch.zeros(2, dtype=torch.float64)
    kept = torch.zeros(env.num_reductions, dtype=torch.float64)
    tokens, likelihood = 0.0, 0.0
    env.info_scores = actor.info_scores
    env.reset()
    with progress(label, len(workload.texts)) as bar:
        while env.row_valid.any():
            valid = torch.from_numpy(env.row_valid)
            outcome = None
            while outcome is None:
                _, outcome = env.step_packed(actor.act(env.packed_observation, deterministic=True))
            pieces = workload.task.split(outcome.logits.float().cpu(), outcome.layout)
            logits.extend(piece.numpy() for piece, ok in zip(pieces, valid.tolist(), strict=True) if ok)
            totals += torch.stack([outcome.full_flops[valid].sum(), outcome.reduced_flops[valid].sum()])
            kept += outcome.kept_tokens[valid].sum(0)
            tokens += float(outcome.row_lengths.cpu()[valid].sum())
            likelihood += float(outcome.log_likelihood.cpu()[valid].sum())
            bar.update(int(valid.sum()))
    predictions = workload.task.predict(workload.texts, logits, workload.examples)
    quality = workload.task.metrics_with_subsets(predictions, workload.examples)
    fractions = tuple((kept / tokens).tolist())
    found = Quality(quality, likelihood / len(workload.texts))
    return Measured(found, Savings(float(totals[0] / totals[1]), fractions))


def evaluation_conditions(workload: Workload, dtype: DType) -> Conditions:
    """Return what an evaluation is made on."""
    return Conditions(
        env=workload.preset.name,
        split=workload.split,
        data_source=workload.data_source,
        backbone=workload.backbone.name,
        num_examples=len(workload.examples),
        num_texts=len(workload.texts),
        dtype=dtype,
        **workload.fingerprints,
        extended_from=workload.backbone.extended_from,
    )


def measure_stock(workload: Workload, dtype: DType, device: str) -> Measured:
    """Measure the plain transformers forward, padded: the reference that keep-all must equal."""
    system = StockSystem(workload.backbone.model, workload.task)
    move(system.model, device, getattr(torch, dtype))
    measured = measure_quality(system, workload)
    return replace(measured, savings=Savings(1.0))


def measure_unreduced(workload: Workload, dtype: DType, device: str, name: str = UnreducedSystem.name) -> Quality:
    """Measure the unreduced backbone, by keep-all.

    Args:
        workload: The split, with the backbone.
        dtype: Number format.
        device: Device.
        name: Name in the progress bar.
    """
    model = placed(workload.backbone.model, torch.device(device), getattr(torch, dtype))
    return measure_quality(UnreducedSystem(StagedModel(model, workload.task), name=name), workload).quality


def measure_keep_all(model: TokenReducedModel, workload: Workload, dtype: DType, device: str) -> Quality:
    """Measure a model's own encoder with keep-all, and print it."""
    own = replace(workload, backbone=replace(workload.backbone, model=model.backbone))
    name = "the trained encoder with keep-all"
    quality = measure_unreduced(own, dtype, device, name)
    print_quality(name, quality)
    return quality


def measure_model(
    model: TokenReducedModel, workload: Workload, dtype: DType, device: str, decision: DecisionRule | None = None
) -> Measured:
    """Go once over a split with a model, by its own decision rule or another."""
    return measure_quality(ReducedSystem(placed_reduced(model, device, getattr(torch, dtype)), decision), workload)


def run_policy_pass(
    agent: TrainedPolicy,
    workload: Workload,
    reduction_layers: tuple[int, ...],
    exit_offsets: ExitOffsets,
    dtype: DType,
    device: str,
) -> Measured:
    """Go once over a split with a policy, whose own FLOPs are counted too."""
    env = evaluation_env(
        workload,
        reduction_layers=reduction_layers,
        policy_size=agent.policy.policy_size,
        dtype=dtype,
        device=device,
        exit_offsets=exit_offsets,
    )
    return run_pass(env, agent, "reduced model")


def evaluate_model(
    model: TokenReducedModel,
    workload: Workload,
    dtype: DType,
    device: str,
    decision: DecisionRule | None = None,
    earlier: EvaluationRecord | None = None,
    *,
    read_clock: bool = True,
) -> EvaluationRecord:
    """Measure quality, FLOPs and clock of a model on a split, and print them as a table.

    Args:
        model: Model that is measured.
        workload: The split; its backbone is the unreduced model that it is compared with.
        dtype: Number format to compute in.
        device: Device to compute on.
        decision: Decision rule instead of the model's own.
        earlier: Record to take the unreduced backbone's metrics from.
        read_clock: False to leave the clock out, of which a few texts tell nothing.
    """
    conditions = _checked_conditions(workload, dtype, earlier)
    decision = model.decision if decision is None else decision
    reduced = measure_model(model, workload, dtype, device, decision)
    clock = None
    if read_clock:
        timed = timed_model(model, decision, getattr(torch, dtype), device)
        clock = wall_speedups(model_systems(timed), workload.texts)
    full = _full_quality(workload, dtype, device, earlier)
    return _printed(EvaluationRecord(conditions, reduced, full, clock=clock))


def evaluate_exported(
    exported: ExportedModel,
    model: TokenReducedModel,
    workload: Workload,
    decision: DecisionRule,
    earlier: EvaluationRecord | None = None,
) -> EvaluationRecord:
    """Measure quality, FLOPs and clock of a model's export on a split, and print them; see :func:`evaluate_model`.

    Args:
        exported: Export that is measured.
        model: Model that it was made from, whose encoder the clock is compared with, in float32.
        workload: The split; its backbone is the unreduced model that quality is compared with.
        decision: Decision rule to apply.
        earlier: Record to take the unreduced backbone's metrics from.
    """
    conditions = _checked_conditions(workload, "float32", earlier)
    system = ReducedSystem(exported, decision, exported.name)
    measured = measure_quality(system, workload)
    unreduced = placed(model.backbone, torch.device("cpu"), torch.float32)
    clock = wall_speedups(against(unreduced, system), workload.texts)
    full = _full_quality(workload, "float32", "cpu", earlier)
    identity = Identity(backend=exported.manifest.backend, precision=exported.manifest.precision)
    return _printed(EvaluationRecord(conditions, measured, full, clock=clock, identity=identity))


def measure_system(system: ComparedSystem[Any], workload: Workload, dtype: DType, device: str) -> Measured:
    """Go once over a split with a compared system."""
    return measure_quality(_placed_system(system, dtype, device), workload)


def evaluate_system(
    system: ComparedSystem[Any],
    workload: Workload,
    dtype: DType,
    device: str,
    earlier: EvaluationRecord | None = None,
) -> EvaluationRecord:
    """Measure quality, FLOPs and clock of a compared system on a split, and print them; see :func:`evaluate_model`.

    Args:
        system: System that is measured.
        workload: The split; its backbone is the unreduced model that it is compared with.
        dtype: Number format to compute in.
        device: Device to compute on.
        earlier: Record to take the unreduced backbone's metrics from.
    """
    conditions = _checked_conditions(workload, dtype, earlier)
    ran = _placed_system(system, dtype, device)
    measured = measure_quality(ran, workload)
    unreduced = placed(workload.backbone.model, torch.device(device), getattr(torch, dtype))
    clock = wall_speedups(against(unreduced, ran), workload.texts)
    full = _full_quality(workload, dtype, device, earlier)
    return _printed(EvaluationRecord(conditions, measured, full, agent=system.name, clock=clock))


def _placed_system(system: ComparedSystem[Any], dtype: DType, device: str) -> ComparedSystem[Any]:
    """A copy of a compared system whose model computes in a number format."""
    copied = copy.deepcopy(system).eval()
    copied.to(device)
    move(copied.model, device, getattr(torch, dtype))
    return copied


def evaluate_heuristic(
    name: str,
    keep_fractions: tuple[float, ...],
    workload: Workload,
    dtype: DType,
    device: str,
    reduction_layers: tuple[int, ...] | None = None,
    seed: int = 0,
    earlier: EvaluationRecord | None = None,
) -> EvaluationRecord:
    """Measure quality and FLOPs of a heuristic on a split, and print them; see :func:`evaluate_model`.

    No clock: the scores of attention and residual cost more than they save.
    """
    if name == "stock":
        conditions = _checked_conditions(workload, dtype, earlier)
        measured = measure_stock(workload, dtype, device)
        full = _full_quality(workload, dtype, device, earlier)
        return _printed(EvaluationRecord(conditions, measured, full, agent=name))
    num_reductions = StagedEncoder(workload.backbone.model, reduction_layers).num_reductions
    heuristic = make_heuristic(name, keep_fractions, num_reductions, seed)
    return evaluate_agent(name, heuristic, workload, dtype, device, reduction_layers, None, earlier)


def evaluate_agent(
    name: str,
    agent: Actor,
    workload: Workload,
    dtype: DType,
    device: str,
    reduction_layers: tuple[int, ...] | None = None,
    exit_offsets: ExitOffsets | None = None,
    earlier: EvaluationRecord | None = None,
) -> EvaluationRecord:
    """Measure quality and FLOPs of any agent, as it acts when it is deterministic; see :func:`evaluate_model`.

    The FLOPs of its own network are not known here, and not counted; and it has no clock.
    """
    conditions = _checked_conditions(workload, dtype, earlier)
    env = evaluation_env(
        workload,
        reduction_layers=reduction_layers,
        dtype=dtype,
        device=device,
        exit_offsets=exit_offsets,
    )
    measured = run_pass(env, agent, name)
    assert measured.savings is not None
    skips_nothing = all(fraction == 1.0 for fraction in measured.savings.kept_fractions)
    # A pass that skips nothing is that of the unreduced backbone.
    full = measured.quality if skips_nothing and earlier is None else _full_quality(workload, dtype, device, earlier)
    return _printed(EvaluationRecord(conditions, measured, full, agent=name))


def check_conditions(conditions: Conditions, earlier: EvaluationRecord | None) -> None:
    """Check that the unreduced backbone's metrics can be taken from an earlier record, where there is one.

    Raises:
        ValueError: The earlier record is of other texts, another backbone or number format.
    """
    if earlier is not None:
        conditions.check_same(earlier.conditions)


def _checked_conditions(workload: Workload, dtype: DType, earlier: EvaluationRecord | None) -> Conditions:
    conditions = evaluation_conditions(workload, dtype)
    check_conditions(conditions, earlier)
    return conditions


def _full_quality(workload: Workload, dtype: DType, device: str, earlier: EvaluationRecord | None) -> Quality:
    """Return the unreduced backbone's quality: an earlier record's, or measured now."""
    return measure_unreduced(workload, dtype, device) if earlier is None else earlier.full


def _printed(record: EvaluationRecord) -> EvaluationRecord:
    print_evaluation(record)
    return record


def print_evaluation(record: EvaluationRecord) -> None:
    """Print quality of the reduced and of the unreduced model, and what was saved."""
    reduced, full = record.reduced.quality, record.full
    rows: list[list[Cell]] = [
        [name.replace("_", " "), full[name], reduced[name], reduced[name] - full[name]] for name in full.to_flat()
    ]
    on = record.conditions
    source = f"{on.env} {on.split} ({on.data_source}), {on.num_examples:,} examples"
    print_table(f"quality on {source}, backbone {on.backbone}", ["", "unreduced", "reduced", "change"], rows)
    saved = {} if record.reduced.savings is None else record.reduced.savings.to_flat()
    saved |= {} if record.clock is None else record.clock.to_flat()
    print_table("savings", ["", "value"], [[name.replace("_", " "), value] for name, value in saved.items()])


def print_quality(title: str, quality: Quality) -> None:
    """Print the quality of one model."""
    rows: list[list[Cell]] = [[name.replace("_", " "), value] for name, value in quality.to_flat().items()]
    print_table(title, ["", "value"], rows)
