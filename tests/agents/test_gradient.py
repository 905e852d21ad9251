"""Invariant 6: policy gradients are those of what they say they ascend on, worked out by enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agents.base import AgentSpec
from agents.grpo import Grpo
from agents.policy_gradient import PolicyGradient
from agents.reinforce import Reinforce
from agents.rollouts import RolloutCollector
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.texts import TextBatch
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.policy import TokenPolicy

MakeEnv = Callable[..., TokenReductionVectorEnv]

TOKENS = 6
SAMPLES = 8
#: Groups of samples in one rollout, and rollouts: the mean of the latter is compared, their spread is its error.
GROUPS = 64
ROLLOUTS = 30

Trajectory = tuple[tuple[int, ...], tuple[int, ...]]


def all_trajectories() -> list[Trajectory]:
    """Every pair of sets of tokens kept, the second within the first; token 0 is always in both."""
    found = []
    for first in subsets(range(1, TOKENS)):
        found.extend(((0, *first), (0, *second)) for second in subsets(first))
    return found


def subsets(items: Any) -> list[tuple[int, ...]]:
    items = list(items)
    return [chosen for size in range(len(items) + 1) for chosen in itertools.combinations(items, size)]


def bernoulli(logits: Tensor, in_play: tuple[int, ...], kept: tuple[int, ...], offset: int) -> Tensor:
    """Log-probability of ``kept`` where every token but [CLS] is chosen for itself."""
    total = torch.zeros(())
    for place, token in enumerate(in_play):
        if token:
            logit = logits[offset + place]
            total = total + (logsigmoid(logit) if token in kept else logsigmoid(-logit))
    return total


def plackett_luce(logits: Tensor, in_play: tuple[int, ...], kept: tuple[int, ...], offset: int) -> Tensor:
    """Log-probability of the *set* ``kept`` as the top of logit + Gumbel noise: the sum over its orders."""
    weights = {token: logits[offset + place].exp() for place, token in enumerate(in_play) if token}
    chosen = [token for token in kept if token]
    orders = []
    for order in itertools.permutations(chosen):
        left, probability = sum(weights.values(), torch.zeros(())), torch.ones(())
        for token in order:
            probability, left = probability * weights[token] / left, left - weights[token]
        orders.append(probability)
    return torch.stack(orders).sum().log()


def enumerate_all(
    env: TokenReductionVectorEnv, policy: TokenPolicy, trajectories: list[Trajectory], log_probability: Any
) -> tuple[Tensor, Tensor]:
    """Log-probability, with gradients, and return of every trajectory."""
    text = env.workload.texts[0]
    everything = tuple(range(TOKENS))
    with torch.no_grad():
        forward = StagedForward(env.encoder, TextBatch.from_texts([text]), len(trajectories))
        states = [forward.tokens.states]
        forward.advance(torch.tensor([token in first for first, _ in trajectories for token in everything]))
        states.append(forward.tokens.states)
        forward.advance(torch.tensor([token in second for first, second in trajectories for token in first]))
        logits = env.workload.task.logits(env.workload.backbone.model, forward.final_states()[0], torch.tensor([]))
        start, end = logits.view(len(trajectories), TOKENS, 2).log_softmax(1).unbind(-1)
        likelihood = (start[:, text.target[0, 0]] + end[:, text.target[0, 1]]) / 2
    kept = torch.tensor([len(first) + len(second) for first, second in trajectories])
    returns = likelihood - env.length_penalty * kept
    first_logits, second_logits = policy(states[0], 0), policy(states[1], 1)
    log_probabilities, offset = [], 0
    for index, (first, second) in enumerate(trajectories):
        one = log_probability(first_logits, everything, first, index * TOKENS)
        two = log_probability(second_logits, first, second, offset)
        log_probabilities.append(one + two)
        offset += len(first)
    found = torch.stack(log_probabilities)
    assert float(found.detach().exp().sum()) == pytest.approx(1.0, abs=1e-5)
    return found, returns


def exact_gradient(
    env: TokenReductionVectorEnv, policy: TokenPolicy, trajectories: list[Trajectory], log_probability: Any
) -> Tensor:
    """d/dtheta of the sum over trajectories of pi(trajectory) R(trajectory), flat."""
    log_probabilities, returns = enumerate_all(env, policy, trajectories, log_probability)
    return flat(torch.autograd.grad((log_probabilities.exp() * returns).sum(), list(policy.parameters())))


def exact_grpo_gradient(env: TokenReductionVectorEnv, policy: TokenPolicy) -> Tensor:
    """The expected ascent direction at 2 samples: all pairs of trajectories, each compared with the other."""
    log_probabilities, returns = enumerate_all(env, policy, all_trajectories(), bernoulli)
    half = (returns[:, None] - returns[None, :]) / 2  # what one of two is above their mean
    advantages = half / (half.abs() + 1e-6)
    probabilities = log_probabilities.detach().exp()
    expected = (probabilities[None, :] * advantages).sum(1)
    return flat(torch.autograd.grad((probabilities * expected * log_probabilities).sum(), list(policy.parameters())))


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def estimates(env: TokenReductionVectorEnv, agent: PolicyGradient) -> Tensor:
    """``(ROLLOUTS, parameters)``: the ascent direction that `learn` finds in each rollout."""
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    found = []
    for _ in range(ROLLOUTS):
        agent.learn(collector.collect(0.0))
        found.append(-flat([parameter.grad for parameter in agent.policy.parameters()]))
    return torch.stack(found)


def make_agent(env: TokenReductionVectorEnv, kind: Any = Reinforce, **options: Any) -> Any:
    """An agent that stands still (learning rate 0), so that `learn` only leaves its gradient."""
    settings = {"learning_rate": 0.0, "imitation_fraction": 0.0, "policy_size": 4, "max_gradient_norm": 1e9}
    settings["overlap"] = False
    agent = kind(AgentSpec.of_env(env, seed=2), kind.options_class(**{**settings, **options}))
    with torch.no_grad():
        for head in agent.policy.heads:  # the untrained last layer is nearly 0, and with it most of the gradient
            head[-1].weight.normal_(std=0.7, generator=torch.Generator().manual_seed(5))
    return agent


@pytest.fixture
def env(make_env: MakeEnv) -> TokenReductionVectorEnv:
    return make_env((TOKENS,), num_envs=GROUPS * SAMPLES, samples_per_text=SAMPLES)


@pytest.mark.parametrize(
    ("kind", "options", "factor"),
    [
        (Reinforce, {"baseline": "leave-one-out"}, 1.0),
        (Reinforce, {"baseline": "mean"}, (SAMPLES - 1) / SAMPLES),
    ],
)
def test_the_gradient_is_exact(env: TokenReductionVectorEnv, kind: Any, options: Any, factor: float) -> None:
    agent = make_agent(env, kind, sampler="bernoulli", **options)
    exact = exact_gradient(env, agent.policy, all_trajectories(), bernoulli)
    check_estimates(estimates(env, agent), exact, factor, resolution=(1 / SAMPLES) / 8)


def test_grpos_gradient_is_that_of_its_surrogate(make_env: MakeEnv) -> None:
    env = make_env((TOKENS,), num_envs=GROUPS * SAMPLES, samples_per_text=2)
    agent = make_agent(env, Grpo, sampler="bernoulli", steps_per_rollout=1)
    check_estimates(estimates(env, agent), exact_grpo_gradient(env, agent.policy), 1.0, resolution=0.03)
    # It is not the gradient of the expected return.
    other = exact_gradient(env, agent.policy, all_trajectories(), bernoulli)
    assert float((exact_grpo_gradient(env, agent.policy) - other).norm()) > 0.15 * float(other.norm())


def check_estimates(found: Tensor, exact: Tensor, factor: float, resolution: float) -> None:
    """Whether estimates agree with ``factor`` times the exact gradient, within their own errors."""
    mean, error = found.mean(0), found.std(0) / ROLLOUTS**0.5
    # Along the exact gradient: the length.
    projections = found @ exact / exact.square().sum()
    spread = float(projections.std()) / ROLLOUTS**0.5
    assert abs(float(projections.mean()) - factor) < 4 * spread
    # Another baseline's factor must be told apart, or this test says nothing.
    assert spread < resolution
    # In all directions: squared deviations, in units of their errors, are 1 on average.
    moving = error > 1e-8
    deviations = ((mean - factor * exact)[moving] / error[moving]).square().mean()
    assert float(deviations) < 2.5
    assert float((mean - factor * exact).norm()) < 0.05 * float(exact.norm())


def test_the_averaged_log_probability_is_another_gradient(env: TokenReductionVectorEnv) -> None:
    """The check above can fail: averaging over tokens instead of summing is far outside of its error."""
    agent = make_agent(env, sampler="bernoulli", baseline="leave-one-out", log_probability="mean")
    exact = exact_gradient(env, agent.policy, all_trajectories(), bernoulli)
    projections = estimates(env, agent) @ exact / exact.square().sum()
    assert abs(float(projections.mean()) - 1.0) > 10 * float(projections.std()) / ROLLOUTS**0.5


def test_the_budgeted_gradient_points_the_right_way(env: TokenReductionVectorEnv) -> None:
    """It is an approximation by design: nearly parallel to the exact gradient of top K sampling."""
    fractions = (0.5, 1 / 3)  # [CLS] and 2 of 5, then [CLS] and 1 of these 2
    # The temperature depends on what is drawn, and centring moves the biases: neither is looked at here.
    options = {"keep_fractions": fractions, "exploration": (1e-6, 1e-6), "baseline": "leave-one-out"}
    agent = make_agent(env, sampler="budgeted", **options)
    agent._centre_biases = lambda *args, **kwargs: None  # type: ignore[method-assign]
    trajectories = [(first, second) for first, second in all_trajectories() if len(first) == 3 and len(second) == 2]
    exact = exact_gradient(env, agent.policy, trajectories, plackett_luce)
    mean = estimates(env, agent).mean(0)
    cosine = float(mean @ exact / mean.norm() / exact.norm())
    assert cosine > 0.98
