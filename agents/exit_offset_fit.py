"""Fitting the exit offsets of the task's logits by gradient, beside any agent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trbert_env.envs.episode import Outcome
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.tasks import Task


class ExitOffsetFit:
    """Adam on what the reward measures, one step an episode.

    That is the divergence from the unreduced model's answer where an episode gives it (the reward ``distillation``,
    here never softened), else the negative log-likelihood of the gold answer. Both are differentiable in the offsets,
    so these need no reward signal: an agent finds by trying which tokens matter; how to read what is left is solved
    for.

    Args:
        exit_offsets: Offsets that are fitted, in place.
        task: Task, which knows the likelihood.
        learning_rate: Learning rate of the offsets, in nats a step, about; it falls linearly to 0.
    """

    def __init__(self, exit_offsets: ExitOffsets, task: Task, learning_rate: float = 0.05) -> None:
        self.exit_offsets = exit_offsets
        self._task = task
        self._rates = [rate for _, rate in exit_offsets.learning_rates(learning_rate)]
        self._optimizer = torch.optim.Adam(
            [{"params": [parameter], "lr": rate} for parameter, rate in exit_offsets.learning_rates(learning_rate)]
        )

    def learn(self, outcome: Outcome, progress: float) -> dict[str, float]:
        """One step; returns metrics to log.

        Args:
            outcome: An episode's, whose logits had these offsets.
            progress: Share of the run that is done before this step, in [0, 1].
        """
        with torch.enable_grad():
            shift = self.exit_offsets.shift(outcome.states, outcome.stops, outcome.layout)
            logits = outcome.logits + (shift - shift.detach())
            loss = self._loss(outcome, logits).mean()
            for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * (1.0 - progress)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self._optimizer.step()
        offsets = self.exit_offsets.offsets.detach().mean(1).tolist()
        names = [*(f"charts/calibration_{index + 1}" for index in range(len(offsets) - 1)), "charts/calibration_first"]
        return {"losses/exit_offset_loss": float(loss.detach()), **dict(zip(names, offsets, strict=True))}

    def _loss(self, outcome: Outcome, logits: Tensor) -> Tensor:
        """``(rows,)`` nats."""
        targets = self._task.targets(outcome.texts)
        if outcome.unreduced_logits is not None:
            return self._task.divergence(logits, outcome.unreduced_logits, outcome.layout, targets)
        return -self._task.log_likelihood(logits, outcome.layout, targets)

    def state_dict(self) -> dict[str, Any]:
        """Offsets and optimiser."""
        return {"calibration": self.exit_offsets.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.exit_offsets.load_state_dict(state["calibration"])
        self._optimizer.load_state_dict(state["optimizer"])
