"""A model runs the parts that it has: those of a replica are its own, and those that were exchanged are gone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

MakeShipped = Callable[..., Any]
MakeInputs = Callable[..., dict[str, Tensor]]


def replica_of(module: Any) -> Any:
    """A replica as ``torch.nn.parallel.replicate`` makes one, with weights of its own: half of the original's."""
    modules = list(module.modules())
    copies = {one: one._replicate_for_data_parallel() for one in modules}
    for one, found in copies.items():
        for name, child in one._modules.items():
            setattr(found, name, None if child is None else copies[child])
        for name, weight in one._parameters.items():
            if weight is None:
                found._parameters[name] = None
            else:  # a plain tensor, which is no parameter
                setattr(found, name, weight.detach() * 0.5)
        for name, buffer in one._buffers.items():
            found._buffers[name] = buffer
    return copies[module]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_replicas_run_their_own_weights(dtype: torch.dtype, shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = copy.deepcopy(shipped("classes")).to(dtype), padded("classes")
    model.threshold = 0.0
    expected = copy.deepcopy(model)
    for weight in expected.parameters():
        weight.mul_(0.5)
    model(**inputs)  # so that what it runs is put together
    assert replica_of(model)(**inputs).logits.equal(expected(**inputs).logits)


@torch.no_grad()
@pytest.mark.parametrize("part", ["backbone", "calibration", "policy"])
def test_exchanged_parts_are_run(part: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = copy.deepcopy(shipped("questions")), padded("questions")
    other: nn.Module = copy.deepcopy(getattr(model, part))
    for weight in other.parameters():
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    fresh = copy.deepcopy(model)
    fresh.__dict__.pop("staged", None)
    setattr(fresh, part, copy.deepcopy(other))
    before = model(**inputs).start_logits
    setattr(model, part, other)
    assert model(**inputs).start_logits.equal(fresh(**inputs).start_logits)
    assert not model(**inputs).start_logits.equal(before)
