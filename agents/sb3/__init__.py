"""Stable-Baselines3 on the environment: a ``VecEnv``, a per-token actor-critic, and its PPO and A2C as agents.

With its own loop (:class:`~agents.sb3.vec_env.TokenReductionVecEnv` and
:class:`~agents.sb3.policy.TokenActorCriticPolicy`), or in ours (``train_policy.py --agent ppo``), where its
update learns from our rollouts and everything else of a run comes for free.
"""

from agents.sb3.policy import TokenActorCriticPolicy
from agents.sb3.vec_env import TokenReductionVecEnv

__all__ = ["TokenActorCriticPolicy", "TokenReductionVecEnv"]
