"""ExitOffsets of the task's logits, by how deep each token went and what its state says there.

The task head was made for states of the last layer. It reads states that stopped earlier too, and
gives them logits near 0 where finished ones of no importance have about -4: they crowd the softmax,
and what is left of a text abstains too often. Learned offsets mend both, and read from the state of a
stopped token whether it is the answer, which early layers often tell. They are part of the
model, so that what is rewarded, measured and shipped is one thing; nothing in here learns.
"""

from __future__ import annotations

import math

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
        token_logits: Logits of a token (2 in span QA).
        hidden_size: d, of the encoder.

    Attributes:
        offsets: ``(T + 1, token_logits)`` float32, zero at the start. Row t < T is added to tokens that
            stopped at reduction t, row T to first tokens.
        weights: ``(T, token_logits, d)`` float32, zero at the start.

    Example:
        >>> exit_offsets = ExitOffsets(num_reductions=1, token_logits=2, hidden_size=4)
        >>> _ = exit_offsets.offsets.data.copy_(torch.tensor([[-4.0, -3.0], [-1.0, -1.0]]))
        >>> layout, states = Layout.from_lengths([4], [1]), torch.zeros(4, 4)
        >>> exit_offsets.shift(states, torch.tensor([1, 0, 1, 0]), layout).tolist()
        [[-0.5, -0.5], [-4.0, -3.0], [0.0, 0.0], [-4.0, -3.0]]
    """

    def __init__(self, num_reductions: int, token_logits: int, hidden_size: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(num_reductions + 1, token_logits))
        self.weights = nn.Parameter(torch.zeros(num_reductions, token_logits, hidden_size))

    @property
    def num_reductions(self) -> int:
        """T."""
        return len(self.offsets) - 1

    @property
    def token_logits(self) -> int:
        """Logits of a token."""
        return self.offsets.shape[1]

    def learning_rates(self, rate: float) -> list[tuple[nn.Parameter, float]]:
        """Return each parameter with its learning rate, for a rate of the offsets.

        Normalised states have norm sqrt(d), and Adam moves each weight alike: their rate is less by that much.
        """
        return [(self.offsets, rate), (self.weights, rate / math.sqrt(self.weights.shape[-1]))]

    def shift(self, states: Tensor, stops: Tensor, layout: Layout) -> Tensor:
        """What to add to the logits, ``(total_tokens, token_logits)`` float32; gradients reach parameters and states.

        Args:
            states: ``(total_tokens, d)`` last states, of any float type, in text order.
            stops: ``(total_tokens,)`` int64, the reduction that each token stopped at, T where it went to
                the end; in text order.
            layout: Layout of the full texts.
        """
        offsets = self.offsets.float()
        skipped = (stops < self.num_reductions).float()
        per_text = torch.zeros(layout.num_texts, device=stops.device).index_add(0, layout.text_index, skipped)
        share = per_text / layout.text_lengths
        # Not by an index: its gradient would add up all tokens to a few rows, one after the other on a GPU.
        reductions = torch.arange(self.num_reductions, device=stops.device)
        of_stops = ((stops[:, None] == reductions)[..., None] * (offsets[:-1] + self._read(states))).sum(1)
        of_first = (layout.first_tokens * share[layout.text_index])[:, None] * offsets[-1]
        return of_stops + of_first

    def of_stopped(self, states: Tensor, reduction: int) -> Tensor:
        """What is added to the logits of tokens that stop at one reduction, ``(..., token_logits)`` float32.

        Args:
            states: ``(..., d)`` states that they stop with.
            reduction: 0-based.
        """
        return self.offsets[reduction].float() + self._read(states)[..., reduction, :]

    def _read(self, states: Tensor) -> Tensor:
        """``(..., T, token_logits)`` float32: each depth's read-out of every state."""
        with torch.autocast(states.device.type, enabled=False):
            normalised = nn.functional.layer_norm(states.float(), self.weights.shape[-1:])
            read = nn.functional.linear(normalised, self.weights.float().flatten(0, 1))
        # Not by the number of tokens, which a traced graph leaves free.
        by_depth: Tensor = read.unflatten(-1, self.weights.shape[:2])
        return by_depth
