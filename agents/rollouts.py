"""Rollouts: one episode of all rows, from any actor and the environment."""

from __future__ import annotations

from typing import Any

import torch

from agents.base import Actor, Rollout
from trbert_env.envs.vector_env import TokenReductionVectorEnv


class RolloutCollector:
    """Plays episodes without padding; the environment begins the next one in the same step.

    Args:
        env: An environment with ``autoreset_mode="SameStep"``.
        actor: Acts; the environment brings the scores that it wants.
    """

    def __init__(self, env: TokenReductionVectorEnv, actor: Actor) -> None:
        self.env, self.actor = env, actor
        self._begun = False

    def reset(self, seed: int | None = None) -> None:
        """Draw the first texts."""
        self.env.info_scores = self.actor.info_scores
        self.env.reset(seed=seed)
        self._begun = True

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from the environment's ``state_dict``."""
        self.env.info_scores = self.actor.info_scores
        self._begun = self.env.load_state_dict(state) is not None

    def collect(self, progress: float, *, deterministic: bool = False) -> Rollout:
        """Play one episode.

        Args:
            progress: Share of the run that is done once this rollout is learned from, in [0, 1].
            deterministic: True to act as in evaluation.

        Raises:
            RuntimeError: Neither :meth:`reset` nor :meth:`resume` was called.
        """
        if not self._begun:
            raise RuntimeError("call reset() or resume() before collect()")
        env = self.env
        env.info_scores = self.actor.info_scores
        observations, actions, rewards = [], [], []
        outcome = None
        while outcome is None:
            observation = env.packed_observation
            keep = self.actor.act(observation, deterministic=deterministic)
            reward, outcome = env.step_packed(keep)
            observations.append(observation)
            actions.append(keep)
            rewards.append(reward)
        final = {name: value.to(env.device) for name, value in outcome.metrics().items()}
        return Rollout(observations, actions, torch.stack(rewards), final, env.samples_per_text, progress)


def rollout_metrics(rollout: Rollout) -> dict[str, float]:
    """Return the curves of one rollout, by their TensorBoard keys; without a likelihood where no row has gold."""
    final = rollout.final_info
    gold = final["log_likelihood"][final["has_gold"]]
    lengths = rollout.observations[0].full_lengths.float()
    kept = final["kept_tokens"]
    metrics = {
        "charts/episodic_return": float(rollout.returns.mean()),
        "charts/flops_speedup": float(final["full_flops"].sum() / final["reduced_flops"].sum()),
    }
    if len(gold):
        metrics["charts/log_likelihood"] = float(gold.mean())
    if "divergence" in final:
        metrics["charts/divergence"] = float(final["divergence"].mean())
    for reduction in range(kept.shape[1]):
        metrics[f"charts/kept_fraction_{reduction + 1}"] = float(kept[:, reduction].sum() / lengths.sum())
    return metrics
