"""Linear layers by oneDNN: equal to stock ones, forward and backward, and never out of date."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers.activations import ACT2FN

from trbert_env.encoder import kernels
from trbert_env.encoder.linear import apply_inner, apply_linear, apply_linears, apply_outer, use_faster_linear

pytestmark = pytest.mark.skipif(not kernels._has_onednn(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def by_onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All products by oneDNN, whatever is faster here; later tests choose anew."""
    monkeypatch.setenv(kernels.VARIABLE, "onednn")
    kernels.linear_library.cache_clear()
    yield
    kernels.linear_library.cache_clear()
    kernels.attention_way.cache_clear()


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 40)


@pytest.fixture
def states() -> Tensor:
    return torch.randn(1, 7, 24)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
@torch.no_grad()
def test_products_equal_the_stock_layer(layer: nn.Linear, states: Tensor, frozen: bool) -> None:
    layer.requires_grad_(not frozen)
    close(apply_linear(layer, states), layer(states))
    for activation in (nn.GELU(), ACT2FN["gelu"], nn.GELU(approximate="tanh"), ACT2FN["gelu_new"], nn.ReLU()):
        close(apply_inner(layer, activation, states), activation(layer(states)))
    residual = torch.randn(1, 7, 40)
    close(apply_outer(layer, states, residual), layer(states) + residual)


@pytest.mark.parametrize("needed", ["states", "weights", "both"])
def test_gradients_equal_the_stock_layer(layer: nn.Linear, states: Tensor, needed: str) -> None:
    layer.requires_grad_(needed != "states")
    states.requires_grad_(needed != "weights")
    wanted_of = [tensor for tensor in (states, *layer.parameters()) if tensor.requires_grad]

    def gradients(output: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(output.square().sum(), wanted_of)

    for found, wanted in zip(
        gradients(apply_inner(layer, nn.GELU(), states)),
        gradients(nn.functional.gelu(layer(states))),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("needed", ["layer", "residual"])
def test_gradients_of_a_residual_connection_equal_the_stock_ones(needed: str, layer: nn.Linear, states: Tensor) -> None:
    residual = torch.randn(1, 7, 40, requires_grad=needed == "residual")
    layer.requires_grad_(needed == "layer")
    wanted_of = [residual] if needed == "residual" else list(layer.parameters())
    found, wanted = (
        torch.autograd.grad(output.square().sum(), wanted_of)
        for output in (apply_outer(layer, states, residual), layer(states) + residual)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


CHANGES: dict[str, Callable[[nn.Linear], object]] = {
    "in place": lambda layer: layer.weight.mul_(2.0),
    "loaded": lambda layer: layer.load_state_dict({name: v + 1 for name, v in layer.state_dict().items()}),
    "rounded": lambda layer: layer.bfloat16().float(),
    "exchanged": lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight + 1, requires_grad=False)),
    "pointed elsewhere": lambda layer: setattr(layer.weight, "data", layer.weight.data + 1),
    "uncounted": lambda layer: layer.weight.data.add_(1),
    "by numpy": lambda layer: np.add(layer.weight.numpy(), 1, out=layer.weight.numpy()),
}


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_frozen_weights_that_change_are_seen(layer: nn.Linear, states: Tensor, change: str) -> None:
    layer.requires_grad_(False)
    before = apply_linear(layer, states)
    CHANGES[change](layer)
    after = apply_linear(layer, states)
    close(after, layer(states))
    assert not torch.equal(before, after)


class Adapted(nn.Module):
    """A layer with something beside it, as adapters have it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base

    def forward(self, states: Tensor) -> Tensor:
        return self.base(states) + 1


@torch.no_grad()
def test_a_layer_that_an_adapter_held_meanwhile_is_ordered_anew(layer: nn.Linear, states: Tensor) -> None:
    layer.requires_grad_(False)
    other = nn.Linear(24, 16).requires_grad_(False)
    apply_linears([layer, other], states)
    apply_linear(layer, states)
    adapted = Adapted(layer)
    apply_linear(adapted, states)
    apply_linears([adapted, other], states)
    layer.weight.data[1, 2] += 1.0  # a value that is not compared
    close(apply_linear(layer, states), layer(states))
    close(apply_linears([layer, other], states)[0], layer(states))


@pytest.mark.parametrize("frozen", [False, True])
@torch.no_grad()
def test_weights_that_are_no_plain_tensors_multiply_in_their_own_way(
    layer: nn.Linear, states: Tensor, frozen: bool, quantise: Any
) -> None:
    expected = layer(states)
    quantise(layer, frozen)
    close(apply_linear(layer, states).as_subclass(Tensor), expected)
    close(apply_linears([layer, layer], states)[1].as_subclass(Tensor), expected)
    close(apply_inner(layer, nn.ReLU(), states).as_subclass(Tensor), expected.relu())
    model = nn.Sequential(layer)
    use_faster_linear(model)
    close(model(states).as_subclass(Tensor), expected)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@torch.no_grad()
def test_layers_that_share_their_inputs_equal_the_stock_ones(
    layer: nn.Linear, states: Tensor, frozen: bool, bias: bool
) -> None:
    layers = [layer, nn.Linear(24, 16, bias=bias), nn.Linear(24, 3)]
    for one in layers:
        one.requires_grad_(not frozen)
    found = apply_linears(layers, states)
    for output, one in zip(found, layers, strict=True):
        close(output, one(states))


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_each_of_joined_layers_may_change(layer: nn.Linear, states: Tensor, change: str) -> None:
    layers = [layer.requires_grad_(False), nn.Linear(24, 16).requires_grad_(False)]
    for changed in (1, 0):
        apply_linears(layers, states)
        CHANGES[change](layers[changed])
        for output, one in zip(apply_linears(layers, states), layers, strict=True):
            close(output, one(states))


def test_joined_layers_hand_gradients_on(layer: nn.Linear, states: Tensor) -> None:
    layers = [layer.requires_grad_(False), nn.Linear(24, 16).requires_grad_(False)]
    states.requires_grad_()
    found, wanted = (
        torch.autograd.grad(sum(output.square().sum() for output in outputs), states)
        for outputs in (apply_linears(layers, states), [one(states) for one in layers])
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_joined_layers_that_learned_are_seen_when_they_are_frozen_again(layer: nn.Linear, states: Tensor) -> None:
    layers = nn.ModuleList([layer, nn.Linear(24, 16)]).requires_grad_(False)
    with torch.no_grad():
        apply_linears(list(layers), states)
    layers[1].requires_grad_(True)
    apply_linears(list(layers), states)[1].square().sum().backward()
    torch.optim.AdamW(layers[1].parameters(), lr=0.1, fused=True).step()
    layers.requires_grad_(False)
    with torch.no_grad():
        for output, one in zip(apply_linears(list(layers), states), layers, strict=True):
            close(output, one(states))


def test_weights_that_learn_are_seen_whoever_steps(layer: nn.Linear, states: Tensor) -> None:
    layer.requires_grad_(False)
    with torch.no_grad():
        apply_linear(layer, states)
    layer.requires_grad_(True)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        apply_linear(layer, states).square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            close(apply_linear(layer, states), layer(states))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_weights_that_learned_are_seen_when_they_are_frozen_again(
    layer: nn.Linear, states: Tensor, own: bool, autocast: bool
) -> None:
    if own:
        use_faster_linear(nn.Sequential(layer))
    apply = layer if own else lambda found: apply_linear(layer, found)
    layer.requires_grad_(False)
    with torch.no_grad():
        apply(states)
    layer.requires_grad_(True)
    with torch.autocast("cpu", enabled=autocast):
        apply(states).square().sum().backward()
    torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True).step()
    layer.requires_grad_(False)
    with torch.no_grad():
        close(apply(states), nn.functional.linear(states, layer.weight, layer.bias))


@torch.no_grad()
def test_a_copied_layer_has_its_own_weights(layer: nn.Linear, states: Tensor) -> None:
    layer.requires_grad_(False)
    apply_linear(layer, states)
    other = copy.deepcopy(layer)
    other.weight.zero_()
    close(apply_linear(other, states), other(states))
    close(apply_linear(layer, states), layer(states))


@torch.no_grad()
def test_hooked_and_exchanged_layers_run_as_modules(layer: nn.Linear, states: Tensor) -> None:
    seen = []
    layer.register_forward_hook(lambda *_: seen.append(1))
    apply_linear(layer, states)
    apply_inner(layer, nn.GELU(), states)
    apply_outer(layer, states, torch.zeros(1, 7, 40))
    apply_linears([nn.Linear(24, 16), layer.requires_grad_(False)], states)
    assert len(seen) == 4


@torch.no_grad()
def test_the_flop_counter_of_torch_counts_the_product(layer: nn.Linear, states: Tensor) -> None:
    with FlopCounterMode(display=False) as counter:
        apply_linear(layer, states)
        apply_outer(layer, states, torch.zeros(1, 7, 40))
        apply_linears([layer.requires_grad_(False)] * 2, states)
    assert counter.get_total_flops() == 4 * (2 * 7 * 24 * 40)


@torch.no_grad()
def test_a_stock_model_with_faster_layers_answers_alike(layer: nn.Linear, states: Tensor) -> None:
    model = nn.Sequential(layer, nn.GELU(), nn.Linear(40, 3))
    faster = copy.deepcopy(model)
    use_faster_linear(faster)
    close(faster(states), model(states))
    assert faster.state_dict().keys() == model.state_dict().keys()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path))
    monkeypatch.setenv(kernels.VARIABLE, "")
    return tmp_path


def chosen_by(speedup: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """Choose as a new process would that measures this."""
    monkeypatch.setattr(kernels, "measured_speedup", lambda dtype: speedup)
    kernels.linear_library.cache_clear()
    return kernels.linear_library(torch.float32)


@pytest.mark.parametrize(("first", "later", "library"), [(2.0, 0.5, "onednn"), (0.5, 2.0, "torch")])
def test_later_processes_choose_as_the_first(
    cache: Path, monkeypatch: pytest.MonkeyPatch, first: float, later: float, library: str
) -> None:
    assert chosen_by(first, monkeypatch) == chosen_by(later, monkeypatch) == library
    (kept,) = (cache / "kernels").iterdir()
    kept.write_text("damaged")
    assert chosen_by(2.0, monkeypatch) == "onednn"


def test_a_cache_that_cannot_be_written_is_no_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "kernels").write_text("a file, not a folder")
    assert chosen_by(2.0, monkeypatch) == "onednn"


def test_an_unknown_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.VARIABLE, "mkl")
    kernels.linear_library.cache_clear()
    with pytest.raises(ValueError, match="TRBERT_LINEAR is 'mkl': give torch or onednn"):
        kernels.linear_library(torch.float32)


def test_the_probes_measure_both_sides() -> None:
    assert 0.01 < kernels.measured_speedup(torch.float32) < 100
    assert 0.01 < kernels.measured_attention_speedup() < 100


@pytest.mark.parametrize(("speedup", "way"), [(2.0, "products"), (0.5, "fused")])
def test_attention_is_chosen_in_the_same_manner(
    cache: Path, monkeypatch: pytest.MonkeyPatch, speedup: float, way: str
) -> None:
    monkeypatch.setenv(kernels.ATTENTION_VARIABLE, "")
    for measured in (speedup, 1 / speedup):  # the second is not measured: the choice is kept
        monkeypatch.setattr(kernels, "measured_attention_speedup", lambda measured=measured: measured)
        kernels.attention_way.cache_clear()
        assert kernels.attention_way() == way


def test_an_unknown_way_to_attend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.ATTENTION_VARIABLE, "flash")
    kernels.attention_way.cache_clear()
    with pytest.raises(ValueError, match="TRBERT_ATTENTION is 'flash': give fused or products"):
        kernels.attention_way()


@pytest.fixture(autouse=True, scope="module")
def forget_choices() -> object:
    yield
    kernels.linear_library.cache_clear()


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_layers_with_hooks_of_the_backward_pass_run_as_modules(kind: str, layer: nn.Linear, states: Tensor) -> None:
    seen: list[int] = []
    getattr(layer, kind)(lambda *_: seen.append(1))
    apply_linear(layer, states.requires_grad_()).sum().backward()
    assert seen == [1]


@torch.no_grad()
def test_a_forward_of_its_own_and_a_hooked_activation_are_run(layer: nn.Linear, states: Tensor) -> None:
    """As libraries give layers whose weights they move about."""
    layer.requires_grad_(False)
    activation, seen = nn.GELU(), list[int]()
    activation.register_forward_hook(lambda *_: seen.append(1))
    apply_inner(layer, activation, states)
    assert seen == [1]
    layer.forward = torch.zeros_like  # type: ignore[method-assign, assignment]
    assert not apply_linear(layer, states).any()
