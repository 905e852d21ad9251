"""ExitOffsets of the task's logits, by how deep each token went and what its state says there.

A task head that reads tokens was made for states of the last layer. It reads states that stopped earlier too, and
gives them logits near 0 where finished ones of no importance have about -4: they crowd the softmax,
and what is left of a text abstains too often. Learned offsets mend both, and read from the state of a
stopped token whether it is the answer, which early layers often tell. A head that reads first tokens sees nothing of
what stopped; offsets tell it what those states say on average. They are part of the
model, so that what is rewarded, measured and shipped is one thing; nothing in here learns.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trbert_env.encoder.packing import Layout


class ExitOffsets(nn.Module):
    """Offsets on the task's logits, affine in the states of the tokens that stopped.

    A token that stopped at reduction t with the state h gives ``offsets[t] + weights[t] LayerNorm(h)`` (the norm
    without parameters). Where the head reads every token, this is added to the token's own logits: a read-out for each
    depth, as early exits have, that begins as the task head. The offset of a sequence's first token (no answer, in
    span QA) then counts in proportion to the share of the text that was skipped. Where the head reads first tokens
    (``pooled``), the logits of a sequence get the sum over its stopped tokens, divided by its length.
    A text of which nothing is skipped has the unreduced model's logits either way.

    Args:
        num_reductions: T.
        num_logits: Logits of a token, or of a sequence (2 in span QA).
        hidden_size: d, of the encoder.
        pooled: Whether logits are those of sequences.

    Attributes:
        offsets: ``(T + 1, num_logits)`` float32, zero at the start, ``(T, num_logits)`` where ``pooled``. Row t < T is
            of tokens that stopped at reduction t, row T of first tokens.
        weights: ``(T, num_logits, d)`` float32, zero at the start.
        pooled: As given.

    Example:
        >>> layout, states, stops = Layout.from_lengths([4], [1]), torch.zeros(4, 8), torch.tensor([1, 0, 1, 0])
        >>> of_tokens = ExitOffsets(num_reductions=1, num_logits=2, hidden_size=8)
        >>> _ = of_tokens.offsets.data.copy_(torch.tensor([[-4.0, -3.0], [-1.0, -1.0]]))
        >>> of_tokens.shift(states, stops, layout).tolist()
        [[-0.5, -0.5], [-4.0, -3.0], [0.0, 0.0], [-4.0, -3.0]]
        >>> of_classes = ExitOffsets(num_reductions=1, num_logits=3, hidden_size=8, pooled=True)
        >>> _ = of_classes.offsets.data.copy_(torch.tensor([[1.0, 0.0, -3.0]]))
        >>> of_classes.shift(states, stops, layout).tolist()
        [[0.5, 0.0, -1.5]]
    """

    def __init__(self, num_reductions: int, num_logits: int, hidden_size: int, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.offsets = nn.Parameter(torch.zeros(num_reductions + (not pooled), num_logits))
        self.weights = nn.Parameter(torch.zeros(num_reductions, num_logits, hidden_size))

    @property
    def num_reductions(self) -> int:
        """T."""
        return len(self.weights)

    def learning_rates(self, rate: float) -> list[tuple[nn.Parameter, float]]:
        """Return each parameter with its learning rate, for a rate of the offsets.

        Normalised states have norm sqrt(d), and Adam moves each weight alike: their rate is less by that much.
        """
        return [(self.offsets, rate), (self.weights, rate / math.sqrt(self.weights.shape[-1]))]

    def shift(self, states: Tensor, stops: Tensor, layout: Layout) -> Tensor:
        """What to add to the logits, float32; gradients reach parameters and states.

        Args:
            states: ``(total_tokens, d)`` last states, of any float type, in text order.
            stops: ``(total_tokens,)`` int64, the reduction that each token stopped at, T where it went to
                the end; in text order.
            layout: Layout of the full texts.

        Returns:
            ``(total_tokens, num_logits)``, or ``(num_sequences, num_logits)`` where ``pooled``.
        """
        of_stops = self._of_stops(states, stops)
        if self.pooled:
            lengths = layout.sequence_lengths.to(stops.device)
            sequence = torch.repeat_interleave(lengths, output_size=layout.total_tokens)
            sums = torch.zeros(len(lengths), of_stops.shape[1], device=stops.device).index_add(0, sequence, of_stops)
            return sums / lengths[:, None]
        skipped = (stops < self.num_reductions).float()
        per_text = torch.zeros(layout.num_texts, device=stops.device).index_add(0, layout.text_index, skipped)
        share = per_text / layout.text_lengths
        return of_stops + (layout.first_tokens * share[layout.text_index])[:, None] * self.offsets[-1].float()

    def _of_stops(self, states: Tensor, stops: Tensor) -> Tensor:
        """``(total_tokens, num_logits)`` float32: what each stopped token gives, 0 of the others."""
        with torch.autocast(states.device.type, enabled=False):
            normalised = nn.functional.layer_norm(states.float(), states.shape[-1:])
            read = normalised @ self.weights.float().flatten(0, 1).T
        read = read.view(len(states), *self.weights.shape[:2]) + self.offsets[: self.num_reductions].float()
        # Not by an index: its gradient would add up all tokens to a few rows, one after the other on a GPU.
        reductions = torch.arange(self.num_reductions, device=stops.device)
        return ((stops[:, None] == reductions)[..., None] * read).sum(1)
