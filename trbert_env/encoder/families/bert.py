"""BERT and the families that are built of its layers: ELECTRA, RoBERTa, XLM-RoBERTa and CamemBERT."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from trbert_env.encoder.families.base import Family


class Bert(Family):
    """BERT."""


class Electra(Family):
    """ELECTRA: embeddings may be narrower than the layers, and heads are its own."""

    def embed(self, base: Any, input_ids: Tensor, token_types: Tensor, positions: Tensor) -> Tensor:
        """Return embeddings, projected where they are narrower; see :meth:`Family.embed`."""
        states = super().embed(base, input_ids, token_types, positions)
        return cast(Tensor, base.embeddings_project(states)) if hasattr(base, "embeddings_project") else states

    def masked_token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of the generator; see :meth:`Family.masked_token_head`."""
        return cast(Tensor, model.generator_lm_head(model.generator_predictions(states)))

    def first_token_head(self, model: Any, first: Tensor) -> Tensor:
        """Return the logits of its classification head, or of the summary for multiple choice."""
        summary = getattr(model, "sequence_summary", None)
        return cast(Tensor, model.classifier(first[:, None] if summary is None else summary(first[:, None])))


class Roberta(Family):
    """RoBERTa, XLM-RoBERTa and CamemBERT: positions begin behind the padding id."""

    counts_from_padding = True

    def masked_token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of its head; see :meth:`Family.masked_token_head`."""
        return cast(Tensor, model.lm_head(states))

    def first_token_head(self, model: Any, first: Tensor) -> Tensor:
        """Return the logits of its classification head; multiple choice has a pooler."""
        if getattr(model.base_model, "pooler", None) is not None:
            return super().first_token_head(model, first)
        return cast(Tensor, model.classifier(first[:, None]))
