"""MPNet: BERT's layers with one bias of relative positions, which all layers add to their scores."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from trbert_env.encoder.families.base import Family
from trbert_env.encoder.sequences import PackedSequences, PositionBias
from trbert_env.encoder.sublayers import AttentionParts


class MPNet(Family):
    """MPNet; kept tokens have the bias of where they stood."""

    reads_token_types = False
    attention_interface = False
    reads_positions = True
    projections = None  # the bias of each head would have to be sorted with it

    def embed(self, base: Any, input_ids: Tensor, token_types: Tensor, positions: Tensor) -> Tensor:
        """Return embeddings; see :meth:`Family.embed`."""
        return cast(Tensor, base.embeddings(input_ids=input_ids, position_ids=positions))

    def prepare(self, base: Any, states: Tensor, packed: PackedSequences) -> PositionBias:
        """Return the bias of every pair of tokens of each sequence, ``(heads, n, n)``."""
        distances = packed.distances()
        table = base.encoder.relative_attention_bias(base.encoder.relative_position_bucket(distances))
        return PositionBias.from_table(table.t(), packed)

    def attention_parts(self, layer: Any) -> AttentionParts:
        """Return the parts of the first half; see :meth:`Family.attention_parts`."""
        own, outer = layer.attention.attn, layer.attention
        return AttentionParts(own.q, own.k, own.v, own.o, outer.LayerNorm, own.attention_head_size, outer.dropout.p)

    def masked_token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of its head; see :meth:`Family.masked_token_head`."""
        return cast(Tensor, model.lm_head(states))

    def first_token_head(self, model: Any, first: Tensor) -> Tensor:
        """Return the logits of its classification head; multiple choice has a pooler."""
        if getattr(model.base_model, "pooler", None) is not None:
            return super().first_token_head(model, first)
        return cast(Tensor, model.classifier(first[:, None]))
