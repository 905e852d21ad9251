"""Evaluation: one pass over a split with an agent, and the flat record of what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from agents.base import Actor
from agents.heuristics import KeepAll, make_heuristic
from agents.trained import TrainedPolicy
from runners.cli.display import Cell, print_table, progress
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


@dataclass(frozen=True)
class PassResult:
    """What one pass over a split gave.

    Attributes:
        quality: The task's metrics, 0 to 100.
        flops_speedup: Mean full cost over mean reduced cost, over texts.
        kept_fractions: Kept share of the full length at each reduction, over all tokens.
        log_likelihood: Mean, nats.
    """

    quality: dict[str, float]
    flops_speedup: float
    kept_fractions: tuple[float, ...]
    log_likelihood: float


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
    fractions = tuple((kept / tokens).tolist())
    return PassResult(quality, float(totals[0] / totals[1]), fractions, likelihood / len(workload.texts))


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


def pass_figures(reduced: PassResult) -> dict[str, Any]:
    """What a pass gave, by the names of ``metrics.json``."""
    figures = reduced.quality | {"log_likelihood": reduced.log_likelihood, "flops_speedup": reduced.flops_speedup}
    return figures | {f"kept_fraction_{index + 1}": kept for index, kept in enumerate(reduced.kept_fractions)}


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
    return PassResult(quality, 1.0, (), float(likelihood.mean()))


def full_figures(workload: Workload, dtype: DType, device: str) -> dict[str, Any]:
    """The unreduced backbone's figures, by keep-all: ``full_f1`` and the like."""
    env = evaluation_env(workload, dtype=dtype, device=device)
    full = run_pass(env, KeepAll(), "unreduced backbone")
    return {f"full_{name}": value for name, value in full.quality.items()} | {
        "full_log_likelihood": full.log_likelihood
    }


def keep_all_figures(model: TokenReducedModel, workload: Workload, dtype: DType, device: str) -> dict[str, Any]:
    """Measure a model's own encoder with keep-all and print it: ``keep_all_f1`` and the like."""
    own = replace(workload, backbone=replace(workload.backbone, model=model.backbone))
    figures = {name.removeprefix("full_"): value for name, value in full_figures(own, dtype, device).items()}
    rows: list[list[Cell]] = [[name.replace("_", " "), value] for name, value in figures.items()]
    print_table("the trained encoder with keep-all", ["", "value"], rows)
    return {f"keep_all_{name}": value for name, value in figures.items()}


def check_conditions(conditions: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> None:
    """Whether the unreduced backbone's figures can be taken from an earlier record.

    Raises:
        ValueError: The earlier record is of other texts, another backbone or number format.
    """
    for name, value in conditions.items():
        if earlier is not None and value != earlier.get(name):
            raise ValueError(
                f"the earlier record has {name} {earlier.get(name)!r}, this evaluation {value!r}: "
                "name one of the same, or leave --full-from out"
            )


def run_policy_pass(
    agent: TrainedPolicy,
    workload: Workload,
    reduction_layers: tuple[int, ...],
    calibration: ExitOffsets | None,
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
        exit_offsets=calibration,
    )
    return run_pass(env, agent, "reduced model")


def run_model_pass(
    model: TokenReducedModel, workload: Workload, dtype: DType, device: str, decision: DecisionRule | None = None
) -> PassResult:
    """Go once over a split with a model, by its own decision rule or another."""
    own = replace(workload, backbone=replace(workload.backbone, model=model.backbone))
    agent = TrainedPolicy(move(model.policy, device, torch.float32), model.decision if decision is None else decision)
    layers = model.encoder.reduction_layers
    calibration = None if model.calibration is None else model.calibration.to(device)
    return run_policy_pass(agent, own, layers, calibration, dtype, device)


def evaluate_model(
    model: TokenReducedModel,
    workload: Workload,
    dtype: DType,
    device: str,
    decision: DecisionRule | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Quality, FLOPs and clock of a model on a split, printed as a table.

    Args:
        model: What is measured.
        workload: The split; its backbone is the unreduced model that it is compared with.
        dtype: What to compute in.
        device: Where.
        decision: Instead of the model's own.
        earlier: A record to take the unreduced backbone's figures from.

    Returns:
        The flat record of ``metrics.json``.
    """
    record = evaluation_conditions(workload, dtype)
    check_conditions(record, earlier)
    decision = model.decision if decision is None else decision
    record |= pass_figures(run_model_pass(model, workload, dtype, device, decision))
    record |= wall_speedups(model, decision, workload.texts, getattr(torch, dtype), device)
    return _with_full(record, workload, dtype, device, earlier)


def evaluate_heuristic(
    name: str,
    keep_fractions: tuple[float, ...],
    workload: Workload,
    dtype: DType,
    device: str,
    reduction_layers: tuple[int, ...] | None = None,
    seed: int = 0,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Quality and FLOPs of a heuristic on a split, printed as a table; see :func:`evaluate_model`.

    No clock: the scores of attention and residual cost more than they save.
    """
    record = evaluation_conditions(workload, dtype)
    check_conditions(record, earlier)
    if name == "stock":
        record |= {"agent": name, **pass_figures(run_stock_pass(workload, dtype, device))}
        return _with_full(record, workload, dtype, device, earlier)
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
    calibration: ExitOffsets | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Quality and FLOPs of any agent, as it acts when it is deterministic; see :func:`evaluate_model`.

    The FLOPs of its own network are not known here, and not counted; and it has no clock.
    """
    record = evaluation_conditions(workload, dtype)
    check_conditions(record, earlier)
    env = evaluation_env(
        workload,
        reduction_layers=reduction_layers,
        dtype=dtype,
        device=device,
        exit_offsets=calibration,
    )
    record |= {"agent": name, **pass_figures(run_pass(env, agent, name))}
    return _with_full(record, workload, dtype, device, earlier)


def _with_full(
    record: dict[str, Any], workload: Workload, dtype: DType, device: str, earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Complete a record by the unreduced backbone's figures, and print it."""
    if earlier is None:
        record |= full_figures(workload, dtype, device)
    else:
        record |= {name: value for name, value in earlier.items() if name.startswith("full_")}
    print_evaluation(record)
    return record


def print_evaluation(record: dict[str, Any]) -> None:
    """The closing table: quality of the reduced and of the unreduced model, and what was saved."""
    names = [name.removeprefix("full_") for name in record if name.startswith("full_")]
    rows: list[list[Cell]] = [
        [name.replace("_", " "), record[f"full_{name}"], record[name], record[name] - record[f"full_{name}"]]
        for name in names
    ]
    source = f"{record['env']} {record['split']} ({record['data_source']}), {record['num_examples']:,} examples"
    print_table(f"quality on {source}, backbone {record['backbone']}", ["", "unreduced", "reduced", "change"], rows)
    savings = [name for name in record if name.endswith(("speedup", "_stock", "_packed")) or "kept" in name]
    print_table("savings", ["", "value"], [[name.replace("_", " "), record[name]] for name in savings])
