"""Distillation on plain texts: a student of some of an encoder's layers (DistilBERT, Sanh et al. 2019, section 3).

The loss is a weighted sum of the divergence from the teacher's distribution at the masked tokens, of the masked tokens'
own loss, and of one minus the cosine between the last states of student and teacher, over all tokens. The released code
takes the first at all tokens by default; masked ones alone (an option there) cost a seventh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div
from transformers import PreTrainedModel

from runners.training.masking import MaskedBatch
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.ranges import Items, Range
from trbert_env.tasks.heads import masked_token_logits


@dataclass(frozen=True)
class StudentOptions:
    """A student of some layers, taught by the encoder; with --layers."""

    layers: Annotated[tuple[Annotated[int, Range(1)], ...], Items(1, order="rising")] | None = None
    """Layers of the encoder that a student keeps, counted from 1, as 1 3 6; by default the encoder itself learns."""

    soft_target_weight: Annotated[float, Range(0)] = 5.0
    """Weight of the divergence from the teacher's distribution at masked tokens."""

    mlm_weight: Annotated[float, Range(0)] = 2.0
    """Weight of the loss of the masked tokens themselves."""

    cosine_weight: Annotated[float, Range(0)] = 1.0
    """Weight of one minus the cosine between last states of student and teacher."""

    temperature: Annotated[float, Range(above=0)] = 2.0
    """Temperature of both distributions."""


class LanguageTeacher:
    """A frozen masked-language model that teaches a student.

    Args:
        model: The teacher, with a trained masked-language-model head.
        options: Weights of the loss.
    """

    def __init__(self, model: PreTrainedModel, options: StudentOptions) -> None:
        self._model, self._options = model.eval().requires_grad_(False), options
        self._encoder = StagedEncoder(model)

    def loss(self, logits: Tensor, states: Tensor, batch: MaskedBatch, share: float) -> Tensor:
        """Return the loss of a student, summed over the masked tokens, nats.

        Args:
            logits: ``(num_masked, vocabulary)`` float32, the student's.
            states: ``(total_tokens, hidden)``, the student's last states.
            batch: The masked texts.
            share: Masked tokens for each token of the step, by which sums over all tokens are scaled.
        """
        options = self._options
        with torch.no_grad():
            taught = self._encoder.run_unreduced(batch.texts).states
            targets = masked_token_logits(self._model, taught.index_select(0, batch.places))
        soft = _divergence(logits, targets, options.temperature)
        own = cross_entropy(logits, batch.tokens, reduction="sum")
        turned = share * (1.0 - cosine_similarity(states.float(), taught.float(), dim=-1)).sum()
        return options.soft_target_weight * soft + options.mlm_weight * own + options.cosine_weight * turned


def _divergence(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) at a temperature, times its square, summed over the rows."""
    student, teacher = (values.div(temperature).log_softmax(-1) for values in (logits, targets))
    return kl_div(student, teacher, reduction="sum", log_target=True) * temperature**2


def check_layers(layers: Sequence[int], depth: int) -> None:
    """Refuse layers that the encoder does not have, or all of them.

    Args:
        layers: Layers of the student, counted from 1.
        depth: Layers of the encoder.

    Raises:
        ValueError: The message names the option.
    """
    if layers[-1] > depth:
        raise ValueError(
            f"--layers names layer {layers[-1]}, and the encoder has {depth} layers: name layers from 1 to {depth}"
        )
    if len(layers) == depth:
        raise ValueError(
            f"--layers names all {depth} layers of the encoder: a student has fewer; leave one out at least"
        )
