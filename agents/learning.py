"""How an encoder is trained, whatever acts on it: rates, their rise and fall, and what is learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trbert_env.ranges import Range

#: Peak learning rate of the encoder where none is given or settled by the runner.
ENCODER_RATE = 1e-4


@dataclass(frozen=True)
class LearningOptions:
    """Options of training an encoder."""

    encoder_rate: Annotated[float, Range(0)] | None = None
    """Peak learning rate of the encoder and its task head. When not given, 1e-4; in stage 3, of fewer texts than
    20,000, 1e-4 times the square root of their share of 20,000 (on a GPU, 6e-4 and 280,000)."""

    warmup: Annotated[float, Range(0, 1)] = 0.1
    """Share of the run over which the encoder's learning rate rises from 0; then it falls linearly to 0."""

    distillation: Annotated[float, Range(0, 1)] = 0.5
    """Share of the teacher's soft targets in the task loss: 0 learns from gold labels only, 1 from the teacher."""

    temperature: Annotated[float, Range(above=0)] = 1.0
    """Temperature that softens both distributions of the distillation."""

    max_encoder_norm: Annotated[float, Range(above=0)] = 1.0
    """Largest norm of the encoder's gradient, which is scaled down to it."""

    @property
    def peak_rate(self) -> float:
        """Peak learning rate of the encoder."""
        return ENCODER_RATE if self.encoder_rate is None else self.encoder_rate


def warmup_decay(before: float, after: float, warmup: float) -> float:
    """Linear warm-up over a share of the run, then linear decay: what a step's learning rate is multiplied by.

    Args:
        before: Share of the run that is done before the step, in [0, 1].
        after: Share that is done after it; so neither the first step nor the last is at rate 0.
        warmup: The share.

    Example:
        >>> [round(warmup_decay(step / 4, (step + 1) / 4, warmup=0.5), 3) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    rising = after / warmup if warmup > 0 else 1.0
    return min(1.0, rising, (1.0 - before) / max(1.0 - warmup, 1e-9))
