from __future__ import annotations

import pytest
import torch

from trbert_env.encoder.families import LayerSize
from trbert_env.encoder.packing import Layout
from trbert_env.reduction.cost import CostModel, layer_flops


def test_tensors_and_integers_agree() -> None:
    lengths = torch.tensor([1.0, 17.0, 384.0], dtype=torch.float64)
    found = layer_flops(lengths, LayerSize(768, 3072))
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [layer_flops(int(length), LayerSize(768, 3072)) for length in lengths]


def test_the_policy_pays_for_what_it_sees() -> None:
    stages = [Layout.from_lengths(lengths, [1, 1]) for lengths in ([6, 3], [4, 2], [1, 1])]
    bare, charged = CostModel(LayerSize(8, 16), (1, 2, 1)), CostModel(LayerSize(8, 16), (1, 2, 1), policy_flops=100)
    assert (charged.reduced(stages) - bare.reduced(stages)).tolist() == [100 * (6 + 4), 100 * (3 + 2)]
    assert charged.full(stages[0]).equal(bare.full(stages[0]))
    by_stage = [charged.stage(stages, stage) for stage in range(3)]
    torch.testing.assert_close(torch.stack(by_stage).sum(0), charged.reduced(stages))


def test_keeping_everything_without_a_policy_costs_the_full_price() -> None:
    stages = [Layout.from_lengths([6, 3], [1, 1])] * 3
    cost = CostModel(LayerSize(8, 16), (1, 2, 1))
    assert cost.reduced(stages).equal(cost.full(stages[0]))


def test_two_sequences_are_cheaper_than_one_of_their_length() -> None:
    cost = CostModel(LayerSize(8, 16), (4,))
    split, whole = Layout.from_lengths([5, 5], [2]), Layout.from_lengths([10], [1])
    difference = cost.full(whole) - cost.full(split)
    assert float(difference) == pytest.approx(4 * 2 * 2 * 8 * (100 - 50))
