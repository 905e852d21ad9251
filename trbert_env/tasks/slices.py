"""Slices: consecutive windows of a long text, as the sequences of one text."""

from __future__ import annotations

import torch
from torch import Tensor

from trbert_env.encoder.packing import Layout


def max_over_sequences(logits: Tensor, layout: Layout) -> Tensor:
    """Return the greatest of each logit over the sequences of a text, ``(num_texts, num_logits)``.

    Args:
        logits: ``(num_sequences, num_logits)``.
        layout: The layout of the texts.

    Example:
        >>> layout = Layout.from_lengths([3, 2, 4], [2, 1])
        >>> max_over_sequences(torch.tensor([[1.0, -2.0], [0.5, 3.0], [7.0, 8.0]]), layout).tolist()
        [[1.0, 3.0], [7.0, 8.0]]
    """
    if layout.num_texts == len(logits):
        return logits
    text = torch.repeat_interleave(layout.sequences_per_text).to(logits.device)
    least = logits.new_full((layout.num_texts, logits.shape[1]), -torch.inf)
    return least.scatter_reduce(0, text[:, None].expand_as(logits), logits, "amax")
