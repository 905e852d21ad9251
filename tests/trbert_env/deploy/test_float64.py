"""Devices without float64 can run a model: what needs it goes through one function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trbert_env.reduction import decision, overlap
from trbert_env.reduction.decision import DecisionRule, keep_counts
from trbert_env.reduction.float64 import in_float64

MakeShipped = Any


class _NoFloat64(TorchDispatchMode):
    """Refuses float64, as Apple's GPUs do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.dtype == torch.float64:
            pytest.fail(f"{func} is in float64")
        return found


@torch.no_grad()
@pytest.mark.parametrize("by_fractions", [True, False])
def test_a_forward_pass_has_no_other_float64(
    by_fractions: bool, shipped: MakeShipped, padded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = shipped("questions"), padded("questions")
    fractions = (0.5,) * model.num_reductions
    model.set_decision(DecisionRule(keep_fractions=fractions) if by_fractions else DecisionRule(threshold=0.5))
    expected = model(**inputs).start_logits
    for module in (decision, overlap):
        monkeypatch.setattr(module, "in_float64", lambda values: values.float())
    with _NoFloat64():
        found = model(**inputs).start_logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_counts_are_those_of_float64() -> None:
    """As Python counts, whose numbers are of 64 bits."""
    lengths = torch.arange(1, 2000)
    for fraction in (0.1, 0.3, 1 / 3, 0.7):
        counts = keep_counts(fraction, lengths, lengths).tolist()
        assert counts == [max(1, round(fraction * length)) for length in lengths.tolist()]
    assert in_float64(lengths).dtype == torch.float64
