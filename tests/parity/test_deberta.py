"""Kinds of DeBERTa: which scores of positions there are, by which projections, in buckets or not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch

MakeTexts = Callable[..., list[EncodedText]]
MakeMasks = Callable[..., list[Tensor]]
MaskedStock = Callable[[Any, Sequence[Tensor]], AbstractContextManager[None]]

#: By name: what differs from the tiny DeBERTa of all tests.
KINDS: dict[str, dict[str, Any]] = {
    "version 3": {"share_att_key": True},
    "keys alone": {"pos_att_type": ["c2p"]},
    "queries alone": {"pos_att_type": ["p2c"], "share_att_key": True},
    "no buckets": {"position_buckets": -1, "max_relative_positions": 5},
    "as many distances as positions": {"position_buckets": -1, "max_relative_positions": -1},
    "no norm of positions": {"norm_rel_ebd": "none"},
    "no relative positions": {"relative_attention": False},
    "absolute positions too, token types and narrow embeddings": {
        "position_biased_input": True,
        "type_vocab_size": 2,
        "embedding_size": 24,
    },
}


@pytest.fixture
def family() -> str:
    return "deberta-v2"


@pytest.fixture(params=list(KINDS))
def model(request: pytest.FixtureRequest, make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    """A classifier of each kind, frozen, as it serves."""
    config = copy.deepcopy(make_model("deberta-v2").config)
    config.update(KINDS[request.param])
    torch.manual_seed(0)
    found: PreTrainedModel = AutoModelForSequenceClassification.from_config(config).eval()
    for name, parameter in found.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "Norm.weight" in name else 0.0, std=0.2)
    return found.requires_grad_(False)


@pytest.mark.parametrize("kept", [1.0, 0.6])
def test_tokens_that_are_kept_keep_their_relative_positions(
    kept: float, model: PreTrainedModel, make_texts: MakeTexts, make_masks: MakeMasks, masked_stock: MaskedStock
) -> None:
    texts, stock = make_texts((9,), (24,), (1,)), copy.deepcopy(model)
    masks = make_masks(texts, 2)
    if kept == 1.0:
        masks = [torch.ones_like(mask) for mask in masks]
    forward = StagedForward(StagedEncoder(model, (2, 3)), TextBatch.from_texts(texts))
    for mask in masks:
        forward.advance(forward.tokens.layout.gather(mask))
    found = forward.final_states()[0].split([len(text) for text in texts])
    for row, text in enumerate(texts):
        first, second = (mask[row, : len(text)] for mask in masks)
        inputs = {"input_ids": torch.from_numpy(text.input_ids).long()[None]}
        with masked_stock(stock, [torch.ones_like(first), first, second, second]):
            expected = stock.base_model(**inputs).last_hidden_state[0]
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-5)


def test_a_convolution_is_refused(make_model: Callable[..., PreTrainedModel]) -> None:
    config = copy.deepcopy(make_model("deberta-v2").config)
    config.conv_kernel_size = 3
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(ValueError, match=r"^conv_kernel_size 3: deberta-v2 encoders with a convolution are not supp"):
        StagedEncoder(model)
