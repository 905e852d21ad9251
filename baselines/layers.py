"""Layers one by one, with the states behind each."""

from __future__ import annotations

from torch import Tensor

from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch


def run_with_states(encoder: StagedEncoder, batch: TextBatch) -> list[Tensor]:
    """Return the states of all tokens behind the embeddings and behind each layer, ``(total_tokens, hidden)`` each.

    Args:
        encoder: The encoder.
        batch: The texts.
    """
    tokens = encoder.embed(batch)
    states = [tokens.states]
    for index in range(encoder.num_layers):
        tokens = encoder.run_layers(tokens, index, index + 1, all_states=True)
        states.append(tokens.states)
    return states
