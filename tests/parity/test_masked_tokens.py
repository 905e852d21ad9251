"""Logits of masked tokens, packed, equal those of the stock masked-language model, and so does its loss."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForMaskedLM, PreTrainedModel

from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.tasks.heads import masked_token_logits


@pytest.fixture
def language_model(model: PreTrainedModel) -> PreTrainedModel:
    """A masked-language model whose weights leave no result to chance."""
    found: PreTrainedModel = AutoModelForMaskedLM.from_config(model.config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in found.named_parameters():
        values = 0.2 * torch.randn(parameter.shape, generator=generator)
        parameter.data = values + 1.0 if "norm" in name.lower() and name.endswith("weight") else values
    return found.eval()


def test_logits_and_gradients_of_masked_tokens(
    language_model: PreTrainedModel, family: str, make_texts: Callable[..., list[EncodedText]]
) -> None:
    texts = make_texts((20,), (7,), (31,))
    stock = copy.deepcopy(language_model)
    random = np.random.default_rng(0)
    places = [np.sort(random.choice(len(text), len(text) // 4, replace=False)) for text in texts]
    targets = [random.integers(0, 60, len(chosen)) for chosen in places]

    expected, losses = [], []
    for text, chosen, target in zip(texts, places, targets, strict=True):
        inputs = {"input_ids": torch.from_numpy(text.input_ids).long()[None]}
        if FAMILIES[family].reads_token_types:
            inputs["token_type_ids"] = torch.from_numpy(text.token_type_ids).long()[None]
        labels = torch.full_like(inputs["input_ids"], -100)
        labels[0, chosen] = torch.from_numpy(target)
        output = stock(**inputs, labels=labels)
        expected.append(output.logits[0, chosen])
        losses.append(output.loss * len(chosen))
    torch.stack(losses).sum().backward()

    batch = TextBatch.from_texts(texts)
    starts = np.cumsum([0, *(len(text) for text in texts[:-1])])
    packed = torch.from_numpy(np.concatenate([start + chosen for start, chosen in zip(starts, places, strict=True)]))
    states = StagedEncoder(language_model).run_unreduced(batch).states
    logits = masked_token_logits(language_model, states.index_select(0, packed))
    torch.testing.assert_close(logits, torch.cat(expected), rtol=0, atol=1e-5)
    cross_entropy(logits, torch.from_numpy(np.concatenate(targets)), reduction="sum").backward()
    ours = dict(language_model.named_parameters())
    for name, parameter in stock.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name].grad, parameter.grad, rtol=1e-4, atol=1e-4)
