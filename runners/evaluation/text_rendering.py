"""A text as the agent reduces it, for TensorBoard's text pane."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from agents.base import Agent
from trbert_env.encoder.texts import EncodedText
from trbert_env.envs.episode import Episode
from trbert_env.envs.rendering import render_stops
from trbert_env.staged_model import StagedModel


def text_sample(
    agent: Agent,
    staged: StagedModel,
    text: EncodedText,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
) -> str:
    """Play one text as in evaluation; Markdown with the tokens that went on in bold, the others struck out.

    Args:
        agent: Acts.
        staged: The model that runs it.
        text: What is played.
        tokenizer: Turns ids into tokens.
        device: Where the agent computes.
    """
    episode = Episode(staged, [text], 1)
    while not episode.forward.done:
        parts = (episode.observation(len(text)), episode.infos(len(text)))
        observation, infos = ({name: value.to(device) for name, value in part.items()} for part in parts)
        keep = agent.act(observation, infos, deterministic=True)
        episode.replay(episode.forward.tokens.layout.gather(keep.to(staged.device)))
    _, stops = episode.forward.final_states()
    tokens = list(tokenizer.convert_ids_to_tokens(text.input_ids.tolist()))
    return render_stops(tokens, stops.tolist(), staged.num_reductions)
