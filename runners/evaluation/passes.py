"""Passes over a split: of a model, of what acts in an environment, and of the unreduced backbone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from agents.base import Actor
from agents.trained import TrainedPolicy
from runners.cli.display import progress
from runners.cli.tables import Cell, print_table
from runners.evaluation.quality import MeanLikelihood, MeasuredPass, measure_pass
from runners.evaluation.record import Conditions, EvaluationRecord, Measured, Quality, Savings
from runners.evaluation.timing import placed_reduced
from trbert_env.data.backbones import placed
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.batching import pass_rows
from trbert_env.envs.settings import DType, EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.staged_model import StagedModel
from trbert_env.system import ReducedSystem, UnreducedSystem


def evaluation_env(
    workload: Workload,
    *,
    reduction_layers: tuple[float, ...] | None = None,
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


def run_pass(env: TokenReductionVectorEnv, actor: Actor, label: str = "evaluating") -> MeasuredPass:
    """Go once over the split of an environment made by :func:`evaluation_env`, for what acts in one.

    Models that need no environment are measured by :func:`runners.evaluation.quality.measure_pass`.

    Args:
        env: Environment that goes once over a split.
        actor: Actor that chooses the tokens; it may ask for the environment's scores.
        label: Label of the progress bar.
    """
    workload = env.workload
    logits: list[Any] = []
    costs: list[torch.Tensor] = []
    kept = torch.zeros(env.num_reductions, dtype=torch.float64)
    tokens, likelihood = 0.0, MeanLikelihood()
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
            costs.append(torch.stack([outcome.reduced_flops[valid], outcome.full_flops[valid]]).double().cpu())
            kept += outcome.kept_tokens[valid].sum(0)
            tokens += float(outcome.row_lengths.cpu()[valid].sum())
            likelihood.add(outcome.log_likelihood.cpu()[valid], outcome.has_gold.cpu()[valid])
            bar.update(int(valid.sum()))
    predictions = workload.task.predict(workload.texts, logits, workload.examples)
    quality = workload.task.metrics_with_subsets(predictions, workload.examples)
    fractions = tuple((kept / tokens).tolist())
    spent, full = torch.cat(costs, dim=1).numpy()
    savings = Savings(float(full.sum() / spent.sum()), fractions)
    measured = Measured(Quality(quality, likelihood.mean), savings)
    return MeasuredPass(measured, predictions, workload, spent, full)


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


def measure_unreduced_pass(
    workload: Workload, dtype: DType, device: str, name: str = UnreducedSystem.name
) -> MeasuredPass:
    """Go once over a split with the unreduced backbone, by keep-all.

    Args:
        workload: The split, with the backbone.
        dtype: Number format.
        device: Device.
        name: Name in the progress bar.
    """
    model = placed(workload.backbone.model, torch.device(device), getattr(torch, dtype))
    return measure_pass(UnreducedSystem(StagedModel(model, workload.task), name=name), workload)


def measure_unreduced(workload: Workload, dtype: DType, device: str, name: str = UnreducedSystem.name) -> Quality:
    """Measure the quality of the unreduced backbone; see :func:`measure_unreduced_pass`."""
    return measure_unreduced_pass(workload, dtype, device, name).measured.quality


def measure_keep_all(model: TokenReducedModel, workload: Workload, dtype: DType, device: str) -> Quality:
    """Measure a model's own encoder with keep-all, and print it."""
    own = replace(workload, backbone=replace(workload.backbone, model=model.backbone))
    name = "the trained encoder with keep-all"
    quality = measure_unreduced(own, dtype, device, name)
    print_quality(name, quality)
    return quality


def pass_of_model(
    model: TokenReducedModel, workload: Workload, dtype: DType, device: str, decision: DecisionRule | None = None
) -> MeasuredPass:
    """Go once over a split with a model, by its own decision rule or another."""
    return measure_pass(ReducedSystem(placed_reduced(model, device, getattr(torch, dtype)), decision), workload)


def measure_model(model: TokenReducedModel, workload: Workload, dtype: DType, device: str) -> Measured:
    """Measure quality and savings of a model on a split; see :func:`pass_of_model`."""
    return pass_of_model(model, workload, dtype, device).measured


def run_policy_pass(
    agent: TrainedPolicy,
    workload: Workload,
    reduction_layers: tuple[float, ...],
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
    return run_pass(env, agent, "reduced model").measured


def check_conditions(conditions: Conditions, earlier: EvaluationRecord | None) -> None:
    """Check that the unreduced backbone's metrics can be taken from an earlier record, where there is one.

    Raises:
        ValueError: The earlier record is of other texts, another backbone or number format.
    """
    if earlier is not None:
        conditions.check_same(earlier.conditions)


def print_quality(title: str, quality: Quality) -> None:
    """Print the quality of one model."""
    rows: list[list[Cell]] = [[name.replace("_", " "), value] for name, value in quality.to_flat().items()]
    print_table(title, ["", "value"], rows)
