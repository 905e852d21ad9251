"""A text as the agent reduces it: where each token stops, for TensorBoard's text pane, tables and pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from agents.base import Actor
from trbert_env.encoder.cuts import layers_before
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.envs.episode import Episode
from trbert_env.envs.rendering import render_stops
from trbert_env.staged_model import StagedModel


def text_sample(
    actor: Actor,
    staged: StagedModel,
    text: EncodedText,
    tokenizer: PreTrainedTokenizerBase,
    width: int,
) -> str:
    """Play one text as in evaluation; Markdown with the tokens that went on in bold, the others struck out.

    Args:
        actor: Actor whose masks are shown; it computes on the model's device.
        staged: Model that runs the text.
        text: Text that is played.
        tokenizer: Tokenizer that turns ids into tokens.
        width: Tokens that an observation is padded to, where it is.
    """
    return render_stops(tokens_of(text, tokenizer), stops_of(actor, staged, text, width), staged.num_reductions)


def tokens_of(text: EncodedText, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the tokens of a text.

    Args:
        text: The text.
        tokenizer: Tokenizer that turns ids into tokens.
    """
    return list(tokenizer.convert_ids_to_tokens(text.input_ids.tolist()))


@dataclass(frozen=True)
class PlayedText:
    """One text, reduced.

    Attributes:
        stops: Reduction that each token stopped at, the number of reductions where it ran to the end.
        logits: Logits of the task, exit offsets included.
        full_flops: FLOPs of all layers on all tokens.
        reduced_flops: FLOPs of the reduced pass.
    """

    stops: list[int]
    logits: Tensor
    full_flops: float
    reduced_flops: float


def play_text(actor: Actor, staged: StagedModel, text: EncodedText, width: int) -> PlayedText:
    """Reduce a text as in evaluation.

    Args:
        actor: Actor that chooses the tokens; it computes on the model's device.
        staged: Model that runs the text.
        text: Text that is played.
        width: Tokens that an observation is padded to, where it is.
    """
    episode = Episode(staged, [text], 1, actor.info_scores == "attention")
    while not episode.forward.done:
        episode.replay(actor.act(episode.observation(width, episode.scores(actor.info_scores)), deterministic=True))
    with torch.no_grad():
        logits, stops = staged.read(episode.forward)
    layouts, cost = episode.forward.layouts, staged.cost
    return PlayedText(stops.tolist(), logits, float(cost.full(layouts[0])), float(cost.reduced(layouts)))


def stops_of(actor: Actor, staged: StagedModel, text: EncodedText, width: int) -> list[int]:
    """Return the reduction that each token of a text stops at; see :func:`play_text`."""
    return play_text(actor, staged, text, width).stops


def last_layers(encoder: StagedEncoder) -> tuple[int, ...]:
    """Return the layer, counted from 1, that made the last state of tokens that stop at each reduction, or at none.

    Of tokens that stop within a layer, it is that layer.
    """
    return (*(math.ceil(layers_before(cut)) for cut in encoder.reduction_layers), encoder.num_layers)


def layers_of(encoder: StagedEncoder, stops: Sequence[int]) -> list[int]:
    """Return the layer that made each token's last state.

    Args:
        encoder: Encoder that the text ran through.
        stops: Reduction that each token stopped at.
    """
    ends = last_layers(encoder)
    return [ends[stop] for stop in stops]
