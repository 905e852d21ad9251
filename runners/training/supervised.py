"""Training of all parameters of a model on a loss, in epochs of shuffled order: what stage 1 and pre-training share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from agents.learning import warmup_decay
from runners.runs.tracking import Tracker


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set the dropout of hidden states, whatever the checkpoint's configuration says.

    Args:
        model: The model; attention has none on any path.
        probability: Probability that a value is dropped.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps.
        batch_size: Texts of one step.
        learning_rate: The peak.
        warmup: Share of the steps over which the rate rises from 0.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: float

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0-based."""
        return self.learning_rate * warmup_decay(step / self.steps, (step + 1) / self.steps, self.warmup)


class SupervisedTraining(ABC):
    """Trains all parameters of a model by AdamW; see :class:`runners.training.loop.Training`.

    Args:
        model: The model, on its device; trained in place.
        schedule: Steps, batch size and learning rate.
        num_texts: Texts that there are.
        seed: Fixes the order of the texts and torch's random numbers.
    """

    #: The loss's key in TensorBoard.
    loss_key: str

    def __init__(self, model: PreTrainedModel, schedule: Schedule, num_texts: int, seed: int) -> None:
        self.model, self.schedule, self.seed = model, schedule, seed
        self.model.requires_grad_(True)
        rate = schedule.learning_rate
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.01, fused=True)
        self.updates = 0
        self._num_texts = num_texts
        self._order_of: tuple[int, npt.NDArray[np.int64]] | None = None
        torch.manual_seed(seed)

    @abstractmethod
    def losses(self, numbers: list[int]) -> Iterator[Tensor]:
        """Compute the parts that add up to a batch's loss; each is back-propagated before the next is asked for.

        Args:
            numbers: The batch's texts: the index of each, and the number of the epoch times the number of texts.
        """

    @property
    def texts_seen(self) -> int:
        """Texts so far, repeats counted."""
        return self.updates * self.schedule.batch_size

    @property
    def total_texts(self) -> int:
        """Texts of the whole run."""
        return self.schedule.steps * self.schedule.batch_size

    def step(self) -> dict[str, float]:
        """One optimiser step; returns metrics to log."""
        rate = self.schedule.rate(self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        for part in self.losses(self._batch()):
            part.backward()
            loss += float(part.detach())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.updates += 1
        return {self.loss_key: loss, "losses/gradient_norm": float(norm), "charts/learning_rate": rate}

    @abstractmethod
    def watch(self, tracker: Tracker) -> None:
        """Log what is measured now and then; see :meth:`runners.training.loop.Training.watch`."""

    def _batch(self) -> list[int]:
        """The texts of this step: a slice of the epochs' shuffled order, which the seed fixes."""
        first = self.updates * self.schedule.batch_size
        batch = []
        for position in range(first, first + self.schedule.batch_size):
            epoch, place = divmod(position, self._num_texts)
            batch.append(epoch * self._num_texts + int(self._epoch_order(epoch)[place]))
        return batch

    def _epoch_order(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._order_of is None or self._order_of[0] != epoch:
            self._order_of = epoch, np.random.default_rng([self.seed, epoch]).permutation(self._num_texts)
        return self._order_of[1]

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """All parameters."""
        yield from self.model.named_parameters()

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.updates,
            "generator": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["step"]
        torch.set_rng_state(state["generator"])
