"""ExitOffsets of the task's logits, by how deep each token went and what its state says there.

The task head was made for states of the last layer. Where it reads every token, it reads states that stopped earlier
too, and gives them logits near 0 where finished ones of no importance have about -4: they crowd the softmax,
and what is left of a text abstains too often. Learned offsets mend both, and read from the state of a
stopped token whether it is the answer, which early layers often tell. Where the head reads first tokens, nothing of
what was skipped reaches it, and the mean of the stopped states tells what is missing, as a bag of words does. Offsets
are part of the model, so that what is rewarded, measured and shipped is one thing; nothing in here learns.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from trbert_env.encoder.packing import Layout


class ExitOffsets(nn.Module):
    """Offsets on the logits of every token that stopped, affine in its state, and of every [CLS].

    A token that stopped at reduction t with the state h has ``offsets[t] + weights[t] LayerNorm(h)`` added to its
    logits (the norm without parameters): a read-out for each depth, as early exits have, that begins as the
    task head. The offset of a sequence's first token (no answer, in span QA) counts in proportion to the share of
    the text that was skipped. So a text of which nothing is skipped has the unreduced model's logits.

    Args:
        num_reductions: T.
        num_logits: Logits of a token (2 in span QA).
        hidden_size: d, of the encoder.

    Attributes:
        offsets: ``(T + 1, num_logits)`` float32, zero at the start. Row t < T is added to tokens that
            stopped at reduction t, row T to first tokens.
        weights: ``(T, num_logits, d)`` float32, zero at the start.

    Example:
        >>> exit_offsets = ExitOffsets(num_reductions=1, num_logits=2, hidden_size=4)
        >>> _ = exit_offsets.offsets.data.copy_(torch.tensor([[-4.0, -3.0], [-1.0, -1.0]]))
        >>> layout, states = Layout.from_lengths([4], [1]), torch.zeros(4, 4)
        >>> exit_offsets.shift(states, torch.tensor([1, 0, 1, 0]), layout).tolist()
        [[-0.5, -0.5], [-4.0, -3.0], [0.0, 0.0], [-4.0, -3.0]]
    """

    def __init__(self, num_reductions: int, num_logits: int, hidden_size: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(num_reductions + 1, num_logits))
        self.weights = nn.Parameter(torch.zeros(num_reductions, num_logits, hidden_size))

    @property
    def num_reductions(self) -> int:
        """T."""
        return len(self.offsets) - 1

    @property
    def num_logits(self) -> int:
        """Logits of a row of the task head: a token, or a sequence."""
        return self.offsets.shape[1]

    def learning_rates(self, rate: float) -> list[tuple[nn.Parameter, float]]:
        """Return each parameter with its learning rate, for a rate of the offsets.

        Normalised states have norm sqrt(d), and Adam moves each weight alike: their rate is less by that much.
        """
        return [(self.offsets, rate), (self.weights, rate / math.sqrt(self.weights.shape[-1]))]

    def shift(self, states: Tensor, stops: Tensor, layout: Layout) -> Tensor:
        """Return what to add to the logits, in their rows and float32; gradients reach parameters and states.

        Args:
            states: ``(total_tokens, d)`` last states, of any float type, in text order.
            stops: ``(total_tokens,)`` int64, the reduction that each token stopped at, T where it went to
                the end; in text order.
            layout: Layout of the full texts.
        """
        offsets = self.offsets.float()
        skipped = (stops < self.num_reductions).float()
        none = torch.zeros(layout.num_texts, dtype=torch.float32, device=stops.device)
        per_text = none.index_add(0, layout.text_index, skipped)
        share = per_text / layout.text_lengths
        # Not by an index: its gradient would add up all tokens to a few rows, one after the other on a GPU.
        reductions = torch.arange(self.num_reductions, device=stops.device)
        of_stops = ((stops[:, None] == reductions)[..., None] * (offsets[:-1] + self._read(states))).sum(1)
        of_first = (layout.first_tokens * share[layout.text_index])[:, None] * offsets[-1]
        return of_stops + of_first

    def of_stopped(self, states: Tensor, reduction: int) -> Tensor:
        """Return what is added to the logits of tokens that stop at one reduction, ``(..., num_logits)`` float32.

        Args:
            states: ``(..., d)`` states that they stop with.
            reduction: 0-based.
        """
        return self.offsets[reduction].float() + self._read(states)[..., reduction, :]

    def _read(self, states: Tensor) -> Tensor:
        """``(..., T, num_logits)`` float32: each depth's read-out of every state."""
        with torch.autocast(states.device.type, enabled=False):
            read: Tensor = nn.functional.linear(self._normalised(states), self.weights.float().flatten(0, 1))
        # Not by the number of tokens, which a traced graph leaves free.
        by_depth: Tensor = read.unflatten(-1, self.weights.shape[:2])
        return by_depth

    def _normalised(self, states: Tensor) -> Tensor:
        # By the weights' size: that of traced states is free.
        return nn.functional.layer_norm(states.float(), self.weights.shape[-1:])


class PooledExitOffsets(ExitOffsets):
    """Offsets on the logits of a sequence whose first token alone is read: the mean of what its tokens had to say.

    A sequence of n tokens has ``1/n sum over its stopped tokens (offsets[t] + weights[t] LayerNorm(h) + offsets[T])``
    added to its logits, with t and h of each token. So a sequence of which nothing is skipped has the unreduced
    model's logits, and one that loses much is read more from what it lost. A mean over tokens is small beside a token's
    own numbers, so that these parameters learn :attr:`RATE` times as fast.

    Example:
        >>> exit_offsets = PooledExitOffsets(num_reductions=1, num_logits=2, hidden_size=4)
        >>> _ = exit_offsets.offsets.data.copy_(torch.tensor([[-4.0, -3.0], [-1.0, -1.0]]))
        >>> layout, states = Layout.from_lengths([4], [1]), torch.zeros(4, 4)
        >>> exit_offsets.shift(states, torch.tensor([1, 0, 1, 0]), layout).tolist()
        [[-2.5, -2.0]]
    """

    RATE: ClassVar[float] = 4.0

    def learning_rates(self, rate: float) -> list[tuple[nn.Parameter, float]]:
        """See :meth:`ExitOffsets.learning_rates`."""
        return super().learning_rates(self.RATE * rate)

    def shift(self, states: Tensor, stops: Tensor, layout: Layout) -> Tensor:
        """See :meth:`ExitOffsets.shift`; rows are sequences, and tokens that did not stop are not read."""
        lengths, kinds = layout.sequence_lengths.to(stops.device), self.num_reductions
        stopped = (stops < kinds).nonzero().squeeze(1)
        # One bin a sequence and reduction: it is pooled first, then read.
        bins = (torch.repeat_interleave(lengths) * kinds + stops).index_select(0, stopped)
        count = len(lengths) * kinds
        with torch.autocast(states.device.type, enabled=False):
            normalised = self._normalised(states.index_select(0, stopped))
            sums = normalised.new_zeros(count, states.shape[-1]).index_add(0, bins, normalised)
            pooled = sums.view(len(lengths), -1) / lengths[:, None]
            read = pooled @ self.weights.float().transpose(1, 2).flatten(0, 1)
        shares = torch.bincount(bins, minlength=count).view(-1, kinds) / lengths[:, None]
        offsets = self.offsets.float()
        return read + shares @ (offsets[:-1] + offsets[-1])

    def of_stopped(self, states: Tensor, reduction: int) -> Tensor:
        """See :meth:`ExitOffsets.of_stopped`; a sequence of n tokens has one n-th of it added for each."""
        return super().of_stopped(states, reduction) + self.offsets[-1].float()


def make_exit_offsets(
    reads: Literal["tokens", "first_tokens"], num_reductions: int, num_logits: int, hidden_size: int
) -> ExitOffsets:
    """Make the exit offsets for what a task head reads.

    Args:
        reads: Input of the head; see :class:`~trbert_env.tasks.base.Task`.
        num_reductions: T.
        num_logits: Logits of a row.
        hidden_size: d, of the encoder.
    """
    kind = ExitOffsets if reads == "tokens" else PooledExitOffsets
    return kind(num_reductions, num_logits, hidden_size)
