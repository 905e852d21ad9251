"""Whether cuts can give the speed-up that is asked for: in closed form, before any long work."""

from __future__ import annotations

from runners.evaluation.layer_probe import earliest_cuts
from runners.evaluation.matching import fractions_for_speedup
from runners.training.options.policy import TrainPolicyOptions
from trbert_env.data.workload import Workload
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.reduction.cost import CostModel, policy_flops_per_token


def check_reach(options: TrainPolicyOptions, workload: Workload) -> None:
    """Refuse a target speed-up that no cuts of the run can give.

    Cuts that are still to be measured are taken as the earliest ones: the answer is a bound, and cheap.

    Args:
        options: Options of the run.
        workload: Training texts, with an encoder that may still be without a trained head.

    Raises:
        ValueError: ``--target-speedup`` is out of reach.
    """
    target = options.target_speedup
    if target is None:
        return
    options = options.for_workload(workload)
    model = workload.backbone.model
    encoder = StagedEncoder(model, options.encoder.layers or earliest_cuts(model))
    cost = CostModel.of(encoder, policy_flops_per_token(encoder.hidden_size, options.agent.policy_size))
    shape = options.agent.fractions(encoder.num_reductions)
    fractions_for_speedup(target, shape, cost, workload.texts)
