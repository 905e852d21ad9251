from __future__ import annotations

import pytest
import torch

from trbert_env.encoder.families import LayerSize
from trbert_env.encoder.packing import Layout
from trbert_env.envs.reward import LengthPrice, check_length_penalty
from trbert_env.envs.settings import EnvSettings
from trbert_env.reduction.cost import CostModel, layer_flops

#: d = 8, f = 16; one layer, two, and one.
COST = CostModel(LayerSize(8, 16), (1, 2, 1))
LINEAR = 2 * (4 * 8 * 8 + 2 * 8 * 16)


def layouts() -> list[Layout]:
    """Two texts, of one sequence and of two: 6 and 3 + 3 tokens, then 4 and 2 + 1, then 1 and 1 + 1."""
    return [Layout.from_lengths(lengths, [1, 2]) for lengths in ([6, 3, 3], [4, 2, 1], [1, 1, 1])]


def test_a_price_on_tokens() -> None:
    price = LengthPrice(0.5, "tokens", COST)
    assert price.of_stage(layouts(), 1).tolist() == [2.0, 1.5]
    assert price.of_stage(layouts(), 2).tolist() == [0.5, 1.0]
    assert price.of_stage(layouts(), 1).dtype == torch.float64


def test_a_price_on_flops_weighs_length_and_depth() -> None:
    price = LengthPrice(0.5, "flops", COST)
    # The unit: one token through 1.5 layers, the average of the two stages, without attention.
    unit, size = 1.5 * LINEAR, LayerSize(8, 16)
    first = [
        0.5 * 2 * layer_flops(4, size) / unit,
        0.5 * 2 * (layer_flops(2, size) + layer_flops(1, size)) / unit,
    ]
    second = [0.5 * layer_flops(1, size) / unit, 0.5 * 2 * layer_flops(1, size) / unit]
    assert price.of_stage(layouts(), 1).tolist() == pytest.approx(first)
    assert price.of_stage(layouts(), 2).tolist() == pytest.approx(second)


def test_both_prices_have_the_same_scale() -> None:
    # Wide layers, short texts, stages of equal depth: attention hardly counts, and a token is a token.
    wide = CostModel(LayerSize(4096, 16384), (1, 2, 2))
    stages = layouts()
    tokens = LengthPrice(0.1, "tokens", wide).of_stage(stages, 1)
    flops = LengthPrice(0.1, "flops", wide).of_stage(stages, 1)
    torch.testing.assert_close(tokens, flops, rtol=1e-3, atol=0)


@pytest.mark.parametrize("value", [-1e-9, -1.0, float("nan"), float("inf")])
def test_prices_that_make_no_sense(value: float) -> None:
    with pytest.raises(ValueError, match=rf"length_penalty {value}: .* give 0 or more"):
        check_length_penalty(value)
    with pytest.raises(ValueError, match=f"length_penalty {value}"):
        LengthPrice(value, "tokens", COST)


def test_prices_that_do() -> None:
    assert check_length_penalty(0) == 0.0
    assert isinstance(check_length_penalty(1), float)


def test_an_unknown_penalty() -> None:
    with pytest.raises(ValueError, match="penalty 'time' is unknown: use one of"):
        LengthPrice(0.1, "time", COST)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, -1.0, 1000.0, float("inf"), float("nan"), True, "2"])
def test_a_temperature_divides_logits(value: object) -> None:
    with pytest.raises(ValueError, match="it divides logits, so give a number above 0, of at most 100"):
        EnvSettings(reward="distillation", reward_temperature=value)  # type: ignore[arg-type]


def test_the_likelihood_has_no_temperature() -> None:
    assert EnvSettings(reward_temperature=1.0).reward == "likelihood"
    with pytest.raises(ValueError, match="reward_temperature 2 is of reward 'distillation', not of 'likelihood'"):
        EnvSettings(reward_temperature=2.0)
