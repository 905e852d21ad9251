"""Lesson: a batch of training texts with what they teach, gold answers and the unreduced teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn.functional import mse_loss

from trbert_env.encoder.texts import TextBatch
from trbert_env.tasks.base import Task


@dataclass(frozen=True)
class Lesson:
    """A batch of training texts with what they teach.

    The teacher runs once: a system that learns from its states asks for these before the logits, which are then read
    off the last of them.

    Attributes:
        batch: The texts.
        task: Their task.
        targets: Gold answers, as ``task.targets`` gives them.
        share: Share of the teacher's soft targets in the loss, in [0, 1]; the rest is of the gold answers.
        temperature: Divisor of both logits in the soft loss.
        teach: Function that computes the teacher's float32 logits, from its last states where they are given.
        show: Function that computes the teacher's states behind the embeddings and each layer, ``(total_tokens,
            hidden)`` each, without gradients.
    """

    batch: TextBatch
    task: Task
    targets: Tensor
    share: float
    temperature: float
    teach: Callable[[Tensor | None], Tensor]
    show: Callable[[], Sequence[Tensor]]

    @cached_property
    def teacher_logits(self) -> Tensor:
        """Logits of the teacher."""
        shown: Sequence[Tensor] | None = self.__dict__.get("teacher_states")  # cached, where it was asked for
        return self.teach(None if shown is None else shown[-1])

    @cached_property
    def teacher_states(self) -> Sequence[Tensor]:
        """States of the teacher behind the embeddings and each layer."""
        return self.show()

    def gold_loss(self, logits: Tensor) -> Tensor:
        """Return the mean negative log-likelihood of the gold answers, nats.

        Args:
            logits: Logits as the task gives them.
        """
        return -self.task.log_likelihood(logits, self.batch.layout, self.targets).mean()

    def soft_loss(self, logits: Tensor, taught: Tensor | None = None, temperature: float | None = None) -> Tensor:
        """Return the mean divergence from the teacher, nats; see :meth:`~trbert_env.tasks.base.Task.divergence`.

        Args:
            logits: Logits as the task gives them.
            taught: Logits to take for the teacher's; None for the teacher's own.
            temperature: Divisor of both logits; None for the lesson's.
        """
        teacher = self.teacher_logits if taught is None else taught
        divisor = self.temperature if temperature is None else temperature
        return self.task.divergence(logits, teacher, self.batch.layout, self.targets, divisor).mean()

    def loss(self, logits: Tensor, taught: Tensor | None = None) -> Tensor:
        """Return the mix of both that :attr:`share` says.

        Args:
            logits: Logits as the task gives them.
            taught: Logits to take for the teacher's; None for the teacher's own.
        """
        if self.share == 0.0:
            return self.gold_loss(logits)
        if self.share == 1.0:
            return self.soft_loss(logits, taught)
        return (1.0 - self.share) * self.gold_loss(logits) + self.share * self.soft_loss(logits, taught)


def state_distance(states: Sequence[Tensor], taught: Sequence[Tensor]) -> Tensor:
    """Return the sum over layers of the mean squared distance of states.

    Args:
        states: States of the student, ``(total_tokens, hidden)`` each.
        taught: As many states of the teacher.
    """
    pairs = zip(states, taught, strict=True)
    distances = [mse_loss(own.float(), other.float()) for own, other in pairs]
    return sum(distances[1:], distances[0])
