"""Evaluation of a model, an export, a compared system, a heuristic or an agent beside the unreduced backbone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from agents.base import Actor
from agents.heuristics import make_heuristic
from baselines.base import ComparedSystem
from runners.cli.display import announce
from runners.evaluation.comparison import Comparison, print_comparison
from runners.evaluation.passes import (
    check_conditions,
    evaluation_conditions,
    evaluation_env,
    measure_unreduced_pass,
    pass_of_model,
    run_pass,
)
from runners.evaluation.quality import MeasuredPass, measure_pass
from runners.evaluation.record import EvaluationRecord, Identity, Measured, Savings
from runners.evaluation.timing import ROUNDS, against, model_systems, read_clock, timed_model
from trbert_env.data.backbones import move, placed
from trbert_env.data.workload import Workload
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.envs.settings import DType
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.system import ReducedSystem, StockSystem, System


def compare_model(
    model: TokenReducedModel,
    workload: Workload,
    dtype: DType,
    device: str,
    decision: DecisionRule | None = None,
    earlier: EvaluationRecord | None = None,
    *,
    rounds: int | None = ROUNDS,
) -> Comparison:
    """Measure quality, FLOPs and clock of a model on a split, beside the unreduced backbone.

    Args:
        model: Model that is measured.
        workload: The split; its backbone is the unreduced model that it is compared with.
        dtype: Number format to compute in.
        device: Device to compute on.
        decision: Decision rule instead of the model's own.
        earlier: Record to take the unreduced backbone's metrics from.
        rounds: Rounds of the clock; None not to read it, as on a few texts, whose times tell nothing.
    """
    rule = model.decision if decision is None else decision
    return _compare(
        lambda: pass_of_model(model, workload, dtype, device, rule),
        workload,
        dtype,
        device,
        earlier,
        lambda: model_systems(timed_model(model, rule, getattr(torch, dtype), device)),
        rounds,
    )


def evaluate_model(
    model: TokenReducedModel,
    workload: Workload,
    dtype: DType,
    device: str,
    decision: DecisionRule | None = None,
    earlier: EvaluationRecord | None = None,
    *,
    clock: bool = True,
) -> EvaluationRecord:
    """Measure a model, and print it as a table; see :func:`compare_model`.

    Args:
        model: Model that is measured.
        workload: The split.
        dtype: Number format to compute in.
        device: Device to compute on.
        decision: Decision rule instead of the model's own.
        earlier: Record to take the unreduced backbone's metrics from.
        clock: False to leave the clock out.
    """
    rounds = ROUNDS if clock else None
    found = _printed(compare_model(model, workload, dtype, device, decision, earlier, rounds=rounds))
    return found.record()


def evaluate_exported(
    exported: ExportedModel,
    model: TokenReducedModel,
    workload: Workload,
    decision: DecisionRule,
    earlier: EvaluationRecord | None = None,
    *,
    clock: bool = True,
) -> EvaluationRecord:
    """Measure quality, FLOPs and clock of a model's export on a split, and print them; see :func:`evaluate_model`.

    Args:
        exported: Export that is measured.
        model: Model that it was made from, whose encoder the clock is compared with, in float32.
        workload: The split; its backbone is the unreduced model that quality is compared with.
        decision: Decision rule to apply.
        earlier: Record to take the unreduced backbone's metrics from.
        clock: False to leave the clock out.
    """
    system = ReducedSystem(exported, decision, exported.name)
    identity = Identity(backend=exported.manifest.backend, export_precision=exported.manifest.precision)
    found = _compare_system(system, model.backbone, workload, "float32", "cpu", earlier, clock=clock)
    return _printed(found).record(identity=identity)


def measure_system(system: ComparedSystem[Any], workload: Workload, dtype: DType, device: str) -> Measured:
    """Go once over a split with a compared system."""
    return measure_pass(_placed_system(system, dtype, device), workload).measured


def evaluate_system(
    system: ComparedSystem[Any],
    workload: Workload,
    dtype: DType,
    device: str,
    earlier: EvaluationRecord | None = None,
    *,
    clock: bool = True,
) -> EvaluationRecord:
    """Measure quality, FLOPs and clock of a compared system on a split, and print them; see :func:`evaluate_model`.

    Args:
        system: System that is measured.
        workload: The split; its backbone is the unreduced model that it is compared with.
        dtype: Number format to compute in.
        device: Device to compute on.
        earlier: Record to take the unreduced backbone's metrics from.
        clock: False to leave the clock out.
    """
    ran = _placed_system(system, dtype, device)
    found = _compare_system(ran, workload.backbone.model, workload, dtype, device, earlier, clock=clock)
    record = _printed(found).record(agent=system.name)
    if clock and system.cost_note is not None:
        announce(system.cost_note)
    return record


def _placed_system(system: ComparedSystem[Any], dtype: DType, device: str) -> ComparedSystem[Any]:
    """A copy of a compared system whose model computes in a number format."""
    copied = copy.deepcopy(system).eval()
    copied.settle()
    copied.to(device)
    move(copied.model, device, getattr(torch, dtype))
    return copied


def evaluate_heuristic(
    name: str,
    keep_fractions: tuple[float, ...],
    workload: Workload,
    dtype: DType,
    device: str,
    reduction_layers: tuple[float, ...] | None = None,
    seed: int = 0,
    earlier: EvaluationRecord | None = None,
) -> EvaluationRecord:
    """Measure quality and FLOPs of a heuristic on a split, and print them; see :func:`evaluate_model`.

    No clock: the scores of attention and residual cost more than they save.
    """
    if name == "stock":
        found = _compare(lambda: _pass_of_stock(workload, dtype, device), workload, dtype, device, earlier)
        return _printed(found).record(agent=name)
    num_reductions = StagedEncoder(workload.backbone.model, reduction_layers).num_reductions
    heuristic = make_heuristic(name, keep_fractions, num_reductions, seed)
    return evaluate_agent(name, heuristic, workload, dtype, device, reduction_layers, None, earlier)


def _pass_of_stock(workload: Workload, dtype: DType, device: str) -> MeasuredPass:
    """Go over a split with the plain transformers forward, padded: the reference that keep-all must equal."""
    system = StockSystem(workload.backbone.model, workload.task)
    move(system.model, device, getattr(torch, dtype))
    found = measure_pass(system, workload)
    # What padding costs is no reduction, nor the lack of one.
    return replace(found, measured=replace(found.measured, savings=Savings(1.0)), flops=np.copy(found.full_flops))


def evaluate_agent(
    name: str,
    agent: Actor,
    workload: Workload,
    dtype: DType,
    device: str,
    reduction_layers: tuple[float, ...] | None = None,
    exit_offsets: ExitOffsets | None = None,
    earlier: EvaluationRecord | None = None,
) -> EvaluationRecord:
    """Measure quality and FLOPs of any agent, as it acts when it is deterministic; see :func:`evaluate_model`.

    The FLOPs of its own network are not known here, and not counted; and it has no clock.
    """

    def run() -> MeasuredPass:
        env = evaluation_env(
            workload,
            reduction_layers=reduction_layers,
            dtype=dtype,
            device=device,
            exit_offsets=exit_offsets,
        )
        return run_pass(env, agent, name)

    return _printed(_compare(run, workload, dtype, device, earlier, own_backbone=True)).record(agent=name)


def _compare_system(
    system: System,
    unreduced: PreTrainedModel,
    workload: Workload,
    dtype: DType,
    device: str,
    earlier: EvaluationRecord | None,
    *,
    clock: bool,
) -> Comparison:
    """Compare a system, timed against a model with nothing skipped."""
    return _compare(
        lambda: measure_pass(system, workload),
        workload,
        dtype,
        device,
        earlier,
        lambda: against(placed(unreduced, torch.device(device), getattr(torch, dtype)), system),
        ROUNDS if clock else None,
    )


def _compare(
    run: Callable[[], MeasuredPass],
    workload: Workload,
    dtype: DType,
    device: str,
    earlier: EvaluationRecord | None,
    sides: Callable[[], Mapping[str, System]] | None = None,
    rounds: int | None = ROUNDS,
    *,
    own_backbone: bool = False,
) -> Comparison:
    """Compare what was measured with the unreduced backbone, of an earlier record or measured now.

    Args:
        run: Pass over the split; it runs once the earlier record is known to be of the same.
        workload: The split.
        dtype: Number format to compute in.
        device: Device to compute on.
        earlier: Record to take the unreduced backbone's metrics from.
        sides: Systems to time, for :func:`~runners.evaluation.timing.read_clock`; None not to read the clock.
        rounds: Rounds of the clock; None not to read it.
        own_backbone: True where a pass that skips nothing is that of the unreduced backbone.
    """
    conditions = evaluation_conditions(workload, dtype)
    check_conditions(conditions, earlier)
    reduced = run()
    reading = None if sides is None or rounds is None else read_clock(sides(), workload.texts, rounds)
    if earlier is not None:
        return Comparison(conditions, reduced, earlier.full, None, reading)
    savings = reduced.measured.savings
    assert savings is not None, "passes count FLOPs"
    skips_nothing = own_backbone and all(fraction == 1.0 for fraction in savings.kept_fractions)
    full = reduced if skips_nothing else measure_unreduced_pass(workload, dtype, device)
    return Comparison(conditions, reduced, full.measured.quality, full, reading)


def _printed(found: Comparison) -> Comparison:
    print_comparison(found)
    return found
