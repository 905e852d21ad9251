r"""PPO and trainer of Tianshou, as they come: an RL loop that nobody here wrote trains on our environments.

pip install tianshou
python examples/tianshou_ppo.py
python examples/tianshou_ppo.py --env TRBERT/SQuAD2-v0 --rows 12 --epochs 3 \
    --options '{"data_source": "embedded", "backbone": "embedded"}'
"""

import json
import time
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.wrappers.vector import DictInfoToList
from tianshou.algorithm.modelfree.ppo import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, Collector, CollectStats, VectorReplayBuffer
from tianshou.env import BaseVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

import trbert_env  # noqa: F401 - registers the ids

NEVER = -30.0  # a logit; of minus infinity, Bernoulli's log-probability would be NaN


class Rows(BaseVectorEnv):
    """A vector environment of Gymnasium as one of Tianshou's, which would step row by row."""

    def __init__(self, env: str, rows: int, options: dict[str, Any]) -> None:
        # No super().__init__(), which makes a worker for each row. Disabled, for Tianshou resets what has ended.
        self.envs: Any = gymnasium.make_vec(env, num_envs=rows, autoreset_mode="Disabled", **options)
        self.listed = DictInfoToList(self.envs)  # Tianshou wants a dict for each row
        self.env_num, self.is_async, self.is_closed = rows, False, False

    def get_env_attr(self, key: str, id: Any = None) -> list[Any]:
        """How Tianshou asks for spaces: those of one row, for each row."""
        return [getattr(self.envs, f"single_{key}")] * self.env_num

    def reset(self, env_id: Any = None, **kwargs: Any) -> Any:
        """All rows: they end together, so never fewer are asked for."""
        observation, infos = self.listed.reset(**kwargs)
        return Batch(observation), np.array(infos)

    def step(self, action: Any, id: Any = None) -> Any:
        """All rows."""
        observation, *outcome, infos = self.listed.step(action)
        return Batch(observation), *outcome, np.array(infos)


class Actor(nn.Module):
    """A logit of keeping for each token, from its state alone; the last layer has one output a reduction."""

    def __init__(self, envs: Any, size: int = 64) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(envs.hidden_size, elementwise_affine=False)  # depths differ in scale
        self.layers = nn.Sequential(nn.Linear(envs.hidden_size, size), nn.GELU(), nn.Linear(size, envs.num_reductions))

    def forward(self, obs: Batch, state: Any = None, info: Any = None) -> tuple[Tensor, Any]:
        """``(rows, max_tokens)`` and the state of a recurrent network, here none."""
        logits = self.layers(self.norm(torch.as_tensor(obs.hidden_states)))
        reduction = torch.as_tensor(obs.reduction).clamp(max=logits.shape[2] - 1)  # after the end it is one more
        # Padding is no choice, and the first token is kept anyhow: they add nothing to log-probability and entropy.
        choice = torch.as_tensor(obs.token_mask).bool() & (torch.arange(logits.shape[1]) > 0)
        return logits[torch.arange(len(logits)), :, reduction].masked_fill(~choice, NEVER), state


class Critic(Actor):
    """What a row will return: the mean over its tokens of such a network."""

    def forward(self, obs: Batch) -> Tensor:  # type: ignore[override]
        """``(rows,)``."""
        values, _ = super().forward(obs)
        choice = values != NEVER
        return (values * choice).sum(1) / choice.sum(1).clamp(min=1)


def main(env: str = "TRBERT/Identity-v0", rows: int = 64, epochs: int = 20, seed: int = 0, options: str = "{}") -> None:
    """Train for so many epochs of 10 updates, or until the greedy return is 0.95; options are JSON for the env."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # Tianshou draws its minibatches from there
    training, test = (Rows(env, rows, json.loads(options)) for _ in range(2))
    policy = ProbabilisticActorPolicy(
        actor=Actor(training.envs),  # type: ignore[arg-type]
        dist_fn=lambda logits: Independent(Bernoulli(logits=logits), 1),
        deterministic_eval=True,
        action_space=training.envs.single_action_space,
        action_scaling=False,
    )
    ppo = PPO(policy=policy, critic=Critic(training.envs), optim=AdamOptimizerFactory(lr=3e-3), gamma=1.0)
    steps = rows * training.envs.num_reductions  # one episode each; the default buffer is of 10,000 steps a row
    train_collector = Collector[CollectStats](ppo, training, VectorReplayBuffer(steps, rows))
    test_collector = Collector[CollectStats](ppo, test, VectorReplayBuffer(steps, rows))

    def greedy_return() -> float:
        test_collector.reset(gym_reset_kwargs={"seed": seed})  # the same texts each time
        return float(test_collector.collect(n_episode=4 * rows).returns.mean())

    before, start = greedy_return(), time.perf_counter()
    train_collector.reset(gym_reset_kwargs={"seed": seed})
    ppo.run_training(
        OnPolicyTrainerParams(
            training_collector=train_collector,
            test_collector=test_collector,
            max_epochs=epochs,
            epoch_num_steps=10 * steps,
            collection_step_num_env_steps=steps,
            test_step_num_episodes=rows,
            batch_size=rows,
            update_step_num_repetitions=4,
            stop_fn=lambda score: score >= 0.95,
            show_progress=False,
        )
    )
    print(f"greedy return {before:.3f}, after {time.perf_counter() - start:.1f} s of training {greedy_return():.3f}")


if __name__ == "__main__":
    tyro.cli(main)
