"""Token importance that sees the gold answer: the residual strategy of the paper, section 3.3."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from trbert_env.encoder.packing import PackedTokens
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch
from trbert_env.staged_model import StagedModel


def residual_importance(staged: StagedModel, batch: TextBatch, targets: Tensor) -> Tensor:
    """``|dLoss/dH_r . (H_r - H_l)|`` of every token, for each reduction.

    H_l are the states that enter the reduction, r = ceil(3L/4), and the loss is that of the gold
    answer, one text at a time. To first order it is how much the loss would change if the token
    stopped at l instead of r.

    Args:
        staged: The fine-tuned model.
        batch: The texts.
        targets: ``(num_texts, target_size)`` gold answers.

    Returns:
        ``(T, total_tokens)`` float32, packed like ``batch``.
    """
    encoder, task = staged.encoder, staged.task
    pivot = math.ceil(3 * encoder.num_layers / 4)
    wanted = [layer - 1 for layer in encoder.reduction_layers]
    entering: dict[int, Tensor] = {}
    with torch.no_grad():
        tokens = _run_recording(encoder, encoder.embed(batch), 0, pivot, wanted, entering)
    with torch.enable_grad():
        pivot_states = tokens.states.detach().requires_grad_()
        tokens = PackedTokens(pivot_states, tokens.layout)
        tokens = _run_recording(encoder, tokens, pivot, encoder.num_layers, wanted, entering)
        logits = task.logits(staged.model, encoder.finish(tokens.states), batch.layout)
        # Texts do not see each other, so the gradient of the sum is each text's own.
        loss = -task.log_likelihood(logits, batch.layout, targets).sum()
        (gradient,) = torch.autograd.grad(loss, pivot_states)
    residuals = [pivot_states.detach() - entering[layer].detach() for layer in wanted]
    return torch.stack([(gradient.float() * residual.float()).sum(-1).abs() for residual in residuals])


def _run_recording(
    encoder: StagedEncoder,
    tokens: PackedTokens,
    first: int,
    last: int,
    wanted: list[int],
    found: dict[int, Tensor],
) -> PackedTokens:
    """Run layers ``first..last - 1``, noting the states that enter the wanted ones."""
    cuts = [first, *(layer for layer in wanted if first < layer < last), last]
    for start, end in itertools.pairwise(cuts):
        found.setdefault(start, tokens.states)
        tokens = encoder.run_layers(tokens, start, end)
    return tokens
