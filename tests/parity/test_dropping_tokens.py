"""Invariants 2, 3 and 4: what dropping tokens does to a text, alone and among others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.packing import restore_text_order
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch

TOLERANCE = 1e-5
LAYERS = [(2,), (2, 3), (2, 3, 4), (1.5, 3), (1.5, 2.5, 3.5)]

MakeTexts = Callable[..., list[EncodedText]]
MakeMasks = Callable[..., list[Tensor]]
MaskedStock = Callable[..., AbstractContextManager[None]]
Play = Callable[[StagedForward, Sequence[Tensor]], StagedForward]


def masked_stock_states(
    stock: Any,
    family: str,
    text: EncodedText,
    masks: Sequence[Tensor],
    layers: Sequence[float],
    masked_stock: MaskedStock,
) -> Tensor:
    """The stock encoder on a whole text; from each reduction on, dropped tokens are masked out as keys.

    Masks are ``(n,)``. Dropped tokens still run as queries, but keep the state they had. Sequences
    run one at a time.
    """
    finished = []
    start = 0
    for length in text.sequence_lengths:
        part = slice(start, start + length)
        arguments = {"input_ids": torch.from_numpy(text.input_ids[part]).long()[None]}
        if FAMILIES[family].reads_token_types:
            arguments["token_type_ids"] = torch.from_numpy(text.token_type_ids[part]).long()[None]
        in_play = [torch.ones(length, dtype=torch.bool)]
        for half in range(2, 2 * stock.config.num_hidden_layers + 2):
            in_play.append(masks[layers.index(half / 2)][part] if half / 2 in layers else in_play[-1])
        with masked_stock(stock, in_play[1::2], in_play[2::2]):
            finished.append(stock.base_model(**arguments).last_hidden_state[0])
        start += length
    return torch.cat(finished)


@pytest.fixture
def stock(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that no encoder of ours has touched."""
    untouched = copy.deepcopy(model)
    untouched.set_attn_implementation("eager")
    return untouched


@torch.no_grad()
@pytest.mark.parametrize("layers", LAYERS)
def test_dropping_equals_stock_layers_with_the_dropped_masked_out(
    model: PreTrainedModel,
    stock: PreTrainedModel,
    family: str,
    make_texts: MakeTexts,
    make_masks: MakeMasks,
    play: Play,
    masked_stock: MaskedStock,
    layers: tuple[float, ...],
) -> None:
    texts = make_texts((9,), (14,), (1,), (5, 7), (3, 1, 6))
    masks = make_masks(texts, len(layers))
    forward = play(StagedForward(StagedEncoder(model, layers), TextBatch.from_texts(texts)), masks)
    expected = [
        masked_stock_states(stock, family, text, [mask[row, : len(text)] for mask in masks], layers, masked_stock)
        for row, text in enumerate(texts)
    ]
    torch.testing.assert_close(forward.final_states()[0], torch.cat(expected), rtol=0, atol=TOLERANCE)
    assert not bool(masks[0][0, : len(texts[0])].all()), "the masks drop nothing, so nothing was tested"


@torch.no_grad()
@pytest.mark.parametrize("order", [[0], [1], [3, 1], [2, 3, 0, 1], [1, 1, 0]])
def test_batch_mates_do_not_matter(
    model: PreTrainedModel, texts: list[EncodedText], make_masks: MakeMasks, play: Play, order: list[int]
) -> None:
    encoder = StagedEncoder(model, (2, 3))
    masks = make_masks(texts, 2)
    whole = play(StagedForward(encoder, TextBatch.from_texts(texts)), masks).final_states()[0]
    by_text = whole.split([len(text) for text in texts])
    chosen = [texts[row] for row in order]
    part = play(StagedForward(encoder, TextBatch.from_texts(chosen)), [mask[order] for mask in masks])
    expected = torch.cat([by_text[row] for row in order])
    torch.testing.assert_close(part.final_states()[0], expected, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_samples_that_share_the_first_stage_equal_repeated_texts(
    model: PreTrainedModel, make_texts: MakeTexts, make_masks: MakeMasks, play: Play
) -> None:
    texts = make_texts((9,), (4, 6), (1,))
    encoder = StagedEncoder(model, (2, 4))
    repeated = [text for text in texts for _ in range(3)]
    masks = make_masks(repeated, 2)
    shared = play(StagedForward(encoder, TextBatch.from_texts(texts), 3, record_attention=True), masks)
    apart = play(StagedForward(encoder, TextBatch.from_texts(repeated), record_attention=True), masks)
    torch.testing.assert_close(shared.final_states()[0], apart.final_states()[0], rtol=0, atol=TOLERANCE)
    for ours, theirs in zip(shared.layouts, apart.layouts, strict=True):
        assert ours.text_index.equal(theirs.text_index)
        assert ours.positions.equal(theirs.positions)
        assert ours.sequence_lengths.equal(theirs.sequence_lengths)
        assert ours.sequences_per_text.equal(theirs.sequences_per_text)
        assert ours.text_lengths.equal(theirs.text_lengths)


@torch.no_grad()
def test_a_skipped_token_keeps_exactly_the_state_it_had(
    model: PreTrainedModel, texts: list[EncodedText], make_masks: MakeMasks, play: Play
) -> None:
    masks = make_masks(texts, 2)
    encoder = StagedEncoder(model, (2, 3))
    forward = StagedForward(encoder, TextBatch.from_texts(texts))
    width = masks[0].shape[1]

    def last_states() -> Tensor:
        """As a head would read them: ModernBERT has a norm there."""
        return forward.tokens.layout.pad(encoder.finish(forward.tokens.states), width)

    before = last_states()
    play(forward, masks[:1])
    between = last_states()
    play(forward, masks[1:])
    final = forward.layouts[0].pad(forward.final_states()[0], width)
    dropped_first = forward.layouts[0].pad(torch.ones_like(forward.layouts[0].first_tokens), width) & ~masks[0]
    dropped_second = masks[0] & ~masks[1]
    assert dropped_first.any()
    assert dropped_second.any()
    assert final[dropped_first].equal(before[dropped_first])
    assert final[dropped_second].equal(between[dropped_second])
    assert not torch.isclose(final[masks[1]], between[masks[1]]).all(1).any()


@torch.no_grad()
def test_first_tokens_stay_whatever_the_mask_says(model: PreTrainedModel, make_texts: MakeTexts) -> None:
    texts = make_texts((5,), (3, 1, 6))
    forward = StagedForward(StagedEncoder(model, (2, 3)), TextBatch.from_texts(texts))
    forward.advance(torch.zeros(15, dtype=torch.bool))
    assert forward.tokens.layout.positions.tolist() == [0, 0, 3, 4]
    assert forward.tokens.layout.text_index.tolist() == [0, 1, 1, 1]
    assert forward.tokens.layout.token_counts.tolist() == [1, 3]


@torch.no_grad()
def test_a_token_with_two_states_or_none_is_refused(model: PreTrainedModel, texts: list[EncodedText]) -> None:
    tokens = StagedEncoder(model).embed(TextBatch.from_texts(texts))
    keep = torch.arange(tokens.layout.total_tokens) % 2 == 0
    even, odd = tokens.select(keep), tokens.select(~keep)
    assert restore_text_order([odd, even])[0].equal(tokens.states)
    for parts in ([even], [odd], [even, odd, odd], [even, even], [tokens, even]):
        with pytest.raises(ValueError, match=r"states for 30 tokens: each token must stop exactly once"):
            restore_text_order(parts)


def test_gradients_flow_through_states_that_stopped(
    model: Any, family: str, texts: list[EncodedText], make_masks: MakeMasks, play: Play
) -> None:
    masks = make_masks(texts, 2)
    forward = play(StagedForward(StagedEncoder(model, (2, 3)), TextBatch.from_texts(texts)), masks)
    layout = forward.layouts[0]
    stopped_first = ~layout.gather(masks[0])
    forward.final_states()[0][stopped_first].square().sum().backward()
    layers = FAMILIES[family].stack(model.base_model)
    norms = [_gradient_norm(layer) for layer in layers]
    # They stopped before layer 2, so that no later layer has a part in them.
    assert norms[0] > 0
    assert norms[1:] == [0, 0, 0]
    assert float(model.base_model.get_input_embeddings().weight.grad.abs().sum()) > 0


def test_gradients_equal_those_of_the_masked_stock_layers(
    model: PreTrainedModel,
    stock: PreTrainedModel,
    family: str,
    texts: list[EncodedText],
    make_masks: MakeMasks,
    play: Play,
    masked_stock: MaskedStock,
) -> None:
    masks = make_masks(texts, 2)
    forward = play(StagedForward(StagedEncoder(model, (2, 3)), TextBatch.from_texts(texts)), masks)
    weights = torch.randn(forward.final_states()[0].shape, generator=torch.Generator().manual_seed(0))
    (forward.final_states()[0] * weights).sum().backward()
    expected = [
        masked_stock_states(stock, family, text, [mask[row, : len(text)] for mask in masks], (2, 3), masked_stock)
        for row, text in enumerate(texts)
    ]
    (torch.cat(expected) * weights).sum().backward()
    theirs = dict(stock.base_model.named_parameters())
    for name, parameter in model.base_model.named_parameters():
        reference = theirs[name].grad
        if reference is not None:
            torch.testing.assert_close(parameter.grad, reference, rtol=1e-4, atol=1e-4, msg=name)


def _gradient_norm(layer: torch.nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in layer.parameters() if p.grad is not None)
