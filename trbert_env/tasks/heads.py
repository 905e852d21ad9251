"""Task heads of stock models, applied to packed states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn.functional import relu
from transformers import PreTrainedModel

from trbert_env.encoder.packing import Layout


def span_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return start and end logits of every token, ``(total_tokens, 2)`` float32.

    Args:
        model: A stock question-answering model.
        states: ``(total_tokens, hidden)``.

    Raises:
        ValueError: The model has no question-answering head.
    """
    head = getattr(model, "qa_outputs", None)
    if head is None:
        raise ValueError(f"{type(model).__name__} has no qa_outputs: load it with AutoModelForQuestionAnswering")
    # DistilBERT alone has dropout here; in evaluation mode it does nothing.
    dropout = getattr(model, "dropout", None)
    head_input = states if dropout is None else dropout(states)
    result: Tensor = head(head_input).float()
    return result


def first_token_logits(model: PreTrainedModel, states: Tensor, layout: Layout) -> Tensor:
    """Return the logits of each sequence's first token, ``(num_sequences, num_labels)`` float32.

    Args:
        model: A stock sequence-classification or multiple-choice model.
        states: ``(total_tokens, hidden)``.
        layout: The layout of the states.

    Raises:
        ValueError: The model has no such head.
    """
    if getattr(model, "classifier", None) is None:
        raise ValueError(
            f"{type(model).__name__} has no classifier: load it with AutoModelForSequenceClassification or "
            "AutoModelForMultipleChoice"
        )
    first = states.index_select(0, layout.sequence_starts.to(states.device))
    result: Tensor = _HEADS[model.config.model_type](model, first).float()
    return result


def token_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return the logits of every token, ``(total_tokens, num_labels)`` float32.

    Args:
        model: A stock token-classification model.
        states: ``(total_tokens, hidden)``.

    Raises:
        ValueError: The model has no such head.
    """
    dropout: Any = getattr(model, "dropout", None)
    head: Any = getattr(model, "classifier", None)
    # A token classifier reads states by one layer, in whatever form; sequence classifiers have heads of their own.
    if dropout is None or not hasattr(head, "in_features"):
        raise ValueError(f"{type(model).__name__} classifies no tokens: load it with AutoModelForTokenClassification")
    result: Tensor = head(dropout(states)).float()
    return result


def masked_token_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return what tokens a masked-language model puts in some places, ``(places, vocabulary)`` float32.

    Args:
        model: A stock masked-language model.
        states: Last states of these places, ``(places, hidden)``.
    """
    result: Tensor = _TOKEN_HEADS[model.config.model_type](model, states).float()
    return result


def _distilbert_tokens(model: Any, states: Tensor) -> Tensor:
    states = model.vocab_layer_norm(model.activation(model.vocab_transform(states)))
    return model.vocab_projector(states)  # type: ignore[no-any-return]


#: By family: how stock masked-language models come from last states to logits.
_TOKEN_HEADS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "bert": lambda model, states: model.cls(states),
    "distilbert": _distilbert_tokens,
    "electra": lambda model, states: model.generator_lm_head(model.generator_predictions(states)),
    "roberta": lambda model, states: model.lm_head(states),
}


def _pooled(model: Any, first: Tensor) -> Tensor:
    """Pooler, dropout and classifier: BERT, and RoBERTa's multiple choice."""
    pooled = model.base_model.pooler(first[:, None])
    return model.classifier(model.dropout(pooled))  # type: ignore[no-any-return]


def _distilbert(model: Any, first: Tensor) -> Tensor:
    return model.classifier(model.dropout(relu(model.pre_classifier(first))))  # type: ignore[no-any-return]


def _roberta(model: Any, first: Tensor) -> Tensor:
    if getattr(model.base_model, "pooler", None) is not None:
        return _pooled(model, first)
    return model.classifier(first[:, None])  # type: ignore[no-any-return]


def _electra(model: Any, first: Tensor) -> Tensor:
    summary = getattr(model, "sequence_summary", None)
    if summary is not None:  # multiple choice
        return model.classifier(summary(first[:, None]))  # type: ignore[no-any-return]
    return model.classifier(first[:, None])  # type: ignore[no-any-return]


#: By family: how stock models come from a first token's last state to logits.
_HEADS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "bert": _pooled,
    "distilbert": _distilbert,
    "electra": _electra,
    "roberta": _roberta,
}
