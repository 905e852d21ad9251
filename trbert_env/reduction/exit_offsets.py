"""ExitOffsets of the task's logits, by how deep each token went.

The task head was made for states of the last layer. It reads states that stopped earlier too, and
gives them logits near 0 where finished ones of no importance have about -4: they crowd the softmax,
and what is left of a text abstains too often. A few learned offsets mend both. They are part of the
model, so that what is rewarded, measured and shipped is one thing; nothing in here learns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trbert_env.encoder.packing import Layout


class ExitOffsets(nn.Module):
    """Offsets on the logits of every token: one for each reduction that it may have stopped at, one for [CLS].

    The offset of a sequence's first token (no answer, in span QA) counts in proportion to the share of
    the text that was skipped. So a text of which nothing is skipped has the unreduced model's logits.

    Args:
        num_reductions: T.
        token_logits: Logits of a token (2 in span QA).

    Attributes:
        offsets: ``(T + 1, token_logits)`` float32, zero at the start. Row t < T is added to tokens that
            stopped at reduction t, row T to first tokens.

    Example:
        >>> exit_offsets = ExitOffsets(num_reductions=1, token_logits=2)
        >>> _ = exit_offsets.offsets.data.copy_(torch.tensor([[-4.0, -3.0], [-1.0, -1.0]]))
        >>> layout = Layout.from_lengths([4], [1])
        >>> exit_offsets.shift(torch.tensor([1, 0, 1, 0]), layout).tolist()
        [[-0.5, -0.5], [-4.0, -3.0], [0.0, 0.0], [-4.0, -3.0]]
    """

    def __init__(self, num_reductions: int, token_logits: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(num_reductions + 1, token_logits))

    @property
    def num_reductions(self) -> int:
        """T."""
        return len(self.offsets) - 1

    def shift(self, stops: Tensor, layout: Layout) -> Tensor:
        """What to add to the logits, ``(total_tokens, token_logits)`` float32; gradients reach the offsets.

        Args:
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
        of_stops = ((stops[:, None] == reductions)[..., None] * offsets[:-1]).sum(1)
        of_first = (layout.first_tokens * share[layout.text_index])[:, None] * offsets[-1]
        return of_stops + of_first
