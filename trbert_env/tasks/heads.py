"""Task heads of stock models, applied to packed states."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.encoder.batching import by_rows
from trbert_env.encoder.families import family_of
from trbert_env.encoder.packing import Layout


def span_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return start and end logits of every token, ``(total_tokens, 2)`` float32.

    Args:
        model: A stock question-answering model.
        states: ``(total_tokens, hidden)``.

    Raises:
        ValueError: The model has no question-answering head.
    """
    family = family_of(model.config)
    if getattr(model, family.span_module, None) is None:
        raise ValueError(
            f"{type(model).__name__} has no {family.span_module}: load it with AutoModelForQuestionAnswering"
        )
    return by_rows(partial(family.span_head, model), states).float()


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
    return family_of(model.config).sequence_head(model, states, layout).float()


def token_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return the logits of every token, ``(total_tokens, num_labels)`` float32.

    Args:
        model: A stock token-classification model.
        states: ``(total_tokens, hidden)``.

    Raises:
        ValueError: The model has no such head.
    """
    head: Any = getattr(model, "classifier", None)
    # A token classifier reads states by one layer, in whatever form; sequence classifiers have heads of their own.
    if not hasattr(head, "in_features"):
        raise ValueError(f"{type(model).__name__} classifies no tokens: load it with AutoModelForTokenClassification")
    return by_rows(partial(family_of(model.config).token_head, model), states).float()


def masked_token_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return what tokens a masked-language model puts in some places, ``(places, vocabulary)`` float32.

    Args:
        model: A stock masked-language model.
        states: Last states of these places, ``(places, hidden)``.
    """
    return family_of(model.config).masked_token_head(model, states).float()
