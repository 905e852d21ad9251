"""Invariant 1: keep-all equals the stock transformers forward, and stock calls stay what they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.tasks import SpanQA

TOLERANCE = 1e-5


def stock_arguments(texts: Sequence[EncodedText], family: str, extra: int = 3) -> dict[str, Tensor]:
    """A padded batch as a tokenizer makes it, with some columns that hold nothing but padding."""
    width = max(len(text) for text in texts) + extra
    ids = torch.full((len(texts), width), 1 if family == "roberta" else 0)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.from_numpy(text.input_ids)
        types[row, : len(text)] = torch.from_numpy(text.token_type_ids)
        mask[row, : len(text)] = 1
    arguments = {"input_ids": ids, "attention_mask": mask}
    return arguments if not FAMILIES[family].reads_token_types else {**arguments, "token_type_ids": types}


def stock_states(model: PreTrainedModel, texts: Sequence[EncodedText], family: str) -> list[Tensor]:
    """Each text by itself, without padding."""
    states = []
    for text in texts:
        arguments = stock_arguments([text], family, extra=0)
        states.append(model.base_model(**arguments).last_hidden_state[0])
    return states


@pytest.fixture
def stock(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that no encoder of ours has touched."""
    untouched = copy.deepcopy(model)
    untouched.set_attn_implementation("eager")
    return untouched


@torch.no_grad()
@pytest.mark.parametrize("layers", [(2,), (2, 3), (2, 3, 4), (4,), (1.5, 3.5), None])
def test_keep_all_equals_the_stock_forward(
    model: PreTrainedModel,
    stock: PreTrainedModel,
    family: str,
    texts: list[EncodedText],
    layers: tuple[float, ...] | None,
) -> None:
    forward = StagedForward(StagedEncoder(model, layers), TextBatch.from_texts(texts))
    while not forward.done:
        forward.advance(torch.ones(forward.tokens.layout.total_tokens, dtype=torch.bool))
    expected = torch.cat(stock_states(stock, texts, family))
    torch.testing.assert_close(forward.final_states()[0], expected, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_keep_all_logits_equal_those_of_the_stock_head(
    model: PreTrainedModel, stock: PreTrainedModel, family: str, texts: list[EncodedText]
) -> None:
    forward = StagedForward(StagedEncoder(model), TextBatch.from_texts(texts))
    while not forward.done:
        forward.advance(torch.ones(forward.tokens.layout.total_tokens, dtype=torch.bool))
    layout = forward.layouts[0]
    lengths = layout.text_lengths
    logits = SpanQA().logits(model, forward.final_states()[0], layout).split(lengths.tolist())
    output = stock(**stock_arguments(texts, family))
    for row, text in enumerate(texts):
        expected = torch.stack([output.start_logits[row], output.end_logits[row]], 1)[: len(text)]
        torch.testing.assert_close(logits[row], expected, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_every_sequence_of_a_text_is_a_stock_forward(
    model: PreTrainedModel,
    stock: PreTrainedModel,
    family: str,
    make_texts: Callable[..., list[EncodedText]],
) -> None:
    texts = make_texts((5, 7), (8,), (3, 1, 6))
    forward = StagedForward(StagedEncoder(model), TextBatch.from_texts(texts))
    while not forward.done:
        forward.advance(torch.ones(forward.tokens.layout.total_tokens, dtype=torch.bool))
    expected = []
    for text in texts:
        start = 0
        for length in text.sequence_lengths:
            arguments = {
                key: value[:, start : start + length] for key, value in stock_arguments([text], family, extra=0).items()
            }
            expected.append(stock.base_model(**arguments).last_hidden_state[0])
            start += length
    torch.testing.assert_close(forward.final_states()[0], torch.cat(expected), rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_a_padded_stock_call_of_a_touched_model_keeps_its_mask(
    model: PreTrainedModel, stock: PreTrainedModel, family: str, texts: list[EncodedText]
) -> None:
    StagedEncoder(model)
    arguments = stock_arguments(texts, family)
    states = model.base_model(**arguments).last_hidden_state
    expected = stock_states(stock, texts, family)
    for row, text in enumerate(texts):
        torch.testing.assert_close(states[row, : len(text)], expected[row], rtol=0, atol=TOLERANCE)
    # The comparison has teeth: without its mask the same call is wrong by far.
    unmasked = model.base_model(**{**arguments, "attention_mask": torch.ones_like(arguments["attention_mask"])})
    short = texts[3]
    assert not torch.allclose(unmasked.last_hidden_state[3, : len(short)], expected[3], atol=1e-2)


@torch.no_grad()
def test_a_touched_model_still_trains_by_stock_calls(
    model: Any, stock: Any, family: str, texts: list[EncodedText]
) -> None:
    StagedEncoder(model)
    if FAMILIES[family].attention_interface:  # eager attention gives padding other logits, which the loss reads
        stock.set_attn_implementation("sdpa")
    arguments = stock_arguments(texts, family)
    gold = torch.from_numpy(texts[0].target[0]).repeat(len(texts), 1) * 0
    losses, gradients = [], []
    for each in (model, stock):
        with torch.enable_grad():
            loss = each(**arguments, start_positions=gold[:, 0], end_positions=gold[:, 1]).loss
            loss.backward()
        losses.append(loss.detach())
        gradients.append(each.base_model.get_input_embeddings().weight.grad)
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("family", ["camembert", "xlm-roberta"])
def test_families_of_robertas_layers(
    model: PreTrainedModel, stock: PreTrainedModel, family: str, texts: list[EncodedText]
) -> None:
    forward = StagedForward(StagedEncoder(model, (2, 3)), TextBatch.from_texts(texts))
    while not forward.done:
        forward.advance(torch.ones(forward.tokens.layout.total_tokens, dtype=torch.bool))
    expected = torch.cat(stock_states(stock, texts, family))
    torch.testing.assert_close(forward.final_states()[0], expected, atol=TOLERANCE, rtol=0)
