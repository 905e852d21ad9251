"""Rollouts: one episode of all rows, from any agent and the environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.base import Agent, Rollout
from trbert_env.envs.vector_env import TokenReductionVectorEnv


class RolloutCollector:
    """Plays episodes with an agent; the environment resets itself in the same step.

    Args:
        env: With ``array_type="torch"`` and ``autoreset_mode="SameStep"``.
        agent: Acts. Where it has an attribute ``info_scores``, the environment brings those scores.
    """

    def __init__(self, env: TokenReductionVectorEnv, agent: Agent) -> None:
        self.env, self.agent = env, agent
        self._current: tuple[dict[str, Tensor], dict[str, Any]] | None = None

    def reset(self, seed: int | None = None) -> None:
        """Draw the first texts."""
        self._ask_for_scores()
        self._current = self.env.reset(seed=seed)

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from the environment's ``state_dict``."""
        self._ask_for_scores()
        self._current = self.env.load_state_dict(state)

    def collect(self, progress: float, *, deterministic: bool = False) -> Rollout:
        """Play one episode.

        Args:
            progress: How much of the run is done once this rollout is learned from, in [0, 1].
            deterministic: Whether the agent acts as in evaluation.

        Raises:
            RuntimeError: Neither :meth:`reset` nor :meth:`resume` was called.
        """
        if self._current is None:
            raise RuntimeError("call reset() or resume() before collect()")
        self._ask_for_scores()
        observation, infos = self._current
        observations, all_infos, actions, rewards = [], [], [], []
        ended = False
        while not ended:
            action = self.agent.act(observation, infos, deterministic=deterministic)
            observations.append(observation)
            all_infos.append(infos)
            actions.append(action)
            observation, reward, terminated, _, infos = self.env.step(action)
            rewards.append(reward)
            ended = bool(terminated[0])
        self._current = observation, infos
        samples = self.env.samples_per_text
        final = infos["final_info"]
        return Rollout(observations, all_infos, actions, torch.stack(rewards), final, samples, progress)

    def _ask_for_scores(self) -> None:
        self.env.info_scores = getattr(self.agent, "info_scores", None)


def rollout_figures(rollout: Rollout) -> dict[str, float]:
    """The curves of one rollout, by their TensorBoard keys."""
    final = rollout.final_info
    lengths = rollout.observations[0]["token_mask"].sum(1).float()
    kept = final["kept_tokens"]
    figures = {
        "charts/episodic_return": float(rollout.returns.mean()),
        "charts/log_likelihood": float(final["log_likelihood"].mean()),
        "charts/flops_speedup": float(final["full_flops"].sum() / final["reduced_flops"].sum()),
    }
    for reduction in range(kept.shape[1]):
        figures[f"charts/kept_fraction_{reduction + 1}"] = float(kept[:, reduction].sum() / lengths.sum())
    return figures
