"""DistilBERT: BERT's layers under other names, without token types."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor
from torch.nn.functional import relu

from trbert_env.encoder.families.base import Family
from trbert_env.encoder.sublayers import AttentionParts, FeedForwardParts


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

    def attention_parts(self, layer: Any) -> AttentionParts:
        """Return the parts of the first half, which has no dropout; see :meth:`Family.attention_parts`."""
        own = layer.attention
        projections = (own.q_lin, own.k_lin, own.v_lin, own.out_lin)
        return AttentionParts(*projections, layer.sa_layer_norm, own.attention_head_size, 0.0)

    def feed_forward_parts(self, layer: Any) -> FeedForwardParts:
        """Return the parts of the second half; see :meth:`Family.feed_forward_parts`."""
        own = layer.ffn
        return FeedForwardParts(own.lin1, own.activation, own.lin2, layer.output_layer_norm, own.dropout.p)

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
