"""Linear layers of an encoder, by the library that is faster on the machine; see :mod:`trbert_env.encoder.kernels`.

The weights stay the parameters of stock modules. oneDNN brings them into an order of its own at each call, which takes
0.25 ms a layer of MiniLM's size: nothing to a large batch, a tenth of the time of a single text. So weights that do not
require gradients (``model.requires_grad_(False)``, as before serving) are kept in that order beside the parameters,
which takes as much memory again as the encoder's linear layers; see :mod:`trbert_env.encoder.frozen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu
from torch.utils.flop_counter import register_flop_formula
from transformers.activations import GELUActivation

from trbert_env.encoder.frozen import FrozenValues, are_frozen, is_plain_tensor
from trbert_env.encoder.kernels import is_recorded, linear_library, onednn_linear, onednn_order

#: Weights in oneDNN's order, opaque tensors, of the modules that have them.
_ORDERED: FrozenValues[Tensor] = FrozenValues()
#: Weights of several modules in one such order, and their biases, by the first of the modules.
_JOINED: FrozenValues[tuple[Tensor, Tensor]] = FrozenValues()


def apply_linear(module: nn.Module, states: Tensor) -> Tensor:
    """Apply a linear layer, with gradients wherever they are enabled: ``(..., outputs)``.

    Args:
        module: A stock linear layer, or what takes its place: that is called as it is, with its hooks.
        states: ``(..., inputs)``.
    """
    if not is_plain(module) or not _takes_onednn(module, states):
        _ORDERED.forget(module)
        return cast(Tensor, module(states))
    return _multiply(module, states)


def apply_linears(modules: Sequence[nn.Module], states: Tensor) -> list[Tensor]:
    """Apply several linear layers to the same states, as one product where their weights are frozen.

    One product of several layers' outputs takes less time than one of each: 5 to 14 % of a pass over few tokens.

    Args:
        modules: Linear layers; see :func:`apply_linear`.
        states: ``(..., inputs)``.

    Returns:
        ``(..., outputs)`` of each layer; of one product they are parts of its rows, so that their strides are not their
        own.
    """
    if not _can_join(modules, states):
        _JOINED.forget(modules[0])
        return [apply_linear(module, states) for module in modules]
    weights, biases = ([cast(Tensor, getattr(module, name)) for module in modules] for name in ("weight", "bias"))
    weight, bias = _JOINED.of(
        modules[0], [*weights, *biases], lambda: (onednn_order(torch.cat(weights)), torch.cat(biases))
    )
    return list(onednn_linear(states, weight, bias).split([len(one) for one in weights], dim=-1))


def _can_join(modules: Sequence[nn.Module], states: Tensor) -> bool:
    """Whether linear layers can run as one product: oneDNN's, of frozen weights with biases, without gradients."""
    if _learns(states) or not all(is_plain(module) and _takes_onednn(module, states) for module in modules):
        return False
    return all(module.bias is not None and are_frozen(*module.parameters()) for module in modules)


class FasterLinear(nn.Linear):
    """A stock linear layer that multiplies as :func:`apply_linear` does, for models that call their own layers."""

    def forward(self, states: Tensor) -> Tensor:
        """Multiply by the faster library."""
        if _takes_onednn(self, states):
            return _multiply(self, states)
        _ORDERED.forget(self)
        return super().forward(states)


def use_faster_linear(model: nn.Module) -> None:
    """Make all linear layers of a model :class:`FasterLinear`, in place; weights and their names stay.

    Args:
        model: A stock model.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FasterLinear


def _multiply(module: nn.Module, states: Tensor) -> Tensor:
    """Apply a linear layer by oneDNN."""
    weight, bias = cast(Tensor, module.weight), cast("Tensor | None", module.bias)
    if _learns(states, weight, bias):
        if weight.requires_grad:
            _ORDERED.forget(module)  # fused optimisers change weights without counting it
        return cast(Tensor, _OneDnnLinear.apply(states, weight, bias))  # type: ignore[no-untyped-call]
    return onednn_linear(states, _ordered(module, weight), bias)


def apply_inner(module: nn.Module, activation: nn.Module, states: Tensor) -> Tensor:
    """Apply a linear layer and the activation behind it; the exact GELU runs with the product, without gradients.

    Args:
        module: See :func:`apply_linear`.
        activation: The activation.
        states: ``(..., inputs)``.
    """
    fused = is_plain(module) and _is_gelu(activation) and not _is_watched(activation)
    if fused and _takes_onednn(module, states):
        weight, bias = cast(Tensor, module.weight), cast("Tensor | None", module.bias)
        if not _learns(states, weight, bias):
            return onednn_linear(states, _ordered(module, weight), bias, "gelu")
    return cast(Tensor, activation(apply_linear(module, states)))


def apply_outer(module: nn.Module, states: Tensor, residual: Tensor) -> Tensor:
    """Apply a linear layer and the residual connection behind it; both run as one product, without gradients.

    Args:
        module: See :func:`apply_linear`.
        states: ``(..., inputs)``.
        residual: ``(..., outputs)``, of the same number format.
    """
    if is_plain(module) and _takes_onednn(module, states) and residual.dtype == states.dtype:
        weight, bias = cast(Tensor, module.weight), cast("Tensor | None", module.bias)
        if not _learns(states, weight, bias, residual):
            return onednn_linear(states, _ordered(module, weight), bias, added=residual)
    return apply_linear(module, states) + residual


def is_plain(module: nn.Module) -> bool:
    """Tell whether a layer is a stock linear layer, and nothing is to run beside it."""
    return type(module) is nn.Linear and not _is_watched(module)


def _is_watched(module: nn.Module) -> bool:
    """Whether a module has hooks of any kind, or a forward of its own, as libraries that move weights about give it."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    )


def _takes_onednn(module: nn.Module, states: Tensor) -> bool:
    """Whether oneDNN computes the product of a linear layer faster here."""
    weight = cast(Tensor, module.weight)
    if states.device.type != "cpu" or states.dtype != weight.dtype:
        return False
    if not is_plain_tensor(weight):  # which multiplies in its own way
        return False
    # Autocast chooses the format of a product itself; exporters and compilers know torch's own operators.
    if torch.is_autocast_enabled("cpu") or is_recorded():
        return False
    return states.numel() > 0 and linear_library(states.dtype) == "onednn"


def _ordered(module: nn.Module, weight: Tensor) -> Tensor:
    """Return a module's weight, in oneDNN's order if it is frozen."""
    if not are_frozen(weight):
        _ORDERED.forget(module)
        return weight
    return _ORDERED.of(module, (weight,), lambda: onednn_order(weight))


def _learns(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _is_gelu(activation: nn.Module) -> bool:
    """Whether an activation is the exact GELU."""
    if type(activation) is nn.GELU:
        return activation.approximate == "none"
    return type(activation) is GELUActivation and activation.act is gelu


class _OneDnnLinear(torch.autograd.Function):
    """A linear layer whose three products, one forward and two backward, are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply, and keep what the gradients need."""
        ctx.save_for_backward(states, weight)
        return onednn_linear(states, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients of states, weight and bias."""
        states, weight = ctx.saved_tensors
        of_states, of_weight, of_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            onednn_linear(gradient, weight.t(), None) if of_states else None,
            onednn_linear(rows.t(), states.reshape(-1, states.shape[-1]).t(), None) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _linear_flops(states: torch.Size, second: torch.Size, third: torch.Size | None, *args: Any, **kwargs: Any) -> int:
    """FLOPs of a product, for torch's own counter, which does not know the operator; what is added comes second."""
    weight = third if third is not None and len(third) == 2 else second
    return 2 * states.numel() * weight[0]


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_linear_flops)
