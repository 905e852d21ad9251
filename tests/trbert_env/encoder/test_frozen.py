"""What is kept of frozen parameters is what they would give now, whatever was done to them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from trbert_env.encoder.frozen import FrozenValues, are_frozen
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch

BATCH = TextBatch.from_padded(torch.arange(5, 25)[None])


@pytest.fixture
def model(make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    """A frozen DeBERTa, whose projected positions are kept."""
    return make_model("deberta-v2").requires_grad_(False)


def states(model: PreTrainedModel) -> Tensor:
    return StagedEncoder(model).run_unreduced(BATCH).states


def fresh(model: PreTrainedModel) -> Tensor:
    """The stock forward, which keeps nothing."""
    stock: Any = copy.deepcopy(model)
    with torch.no_grad():
        found: Tensor = stock.base_model(BATCH.input_ids[None]).last_hidden_state[0]
    return found


def flops(model: PreTrainedModel) -> int:
    with FlopCounterMode(display=False) as counter:
        states(model)
    return counter.get_total_flops()


@torch.no_grad()
def test_nothing_is_kept_of_weights_that_are_no_plain_tensors(model: PreTrainedModel, quantise: Any) -> None:
    before = states(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            quantise(module, True)
    torch.testing.assert_close(states(model).as_subclass(Tensor), before, rtol=0, atol=1e-5)


def test_changes_through_data_are_seen_where_a_part_of_the_values_changes() -> None:
    layer, doubled = nn.Linear(384, 384).requires_grad_(False), FrozenValues[Tensor]()
    for dtype in (torch.float32, torch.bfloat16):
        layer.to(dtype)
        for first in range(0, 384, 32):  # a head at a time
            doubled.of(layer, [layer.weight], layer.weight.clone)
            layer.weight.data[first : first + 32] += 1.0
            assert doubled.of(layer, [layer.weight], layer.weight.clone).equal(layer.weight)
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):  # few values each, as a weak adapter changes in bfloat16
            doubled.of(layer, [layer.weight], layer.weight.clone)
            layer.weight.data[torch.rand(384, 384, generator=generator) < 0.05] += 1.0
            assert doubled.of(layer, [layer.weight], layer.weight.clone).equal(layer.weight)


@torch.no_grad()
@pytest.mark.parametrize(
    "part",
    ["encoder.rel_embeddings.weight", "encoder.LayerNorm.bias"]
    + [f"encoder.layer.2.attention.self.pos_{name}_proj.weight" for name in ("key", "query")],
)
def test_positions_follow_each_parameter_that_they_are_made_of(part: str, model: PreTrainedModel) -> None:
    before = states(model)
    model.base_model.get_parameter(part).mul_(3.0).add_(torch.linspace(-1.0, 1.0, 48))
    after = states(model)
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(after, fresh(model), rtol=0, atol=1e-5)


def test_positions_are_projected_once_where_they_are_frozen(model: PreTrainedModel) -> None:
    first, again = flops(model), flops(model)
    assert first - again == 4 * 2 * (2 * 8 * 48 * 48)  # of four layers, keys and queries of eight positions
    model.requires_grad_(True)
    with torch.no_grad():
        assert flops(model) == flops(model) == first
    model.requires_grad_(False)
    assert [flops(model) for _ in range(2)] == [first, again]


def test_what_inference_mode_kept_serves_where_gradients_flow(model: PreTrainedModel) -> None:
    with torch.inference_mode():
        states(model)
    words = model.get_input_embeddings().weight.requires_grad_(True)
    found = states(model)
    (kept,) = torch.autograd.grad(found.square().sum(), words)
    model.base_model.get_parameter("encoder.rel_embeddings.weight").requires_grad_(True)  # projected at each call
    torch.testing.assert_close(kept, torch.autograd.grad(states(model).square().sum(), words)[0])


def test_other_number_formats_and_layers_that_were_exchanged(model: PreTrainedModel) -> None:
    expected = states(model)
    torch.testing.assert_close(states(model.double()), expected.double(), rtol=0, atol=1e-4)
    model.float()
    attention = model.base_model.get_submodule("encoder.layer.1.attention.self")
    hooked = attention.pos_key_proj.register_forward_hook(lambda module, given, output: 2 * output)
    assert not torch.allclose(states(model), expected, atol=1e-3)
    hooked.remove()
    torch.testing.assert_close(states(model), expected, rtol=0, atol=1e-5)


def test_a_value_is_made_anew_when_a_parameter_was_changed_or_exchanged() -> None:
    layer, values, made = nn.Linear(2, 2).requires_grad_(False), FrozenValues[Tensor](), list[int]()

    def double() -> Tensor:
        made.append(1)
        return 2 * layer.weight

    for _ in range(2):
        values.of(layer, (layer.weight, layer.bias), double)
    assert len(made) == 1
    layer.bias.add_(1.0)
    values.of(layer, (layer.weight, layer.bias), double)
    layer.weight = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    assert values.of(layer, (layer.weight, layer.bias), double).equal(torch.full((2, 2), 2.0))
    values.forget(layer)
    values.of(layer, (layer.weight, layer.bias), double)
    assert len(made) == 4
    assert are_frozen(layer.weight, layer.bias)
    assert not are_frozen(layer.weight, layer.bias.requires_grad_(True))
