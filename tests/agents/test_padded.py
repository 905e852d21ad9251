"""Agents on padded observations: they see, do and learn the same as packed ones, and are made in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.base import Actor, Agent, AgentSpec, NoOptions, Rollout, ShippableAgent
from agents.heuristics import HEURISTICS, make_heuristic
from agents.padded import PaddedLearner, PaddedRollout, shippable
from agents.policy_agent import PolicyAgentOptions
from agents.registry import AGENTS, check_plug_in, make_agent, plug_in_options
from agents.reinforce import Reinforce, ReinforceOptions
from agents.rollouts import RolloutCollector
from agents.trained import TrainedPolicy
from trbert_env.encoder.packing import Layout
from trbert_env.envs.packed import PackedObservation
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy

MakeEnv = Callable[..., TokenReductionVectorEnv]
SHARED = ReinforceOptions(keep_fractions=(0.6, 0.3), imitation_fraction=0.5)


@pytest.fixture
def env(make_env: MakeEnv) -> TokenReductionVectorEnv:
    return make_env((16, 11, 7, 4), num_envs=8, samples_per_text=2)


class Padding:
    """An agent on padded observations that asks a packed one, through what Gymnasium shows."""

    def __init__(self, inner: Actor) -> None:
        self.inner = inner
        self.lengths = torch.zeros(0)

    @property
    def info_scores(self) -> Any:
        return self.inner.info_scores

    def act(self, observation: dict[str, Tensor], infos: dict[str, Any], *, deterministic: bool = False) -> Tensor:
        mask, reduction = observation["token_mask"].bool(), int(observation["reduction"][0])
        self.lengths = mask.sum(1) if reduction == 0 else self.lengths
        counts = mask.sum(1)
        layout = Layout(*mask.nonzero().unbind(1), counts, torch.ones_like(counts), self.lengths)
        importance = infos["importance"][mask] if "importance" in infos else None
        ids = tuple(infos["text_id"].tolist())
        states, overlap = observation["hidden_states"][mask], infos["overlap"][mask]
        packed = PackedObservation(states, layout, overlap, importance, reduction, mask.shape[1], ids)
        assert torch.equal(packed.forced, infos["forced_tokens"])
        return packed.pad(self.inner.act(packed, deterministic=deterministic))

    def learn(self, rollout: PaddedRollout) -> dict[str, float]:
        self.seen = rollout
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def actors(env: TokenReductionVectorEnv, name: str) -> Actor:
    if name in AGENTS:
        return make_agent(name, AgentSpec.of_env(env), SHARED, {})
    return make_heuristic(name, (0.6, 0.3), 2)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", [*AGENTS, *HEURISTICS])
def test_padded_observations_give_the_same_masks(name: str, deterministic: bool, make_env: MakeEnv) -> None:
    rollouts = []
    for padded in (False, True):
        env = make_env((16, 11, 7, 4), num_envs=8, samples_per_text=2)
        actor = actors(env, name)
        collector = RolloutCollector(env, PaddedLearner(Padding(actor)) if padded else actor)
        collector.reset(seed=1)
        rollouts.append([collector.collect(0.0, deterministic=deterministic) for _ in range(3)])
    for one, other in zip(*rollouts, strict=True):
        assert torch.equal(one.rewards, other.rewards)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(one.actions, other.actions, strict=True))


@pytest.mark.parametrize("name", ["random", "attention", "residual"])
def test_a_padded_rollout_is_what_gymnasium_shows(name: str, env: TokenReductionVectorEnv, play: Any) -> None:
    """Its masks, stepped through the padded environment, give its observations and rewards."""
    rollout = play(env, make_heuristic(name, (0.6, 0.3), 2))
    padded = PaddedRollout.of(rollout)
    assert torch.equal(padded.returns, rollout.returns)
    observation, infos = env.reset(seed=0)
    for step, keep in enumerate(padded.actions):
        assert all(torch.equal(value, padded.observations[step][name]) for name, value in observation.items())
        assert ("importance" in infos) == (name != "random")
        for key, value in padded.infos[step].items():
            assert (infos[key] == value).all()
        observation, rewards, *_, infos = env.step(keep)
        assert torch.equal(rewards, padded.rewards[step])
    for key, value in padded.final_info.items():
        assert torch.equal(infos["final_info"][key], value)


def test_learning_gets_the_padded_rollout(env: TokenReductionVectorEnv, play: Any) -> None:
    inner = Padding(make_heuristic("keep-all", (1.0, 1.0), 2))
    learner = PaddedLearner(inner)
    rollout = play(env, learner)
    assert learner.learn(rollout) == {}
    assert inner.seen.observations[0]["hidden_states"].shape == (8, env.max_tokens, env.hidden_size)


def test_masks_of_another_shape_are_refused(env: TokenReductionVectorEnv) -> None:
    class Narrow(Padding):
        def act(self, *args: Any, **kwargs: Any) -> Tensor:
            return super().act(*args, **kwargs)[:, 1:]

    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"act\(\) gave masks of shape \(8, 15\): give \(8, 16\)"):
        PaddedLearner(Narrow(make_heuristic("keep-all", (1.0, 1.0), 2))).act(env.packed_observation)


# -- what a run ends in a model of -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_with_a_policy_is_shippable(name: str, env: TokenReductionVectorEnv) -> None:
    agent = make_agent(name, AgentSpec.of_env(env), SHARED, {})
    assert isinstance(agent, Agent)
    assert isinstance(agent, ShippableAgent)
    assert shippable(agent) is agent


def test_a_padded_agent_is_shippable_if_it_says_so(env: TokenReductionVectorEnv) -> None:
    padded: Any = Padding(make_heuristic("keep-all", (1.0, 1.0), 2))
    assert shippable(PaddedLearner(padded)) is None
    padded.policy = TokenPolicy(env.hidden_size, 2)
    assert shippable(PaddedLearner(padded)) is None
    padded.decision = DecisionRule()
    assert shippable(PaddedLearner(padded)) is padded
    assert isinstance(TrainedPolicy(padded.policy, padded.decision), ShippableAgent)


# -- how a class of one's own is made --------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnOptions:
    pace: float
    rate: float = 0.5


@dataclass(frozen=True)
class Rates:
    rates: tuple[float, ...] = ()


class WithRates(Padding):
    options_class = Rates


class Own(Padding):
    options_class: Any = OwnOptions

    def __init__(self, spec: AgentSpec, options: Any) -> None:
        super().__init__(make_heuristic("keep-all", (1.0, 1.0), 2))
        self.spec, self.options = spec, options


class Undeclared(Padding):
    def __init__(self, spec: AgentSpec, options: NoOptions) -> None:
        super().__init__(make_heuristic("keep-all", (1.0, 1.0), 2))
        assert options == NoOptions()


class NotADataclass(Own):
    options_class = dict


class OneArgument(Undeclared):
    def __init__(self, spec: AgentSpec) -> None: ...


class Misnamed(Undeclared):
    """Its policy is not of the kind that is shipped."""

    policy, decision = "mine", DecisionRule()


class Derived(Reinforce):
    """A packed agent, told what all with a policy of eq. 2 are told."""


def name_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__name__}"


def test_an_options_class_is_filled(env: TokenReductionVectorEnv) -> None:
    agent: Any = make_agent(name_of(Own), AgentSpec.of_env(env), SHARED, {"pace": 2})
    assert isinstance(agent, PaddedLearner)
    inner: Any = agent.agent
    assert inner.options == OwnOptions(pace=2.0)
    assert inner.spec == AgentSpec.of_env(env)
    assert isinstance(make_agent(name_of(Undeclared), AgentSpec.of_env(env), SHARED, {}), PaddedLearner)


def test_a_class_that_derives_from_ours_acts_on_packed_tokens(env: TokenReductionVectorEnv) -> None:
    agent = make_agent(name_of(Derived), AgentSpec.of_env(env), SHARED, {})
    assert isinstance(agent, Derived)
    assert agent.options == SHARED


@pytest.mark.parametrize(
    ("kind", "own", "named"),
    [
        (Own, {}, "lacks the option 'pace': give --agent-options pace=VALUE"),
        (Own, {"pace": 1.0, "speed": 2}, "has no option 'speed' of its own: it has pace, rate"),
        (Own, {"pace": 1.0, "rate": "fast"}, "option 'rate' of agent .* is 'fast': give float"),
        (Own, {"pace": 1.0, "rate": float("nan")}, "option 'rate' of agent .* is nan"),
        (Undeclared, {"pace": 1.0}, "has no option 'pace' of its own: it has none"),
        (NotADataclass, {}, "has options_class <class 'dict'>: make it a dataclass"),
        (OneArgument, {}, r"could not be made .*: it is made by Class\(spec, options\)"),
    ],
)
def test_what_is_wrong_is_said_before_one_is_made(kind: type, own: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        check_plug_in(name_of(kind), PolicyAgentOptions(), own)


def test_options_may_be_tuples() -> None:
    assert plug_in_options("own:Agent", WithRates, PolicyAgentOptions(), {"rates": [0.1, 0.2]}).rates == (0.1, 0.2)
    with pytest.raises(ValueError, match=r"option 'rates' of agent 'own:Agent' is 0.1: give tuple\[float, ...\]"):
        plug_in_options("own:Agent", WithRates, PolicyAgentOptions(), {"rates": 0.1})


def test_a_policy_that_cannot_be_shipped_is_refused(env: TokenReductionVectorEnv) -> None:
    with pytest.raises(ValueError, match="policy is of type str: make it a TokenPolicy, or call it otherwise"):
        make_agent(name_of(Misnamed), AgentSpec.of_env(env), SHARED, {})


def test_the_example_needs_nothing_but_its_options(env: TokenReductionVectorEnv) -> None:
    agent: Any = make_agent("examples.linear_agent:LinearAgent", AgentSpec.of_env(env), SHARED, {"rate": 0.1})
    collector = RolloutCollector(env, agent)
    collector.reset(seed=0)
    rollout: Rollout = collector.collect(0.0)
    assert set(agent.learn(rollout)) == {"losses/policy_loss"}
    assert agent.agent.optimizer.param_groups[0]["lr"] == 0.1
