"""How the runtime groups sequences: each once, none cut, and padded no more than a call is worth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from trbert_env.deploy.export.runtime import group_sequences


def cost(widths: list[list[int]], call: int) -> int:
    return sum(max(group) * len(group) + call for group in widths)


@pytest.mark.parametrize("seed", range(4))
def test_every_token_has_one_place(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 200, 20)
    values = np.arange(lengths.sum()) + 1
    found = np.zeros_like(values)
    for group in group_sequences(lengths):
        padded = group.pad(values)
        assert padded.shape == group.mask.shape == (len(group.sequences), lengths[group.sequences].max())
        assert ((padded > 0) == (group.mask > 0)).all()
        assert group.mask.sum(1).tolist() == lengths[group.sequences].tolist()
        for row, sequence in zip(padded, group.sequences, strict=True):
            start = lengths[:sequence].sum()
            assert row[: lengths[sequence]].tolist() == values[start : start + lengths[sequence]].tolist()
        found[group.tokens] = group.unpad(padded)
    assert found.tolist() == values.tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("call", [1, 24, 500])
def test_no_other_groups_cost_less(seed: int, call: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 100, 7)
    found = cost([lengths[group.sequences].tolist() for group in group_sequences(lengths, call_tokens=call)], call)
    falling = sorted(lengths.tolist(), reverse=True)
    ways = []
    for cuts in itertools.product([False, True], repeat=len(falling) - 1):
        groups = [[falling[0]]]
        for cut, length in zip(cuts, falling[1:], strict=True):
            groups = [*groups, [length]] if cut else [*groups[:-1], [*groups[-1], length]]
        ways.append(cost(groups, call))
    assert found == min(ways)


def test_one_sequence_is_not_padded() -> None:
    (group,) = group_sequences(np.array([7]))
    values = np.arange(14.0).reshape(7, 2)
    assert group.pad(values).shape == (1, 7, 2)
    assert np.shares_memory(group.pad(values), values)
