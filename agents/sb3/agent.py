"""PPO and A2C of Stable-Baselines3 as agents: their update, on our rollouts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents.base import AgentSpec, Rollout
from agents.policy_agent import PolicyAgent, PolicyAgentOptions
from agents.sb3.observations import sb3_observation, sb3_observation_space
from agents.sb3.policy import TokenActorCriticPolicy
from trbert_env.envs.spaces import action_space
from trbert_env.ranges import Range

#: Stable-Baselines3's names of metrics, and those that every agent here uses.
METRICS = {
    "train/policy_gradient_loss": "losses/policy_loss",
    "train/policy_loss": "losses/policy_loss",
    "train/value_loss": "losses/value_loss",
    "train/explained_variance": "losses/explained_variance",
    "train/clip_fraction": "losses/clipped_share",
    "train/approx_kl": "losses/approximate_kl",
}


@dataclass(frozen=True)
class ActorCriticOptions(PolicyAgentOptions):
    """Options of PPO and A2C, by Stable-Baselines3's names."""

    shares_budgets: ClassVar[bool] = False

    gae_lambda: Annotated[float, Range(0, 1)] = 1.0
    """Bias against variance of the advantages; 1 trusts returns, 0 the critic."""

    ent_coef: Annotated[float, Range(0)] = 0.0
    """Weight of the entropy."""

    vf_coef: Annotated[float, Range(0)] = 0.5
    """Weight of the critic's loss."""

    normalize_advantage: bool = True
    """Division of advantages by their standard deviation."""

    group_advantages: bool = True
    """Comparison of advantages within the samples of a text, where there are several: most of a return is the text's.

    What the critic says of a text that nothing was skipped of yet is the same for all its samples, so with
    gae_lambda 1 it counts from the second reduction on."""

    half_precision: bool = True
    """States as float16 in the rollout buffer."""

    def __post_init__(self) -> None:
        """Check what Stable-Baselines3 does not.

        Raises:
            ValueError: Texts share a budget: in a minibatch there are other texts.
        """
        if self.budget_scope == "batch":
            raise ValueError(f"budget_scope {self.budget_scope!r}: ppo and a2c learn from minibatches, so use 'text'")


@dataclass(frozen=True)
class PpoOptions(ActorCriticOptions):
    """Options of PPO."""

    n_epochs: Annotated[int, Range(1)] = 2
    """Passes over each rollout; the steps on it share the learning rate."""

    batch_size: Annotated[int, Range(1)] = 256
    """Rows of a minibatch, of all reductions; 256 are all of a rollout as it is by default."""

    clip_range: Annotated[float, Range(above=0)] = 0.005
    """Clipping range of the mean probability ratio of a row's tokens, which moves far less than one token's does."""

    def __post_init__(self) -> None:
        """Check what Stable-Baselines3 does not.

        Raises:
            ValueError: One is out of range.
        """
        super().__post_init__()
        if self.normalize_advantage and self.batch_size == 1:
            raise ValueError("batch_size is 1; it must be at least 2 where advantages are normalised")


@dataclass(frozen=True)
class A2cOptions(ActorCriticOptions):
    """Options of A2C."""

    use_rms_prop: bool = False
    """RMSprop as the optimiser, as in the original A2C, instead of Adam."""


class Sb3Agent(PolicyAgent):
    """Acts as every agent here does; each rollout then goes into a rollout buffer, and ``train()`` learns from it.

    The actor is the policy that is shipped. The memory of a rollout is that of its states:
    T x rows x tokens x hidden size x 2 bytes (4 without ``half_precision``).

    Args:
        spec: Environment that it is made for.
        options: See :class:`PpoOptions` and :class:`A2cOptions`.

    Raises:
        ValueError: Options that do not fit.
    """

    options: ActorCriticOptions

    def __init__(self, spec: AgentSpec, options: ActorCriticOptions) -> None:
        super().__init__(spec, options)
        self._device, self._steps = spec.device, 1
        self._spaces = (
            sb3_observation_space(spec.max_tokens, spec.hidden_size, spec.num_reductions, self.options.half_precision),
            action_space(spec.max_tokens),
        )
        self._algorithm = self._make_algorithm(spec.seed)
        self._actor_critic: TokenActorCriticPolicy = self._algorithm.policy  # type: ignore[assignment]

    @abstractmethod
    def _steps_on(self, rows: int) -> int:
        """Steps on a rollout of so many rows, all reductions together."""

    @abstractmethod
    def _unset(self, settings: dict[str, Any]) -> OnPolicyAlgorithm:
        """The algorithm without an environment, not set up yet."""

    def _make_algorithm(self, seed: int) -> OnPolicyAlgorithm:
        options = self.options
        algorithm = self._unset(
            {
                "policy": TokenActorCriticPolicy,
                "env": None,
                "learning_rate": lambda progress_left: options.learning_rate * progress_left / self._steps,
                "n_steps": len(self.keep_fractions),
                "gamma": 1.0,
                "gae_lambda": options.gae_lambda,
                "ent_coef": options.ent_coef,
                "vf_coef": options.vf_coef,
                "max_grad_norm": options.max_gradient_norm,
                "normalize_advantage": options.normalize_advantage,
                "device": self._device,
                "policy_kwargs": {"actor": self.policy},
                "_init_setup_model": False,
            }
        )
        algorithm.observation_space, algorithm.action_space = self._spaces
        algorithm.n_envs = 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            algorithm._setup_model()
        algorithm.set_logger(Logger(None, []))
        return algorithm

    # -- learning --------------------------------------------------------------------------------------

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Stable-Baselines3's own update; see :class:`agents.base.Agent`."""
        algorithm = self._algorithm
        algorithm.rollout_buffer = self._fill(rollout)
        self._steps = self._steps_on(len(rollout.returns) * len(rollout.actions))
        algorithm._current_progress_remaining = 1.0 - self._progress
        with numpy_seed(int(torch.randint(2**31, (1,), generator=self._generator))):
            algorithm.train()
        found = dict(algorithm.logger.name_to_value)
        algorithm.logger.dump()
        metrics = {ours: float(found[theirs]) for theirs, ours in METRICS.items() if theirs in found}
        # Returns that do not differ leave nothing to explain. Any other NaN is for the run to stop at.
        if not math.isfinite(metrics.get("losses/explained_variance", math.nan)):
            metrics.pop("losses/explained_variance", None)
        self.finish(rollout)
        return metrics | {"losses/entropy": -float(found["train/entropy_loss"])}

    def _fill(self, rollout: Rollout) -> DictRolloutBuffer:
        """The rollout as Stable-Baselines3 keeps one, with values and log-probabilities of the policy as it is."""
        rows, policy = len(rollout.returns), self._actor_critic
        if rows * len(rollout.actions) == 1 and self.options.normalize_advantage:
            raise ValueError("a rollout of one row has no deviation to normalise by: raise --samples-per-text")
        buffer = DictRolloutBuffer(
            len(rollout.actions), *self._spaces, self._device, self.options.gae_lambda, gamma=1.0, n_envs=rows
        )
        policy.sampler = self.sampler
        policy.set_training_mode(True)
        policy.set_training_mode(False)  # a rollout begins
        steps = zip(rollout.observations, rollout.actions, rollout.rewards, strict=True)
        for step, (observation, action, rewards) in enumerate(steps):
            keep, lengths = observation.pad(action), observation.full_lengths
            half = self.options.half_precision
            seen = sb3_observation(observation.padded(), observation.padded_infos(), lengths, half)
            on_device = {name: value.to(self._device) for name, value in seen.items()}
            with torch.no_grad():
                values, log_probabilities, _ = policy.evaluate_actions(on_device, keep)
            arrays = {name: value.numpy() for name, value in seen.items()}
            starts = np.full(rows, step == 0)
            buffer.add(arrays, keep.cpu().numpy(), rewards.cpu().numpy(), starts, values, log_probabilities)
        buffer.compute_returns_and_advantage(torch.zeros(rows), np.ones(rows, dtype=np.bool_))
        if self.options.group_advantages and rollout.samples_per_text > 1:
            grouped = buffer.advantages.reshape(len(rollout.actions), -1, rollout.samples_per_text)
            buffer.advantages = (grouped - grouped.mean(-1, keepdims=True)).reshape(buffer.advantages.shape)
        return buffer

    # -- going on later --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Actor, critic, optimiser, generator and progress."""
        return super().state_dict() | {
            "critic": self._actor_critic.critic.state_dict(),
            "optimizer": self._actor_critic.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        super().load_state_dict(state)
        self._actor_critic.critic.load_state_dict(state["critic"])
        self._actor_critic.optimizer.load_state_dict(state["optimizer"])


class PpoAgent(Sb3Agent):
    """Proximal policy optimisation (Schulman et al. 2017), ``--agent ppo``."""

    options_class = PpoOptions
    options: PpoOptions

    def _steps_on(self, rows: int) -> int:
        return self.options.n_epochs * math.ceil(rows / self.options.batch_size)

    def _unset(self, settings: dict[str, Any]) -> OnPolicyAlgorithm:
        options = self.options
        return PPO(n_epochs=options.n_epochs, batch_size=options.batch_size, clip_range=options.clip_range, **settings)


class A2cAgent(Sb3Agent):
    """Advantage actor-critic (Mnih et al. 2016), ``--agent a2c``: one step a rollout."""

    options_class = A2cOptions
    options: A2cOptions

    def _steps_on(self, rows: int) -> int:
        return 1

    def _unset(self, settings: dict[str, Any]) -> OnPolicyAlgorithm:
        return A2C(use_rms_prop=self.options.use_rms_prop, rms_prop_eps=1e-8, **settings)


@contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, which shuffles minibatches, and put it back after."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
