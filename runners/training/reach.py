"""Whether cuts can give the speed-up that is asked for: in closed form, before any long work."""

from __future__ import annotations

from collections.abc import Sequence

from agents.policy_agent import PolicyAgentOptions
from runners.evaluation.layer_probe import planned_cuts
from runners.evaluation.matching import fractions_for_speedup
from runners.training.options.policy import TrainPolicyOptions
from trbert_env.data.workload import Workload
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
    layers = planned_cuts(options.encoder.layers, workload.backbone.model)
    shape, cost = priced_shape(workload, layers, options.agent)
    fractions_for_speedup(target, shape, cost, workload.texts)


def priced_shape(
    workload: Workload, layers: Sequence[float], agent: PolicyAgentOptions
) -> tuple[tuple[float, ...], CostModel]:
    """Return the keep fractions that a speed-up bends, and the cost of the encoder and the policy.

    Args:
        workload: Texts and encoder, with or without a trained task head.
        layers: The cuts.
        agent: Options of the policy.

    Raises:
        ValueError: The encoder has no such cuts, or fractions were given and not one for each.
    """
    encoder = workload.encoder(layers)
    cost = CostModel.of(encoder, policy_flops_per_token(encoder.hidden_size, agent.policy_size))
    return agent.fractions(encoder.num_reductions), cost
