"""A text as the agent reduces it, for TensorBoard's text pane."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from agents.base import Actor
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


def stops_of(actor: Actor, staged: StagedModel, text: EncodedText, width: int) -> list[int]:
    """Return the reduction that each token of a text stops at, the number of reductions where it runs to the end.

    Args:
        actor: Actor that chooses the tokens; it computes on the model's device.
        staged: Model that runs the text.
        text: Text that is played.
        width: Tokens that an observation is padded to, where it is.
    """
    episode = Episode(staged, [text], 1)
    while not episode.forward.done:
        episode.replay(actor.act(episode.observation(width), deterministic=True))
    _, stops = episode.forward.final_states()
    found: list[int] = stops.tolist()
    return found
