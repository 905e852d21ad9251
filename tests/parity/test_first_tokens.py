"""Where first tokens alone are read, the last layer computes no others, and what is read is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.data.backbones import move
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch

MakeTexts = Callable[..., list[EncodedText]]
MakeMasks = Callable[..., list[Tensor]]
Play = Callable[[StagedForward, Sequence[Tensor]], StagedForward]

CUTS = [(2, 3), (2, 4), (1.5, 3.5)]


@pytest.fixture
def texts(make_texts: MakeTexts) -> list[EncodedText]:
    """Texts of one sequence and of several, one of a single token."""
    return make_texts((9,), (5, 7), (3, 1, 6), (40,))


def both(
    model: PreTrainedModel, cuts: tuple[float, ...], texts: list[EncodedText], masks: list[Tensor], play: Play
) -> list[StagedForward]:
    """The same pass, by an encoder that computes all last states and by one that computes those of first tokens."""
    batch = TextBatch.from_texts(texts)
    return [play(StagedForward(StagedEncoder(model, cuts, short), batch), masks) for short in (False, True)]


@pytest.mark.parametrize("cuts", CUTS)
def test_first_tokens_have_the_same_last_states_and_gradients(
    model: PreTrainedModel, texts: list[EncodedText], make_masks: MakeMasks, play: Play, cuts: tuple[float, ...]
) -> None:
    found = []
    for forward in both(model, cuts, texts, make_masks(texts, len(cuts)), play):
        states = forward.final_states()[0][forward.layouts[0].first_tokens]
        model.zero_grad()
        (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
        gradients = {name: part.grad for name, part in model.named_parameters() if part.grad is not None}
        found.append((states.detach(), gradients))
    (expected, of_whole), (states, of_short) = found
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)
    assert of_short.keys() == of_whole.keys()
    for name, gradient in of_whole.items():
        torch.testing.assert_close(of_short[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("cuts", CUTS)
def test_other_tokens_keep_the_state_that_they_entered_the_last_layer_with(
    model: PreTrainedModel, texts: list[EncodedText], make_masks: MakeMasks, play: Play, cuts: tuple[float, ...]
) -> None:
    whole, short = both(model, cuts, texts, make_masks(texts, len(cuts)), play)
    encoder, first = short.encoder, short.tokens.layout.first_tokens
    assert not torch.allclose(short.tokens.states[~first], whole.tokens.states[~first], atol=1e-3)
    forward = StagedForward(encoder, TextBatch.from_texts(texts))
    for mask in make_masks(texts, len(cuts))[:-1]:
        forward.advance(forward.tokens.layout.gather(mask))
    keep = forward.tokens.layout.gather(make_masks(texts, len(cuts))[-1]) | forward.tokens.layout.first_tokens
    kept, _, _ = forward.tokens.split(keep)
    entering = encoder.run_layers(kept, encoder.stage_bounds[-1][0], max(encoder.stage_bounds[-1][0], 3))
    torch.testing.assert_close(short.tokens.states[~first], entering.states[~first], rtol=0, atol=1e-5)


@torch.no_grad()
def test_in_bfloat16_rows_are_padded(
    model: PreTrainedModel, texts: list[EncodedText], make_masks: MakeMasks, play: Play
) -> None:
    first = TextBatch.from_texts(texts).layout.first_tokens
    expected = both(model, (2, 3), texts, make_masks(texts, 2), play)[0].final_states()[0][first]
    rounded = both(move(model, "cpu", torch.bfloat16), (2, 3), texts, make_masks(texts, 2), play)[1]
    torch.testing.assert_close(rounded.final_states()[0][first].float(), expected, rtol=0.05, atol=0.1)
