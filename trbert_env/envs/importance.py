"""Token importance that sees the gold answer: the residual strategy of the paper, section 3.3."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from trbert_env.encoder.cuts import layers_before
from trbert_env.encoder.packing import PackedTokens
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch
from trbert_env.staged_model import StagedModel


def residual_importance(staged: StagedModel, batch: TextBatch, targets: Tensor) -> Tensor:
    """``|dLoss/dH_r . (H_r - H_l)|`` of every token, for each reduction.

    H_l are the states that enter the reduction, r = ceil(3L/4), but before the last layer, and the loss is that of the
    gold answer, one text at a time. To first order it is how much the loss would change if the token
    stopped at l instead of r. Of a reduction that lies at r or behind it, of which the paper says nothing, r is
    where it lies, and l where the reduction before it lies, or the embeddings.

    Args:
        staged: The fine-tuned model.
        batch: The texts.
        targets: ``(num_texts, target_size)`` gold answers.

    Returns:
        ``(T, total_tokens)`` float32, packed like ``batch``.

    Raises:
        ValueError: The likelihood does not follow from the encoder's states, as in a toy.
    """
    encoder, task = staged.encoder, staged.task
    spans = _spans(encoder)
    depths = {depth for span in spans for depth in span}
    states: dict[float, Tensor] = {}
    first = min(pivot for _, pivot in spans)
    with torch.no_grad():
        tokens = _run_recording(encoder, encoder.embed(batch), 0, first, depths, states)
    with torch.enable_grad():
        tokens = PackedTokens(tokens.states.detach().requires_grad_(), tokens.layout)
        tokens = _run_recording(encoder, tokens, first, encoder.num_layers, depths, states)
        logits = task.logits(staged.model, encoder.finish(tokens.states), batch.layout)
        # Texts do not see each other, so the gradient of the sum is each text's own.
        loss = -task.log_likelihood(logits, batch.layout, targets).sum()
        if not loss.requires_grad:
            raise ValueError(
                "info_scores 'residual' is the gradient of the answer's likelihood, and that of "
                f"{type(task).__name__} does not follow from states: leave it out, or take 'attention'"
            )
        pivots = sorted({pivot for _, pivot in spans})
        gradients = dict(zip(pivots, torch.autograd.grad(loss, [states[pivot] for pivot in pivots]), strict=True))

    def score(stopped: float, pivot: float) -> Tensor:
        residual = states[pivot].detach().float() - states[stopped].detach().float()
        return (gradients[pivot].float() * residual).sum(-1).abs()

    return torch.stack([score(*span) for span in spans])


def _spans(encoder: StagedEncoder) -> list[tuple[float, float]]:
    """The layers l and r of each reduction, as numbers of layers that have run."""
    # Behind the last layer the states of most tokens are nothing to a head that reads the first one.
    usual = max(1, min(math.ceil(3 * encoder.num_layers / 4), encoder.num_layers - 1))
    entering = [layers_before(cut) for cut in encoder.reduction_layers]
    return [(own, usual) if own < usual else (before, own) for before, own in itertools.pairwise((0, *entering))]


def _run_recording(
    encoder: StagedEncoder,
    tokens: PackedTokens,
    first: float,
    last: float,
    depths: set[float],
    found: dict[float, Tensor],
) -> PackedTokens:
    """Run what lies between two numbers of layers, noting the states at those of ``depths``, and at ``first``."""
    cuts = [first, *(depth for depth in sorted(depths) if first < depth < last), last]
    for start, end in itertools.pairwise(cuts):
        found[start] = tokens.states
        tokens = encoder.run_layers(tokens, start, end)
    return tokens
