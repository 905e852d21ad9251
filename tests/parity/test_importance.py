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

SecondHalf = Callable[[Any], torch.nn.Module]


def by_definition(
    stock: Any, family: str, text: EncodedText, stopped: float, pivot: int, second_half: SecondHalf
) -> Tensor:
    """|dLoss/dH_r . (H_r - H_l)|, (n,), where hidden[k] leaves layer k, and k + 1/2 the attention of layer k + 1."""
    arguments = {"input_ids": torch.from_numpy(text.input_ids).long()[None]}
    if FAMILIES[family].reads_token_types:
        arguments["token_type_ids"] = torch.from_numpy(text.token_type_ids).long()[None]
    layers = FAMILIES[family].stack(stock.base_model)
    middle: list[Tensor] = []
    halves = map(second_half, layers)
    hooks = [half.register_forward_pre_hook(lambda _, inputs: middle.append(inputs[0])) for half in halves]
    found = stock.base_model(**arguments, output_hidden_states=True).hidden_states
    for noting in hooks:
        noting.remove()
    hidden = dict(enumerate(found)) | {number + 0.5: states for number, states in enumerate(middle)}
    pivot_states = hidden[pivot].detach().requires_grad_()

    def from_pivot(layer: Any, given: Any, output: Any) -> Any:
        return (pivot_states, *output[1:]) if isinstance(output, tuple) else pivot_states

    # The stock head on top of the stock layers, fed from the pivot on.
    hook = layers[pivot - 1].register_forward_hook(from_pivot)
    output = stock(**arguments)
    hook.remove()
    logits = torch.stack([output.start_logits[0], output.end_logits[0]], 1)
    start, end = text.target[0].tolist()
    loss = -(logits[:, 0].log_softmax(0)[start] + logits[:, 1].log_softmax(0)[end]) / 2
    loss.backward()
    assert pivot_states.grad is not None
    return (pivot_states.grad * (hidden[pivot] - hidden[stopped])).sum(-1).abs()[0].detach()


# l and r, worked out here by hand: r = ceil(3L/4), but before the last layer; what enters reduction layer k has left
# layer k - 1. Behind r, a token could have stopped at the reduction before.
@pytest.mark.parametrize(
    ("depth", "layers", "spans"),
    [
        (4, (2,), [(1, 3)]),
        (4, (2, 4), [(1, 3), (1, 3)]),
        (6, (2, 4), [(1, 5), (3, 5)]),
        (6, (3, 6), [(2, 5), (2, 5)]),
        (7, (3, 7), [(2, 6), (2, 6)]),
        (9, (2, 8, 9), [(1, 7), (1, 7), (7, 8)]),
        (3, (2, 3), [(1, 2), (1, 2)]),
        (2, (2,), [(0, 1)]),
        (6, (1.5, 4.5), [(0.5, 5), (3.5, 5)]),
    ],
)
def test_importance_equals_its_definition(
    make_model: Callable[..., PreTrainedModel],
    family: str,
    texts: list[EncodedText],
    depth: int,
    layers: tuple[float, ...],
    spans: list[tuple[float, int]],
    second_half: SecondHalf,
) -> None:
    model = make_model(family, layers=depth)
    stock = copy.deepcopy(model)
    stock.set_attn_implementation("eager")
    task = SpanQA()
    batch, targets = TextBatch.from_texts(texts), task.targets(texts)
    scores = residual_importance(StagedModel(model, task, layers), batch, targets)
    expected = [
        torch.stack([by_definition(stock, family, text, *span, second_half) for span in spans]) for text in texts
    ]
    torch.testing.assert_close(scores, torch.cat(expected, 1), rtol=1e-4, atol=1e-5)
    assert (scores.sum(1) > 0).all()
    assert all(parameter.grad is None for parameter in model.parameters())
