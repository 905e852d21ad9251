"""Evaluation: passes over a split, and the record of what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from agents.base import Actor
from agents.heuristics import KeepAll, make_heuristic
from agents.trained import TrainedPolicy
from runners.cli.display import Cell, print_table, progress
from runners.evaluation.record import EvaluationRecord, PassResult, Quality, Savings
from runners.evaluation.stock import stock_logits, stock_model
from runners.evaluation.timing import wall_speedups
from trbert_env.data.backbones import move
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.batching import pass_rows
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch
from trbert_env.envs.settings import DType, EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.exit_offsets import ExitOffsets


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


def run_pass(env: TokenReductionVectorEnv, actor: Actor, label: str = "evaluating") -> PassResult:
    """Go once over the split of an environment made by :func:`evaluation_env`."""
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
    quality = workload.task.metrics(predictions, workload.examples)
    savings = Savings(float(totals[0] / totals[1]), tuple((kept / tokens).tolist()))
    return PassResult(Quality(quality, likelihood / len(workload.texts)), savings)


def evaluation_conditions(workload: Workload, dtype: DType) -> dict[str, Any]:
    """What an evaluation was made on: the head of ``metrics.json``."""
    return {
        "env": workload.preset.name,
        "split": workload.split,
        "data_source": workload.data_source,
        "backbone": workload.backbone.name,
        "num_examples": len(workload.examples),
        "num_texts": len(workload.texts),
        "dtype": dtype,
        **workload.fingerprints,
    }


def run_stock_pass(workload: Workload, dtype: DType, device: str) -> PassResult:
    """The plain transformers forward, padded: the reference that keep-all must equal."""
    task, texts = workload.task, workload.texts
    stock = move(stock_model(workload.backbone.model), device, getattr(torch, dtype))
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    logits: dict[int, torch.Tensor] = {}
    likelihood = torch.zeros(len(texts))
    with progress("stock transformers", len(order)) as bar:
        for first in range(0, len(order), pass_rows(device)):
            places = order[first : first + pass_rows(device)]
            batch = [texts[place] for place in places]
            layout = TextBatch.from_texts(batch).layout
            found = stock_logits(stock, task, batch, device).float().cpu()
            likelihood[places] = task.log_likelihood(found, layout, task.targets(batch))
            logits |= dict(zip(places, task.split(found, layout), strict=True))
            bar.update(len(places))
    predictions = task.predict(texts, [logits[place].numpy() for place in range(len(texts))], workload.examples)
    quality = task.metrics(predictions, workload.examples)
    return PassResult(Quality(quality, float(likelihood.mean())), Savings(1.0))


def full_quality(workload: Workload, dtype: DType, device: str) -> Quality:
    """Measure the unreduced encoder, by keep-all."""
    env = evaluation_env(workload, dtype=dtype, device=device)
    return run_pass(env, KeepAll(), "unreduced backbone").quality


def keep_all_quality(model: TokenReducedModel, workload: Workload, dtype: DType, device: str) -> Quality:
    """Measure a model's own encoder with keep-all, and print it."""
    own = replace(workload, backbone=replace(workload.backbone, model=model.backbone))
    quality = full_quality(own, dtype, device)
    rows: list[list[Cell]] = [[name.replace("_", " "), value] for name, value in quality.flat().items()]
    print_table("the trained encoder with keep-all", ["", "value"], rows)
    return quality


def check_conditions(conditions: Mapping[str, Any], earlier: EvaluationRecord | None) -> None:
    """Check that the unreduced encoder's metrics can be taken from an earlier record.

    Raises:
        ValueError: The earlier record is of other texts, another backbone or number format.
    """
    for name, value in conditions.items():
        if earlier is not None and value != earlier.conditions.get(name):
            raise ValueError(
                f"the earlier record has {name} {earlier.conditions.get(name)!r}, this evaluation {value!r}: "
                "name one of the same, or leave --full-from out"
            )


def run_policy_pass(
    agent: TrainedPolicy,
    workload: Workload,
    reduction_layers: tuple[int, ...],
    exit_offsets: ExitOffsets | None,
    dtype: DType,
    device: str,
) -> PassResult:
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


def run_model_pass(
    model: TokenReducedModel, workload: Workload, dtype: DType, device: str, decision: DecisionRule | None = None
) -> PassResult:
    """Go once over a split with a model, by its own decision rule or another."""
    own = replace(workload, backbone=replace(workload.backbone, model=model.backbone))
    agent = TrainedPolicy(move(model.policy, device, torch.float32), model.decision if decision is None else decision)
    layers = model.encoder.reduction_layers
    offsets = None if model.calibration is None else model.calibration.to(device)
    return run_policy_pass(agent, own, layers, offsets, dtype, device)


def evaluate_model(
    model: TokenReducedModel,
    workload: Workload,
    dtype: DType,
    device: str,
    decision: DecisionRule | None = None,
    earlier: EvaluationRecord | None = None,
) -> EvaluationRecord:
    """Measure quality, FLOPs and clock of a model on a split, and print them.

    Args:
        model: The model.
        workload: The split; its backbone is the unreduced model that it is compared with.
        dtype: Number format of the encoder.
        device: Device to compute on.
        decision: Decision rule instead of the model's own.
        earlier: A record to take the unreduced encoder's metrics from.
    """
    conditions = evaluation_conditions(workload, dtype)
    check_conditions(conditions, earlier)
    decision = model.decision if decision is None else decision
    reduced = run_model_pass(model, workload, dtype, device, decision)
    clock = wall_speedups(model, decision, workload.texts, getattr(torch, dtype), device)
    full = full_quality(workload, dtype, device) if earlier is None else earlier.full
    return printed(EvaluationRecord(conditions, full, reduced.quality, reduced.savings, clock))


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
        conditions = evaluation_conditions(workload, dtype)
        check_conditions(conditions, earlier)
        found = run_stock_pass(workload, dtype, device)
        full = full_quality(workload, dtype, device) if earlier is None else earlier.full
        return printed(EvaluationRecord(conditions, full, found.quality, found.savings, agent=name))
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
    conditions = evaluation_conditions(workload, dtype)
    check_conditions(conditions, earlier)
    env = evaluation_env(
        workload, reduction_layers=reduction_layers, dtype=dtype, device=device, exit_offsets=exit_offsets
    )
    found = run_pass(env, agent, name)
    full = full_quality(workload, dtype, device) if earlier is None else earlier.full
    return printed(EvaluationRecord(conditions, full, found.quality, found.savings, agent=name))


def printed(record: EvaluationRecord) -> EvaluationRecord:
    """Print the closing tables: quality of the reduced and of the unreduced model, and what was saved."""
    rows: list[list[Cell]] = [
        [name.replace("_", " "), full, reduced, reduced - full] for name, full, reduced in record.changes()
    ]
    on = record.conditions
    source = f"{on['env']} {on['split']} ({on['data_source']}), {on['num_examples']:,} examples"
    print_table(f"quality on {source}, backbone {on['backbone']}", ["", "unreduced", "reduced", "change"], rows)
    savings = ({} if record.savings is None else record.savings.flat()) | dict(record.clock)
    print_table("savings", ["", "value"], [[name.replace("_", " "), value] for name, value in savings.items()])
    return record
