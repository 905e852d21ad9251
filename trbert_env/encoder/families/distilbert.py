"""DistilBERT: BERT's layers under other names, without token types."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor
from torch.nn.functional import relu

from trbert_env.encoder.attention import PackedSequences
from trbert_env.encoder.families.base import Family


class DistilBert(Family):
    """DistilBERT; its attention module has neither residual connection nor norm."""

    layers = "transformer.layer"
    depth = "n_layers"
    feed_forward = "hidden_dim"
    reads_token_types = False
    projections = (
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "ffn.lin1",
        "ffn.lin2",
    )

    def embed(self, base: Any, input_ids: Tensor, token_types: Tensor, positions: Tensor) -> Tensor:
        """Return embeddings; see :meth:`Family.embed`."""
        return cast(Tensor, base.embeddings(input_ids=input_ids, position_ids=positions))

    def attention_half(self, layer: Any, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        """Run attention, residual connection and norm; see :meth:`Family.attention_half`."""
        attended = super().attention_half(layer, states, packed, shared)
        return cast(Tensor, layer.sa_layer_norm(attended + states))

    def feed_forward_half(self, layer: Any, states: Tensor) -> Tensor:
        """Run feed-forward network, residual connection and norm; see :meth:`Family.feed_forward_half`."""
        return cast(Tensor, layer.output_layer_norm(layer.ffn(states) + states))

    def span_head(self, model: Any, states: Tensor) -> Tensor:
        """Return start and end logits; it has dropout in front of them."""
        return cast(Tensor, model.qa_outputs(model.dropout(states)))

    def masked_token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of its head; see :meth:`Family.masked_token_head`."""
        states = model.vocab_layer_norm(model.activation(model.vocab_transform(states)))
        return cast(Tensor, model.vocab_projector(states))

    def first_token_head(self, model: Any, first: Tensor) -> Tensor:
        """Return the logits of its classifier, which takes the place of a pooler."""
        return cast(Tensor, model.classifier(model.dropout(relu(model.pre_classifier(first)))))
