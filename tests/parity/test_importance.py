"""Residual importance equals its definition, worked out text by text from stock hidden states."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.importance import residual_importance
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import SpanQA


def by_definition(stock: Any, family: str, text: EncodedText, layers: tuple[int, ...], pivot: int) -> Tensor:
    """|dLoss/dH_r . (H_r - H_l)|, (T, n)."""
    arguments = {"input_ids": torch.from_numpy(text.input_ids).long()[None]}
    if FAMILIES[family].reads_token_types:
        arguments["token_type_ids"] = torch.from_numpy(text.token_type_ids).long()[None]
    hidden = stock.base_model(**arguments, output_hidden_states=True).hidden_states
    pivot_states = hidden[pivot].detach().requires_grad_()

    def from_pivot(layer: Any, given: Any, output: Any) -> Any:
        return (pivot_states, *output[1:]) if isinstance(output, tuple) else pivot_states

    # The stock head on top of the stock layers, fed from the pivot on.
    hook = FAMILIES[family].stack(stock.base_model)[pivot - 1].register_forward_hook(from_pivot)
    output = stock(**arguments)
    hook.remove()
    logits = torch.stack([output.start_logits[0], output.end_logits[0]], 1)
    start, end = text.target[0].tolist()
    loss = -(logits[:, 0].log_softmax(0)[start] + logits[:, 1].log_softmax(0)[end]) / 2
    loss.backward()
    assert pivot_states.grad is not None
    # hidden[k] leaves layer k, so hidden[l - 1] enters reduction layer l.
    residuals = [hidden[pivot] - hidden[layer - 1] for layer in layers]
    return torch.stack([(pivot_states.grad * residual).sum(-1).abs()[0] for residual in residuals]).detach()


# r = ceil(3L/4), worked out here by hand; reductions lie before it, on it and behind it.
@pytest.mark.parametrize(("depth", "pivot"), [(4, 3), (6, 5), (7, 6)])
@pytest.mark.parametrize("layers", [(2,), (2, 4), (3, -1)])
def test_importance_equals_its_definition(
    make_model: Callable[..., PreTrainedModel],
    family: str,
    texts: list[EncodedText],
    depth: int,
    pivot: int,
    layers: tuple[int, ...],
) -> None:
    model = make_model(family, layers=depth)
    layers = tuple(layer if layer > 0 else depth for layer in layers)
    stock = copy.deepcopy(model)
    stock.set_attn_implementation("eager")
    task = SpanQA()
    batch, targets = TextBatch.from_texts(texts), task.targets(texts)
    scores = residual_importance(StagedModel(model, task, layers), batch, targets)
    expected = [by_definition(stock, family, text, layers, pivot) for text in texts]
    torch.testing.assert_close(scores, torch.cat(expected, 1), rtol=1e-4, atol=1e-5)
    # Where l = r + 1 the states are the same, and the score is 0; all others say something.
    assert (scores.sum(1) > 0).tolist() == [layer != pivot + 1 for layer in layers]
    assert all(parameter.grad is None for parameter in model.parameters())
