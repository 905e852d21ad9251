"""Layers one by one, with the states behind each."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch


def run_with_states(encoder: StagedEncoder, batch: TextBatch, layers: Sequence[int] | None = None) -> list[Tensor]:
    """Return the states behind the embeddings and behind each layer, ``(total_tokens, hidden)`` each.

    Args:
        encoder: The encoder.
        batch: The texts.
        layers: Layers that run, counted from 0; None for all of them.
    """
    tokens = encoder.embed(batch)
    states = [tokens.states]
    for index in range(encoder.num_layers) if layers is None else layers:
        tokens = encoder.run_layers(tokens, index, index + 1)
        states.append(tokens.states)
    return states
