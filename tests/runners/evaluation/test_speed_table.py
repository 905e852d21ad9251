"""Speed tables, and fractions bent to a speed-up."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from runners.evaluate import threshold_for
from runners.evaluation.matching import fractions_for_speedup, fractions_speedup, full_layout
from runners.evaluation.speed_table import FASTEST, TABLE_SIZE, check_target, tabulate
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.families import LayerSize
from trbert_env.encoder.texts import EncodedText
from trbert_env.reduction.cost import CostModel
from trbert_env.reduction.speed_table import SpeedTable

COST = CostModel(LayerSize(64, 256), stage_depths=(1, 3, 2), policy_flops=2 * 64 * 16)


def make_texts(lengths: list[int]) -> list[EncodedText]:
    empty = np.zeros(0, dtype=np.int64)
    return [
        EncodedText(str(index), np.ones(length, dtype=np.int32), np.zeros(length, dtype=np.int32), (length,), empty)
        for index, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("slope", [0.1, 1.0, 5.0])
def test_a_table_reaches_from_slow_to_fast_and_interpolates(slope: float) -> None:
    def speedup(odds: float) -> float:
        return 1.0 + 7.0 / (1.0 + math.exp(-slope * odds))

    table = tabulate(speedup)
    assert len(table.speedups) <= TABLE_SIZE
    assert list(table.speedups) == sorted(table.speedups)
    assert list(table.thresholds) == sorted(table.thresholds)
    assert table.speedups[-1] >= FASTEST
    for wanted in (1.5, 2.0, 3.0, 4.5):
        threshold = table.threshold(wanted)
        assert speedup(math.log(threshold / (1.0 - threshold))) == pytest.approx(wanted, rel=0.06)


@pytest.mark.parametrize("target", [1.01, 5.5, 7.0])
@pytest.mark.parametrize("middle", [1.2, 3.0, 5.2])
def test_a_table_reaches_a_target_wherever_it_lies(target: float, middle: float) -> None:
    start = math.log((middle - 1.0) / (9.0 - middle))

    def speedup(odds: float) -> float:  # 1x to 9x, and so much at a threshold of a half
        return 1.0 + 8.0 / (1.0 + math.exp(-start - odds))

    threshold = tabulate(speedup, target).threshold(target)
    assert speedup(math.log(threshold / (1.0 - threshold))) == pytest.approx(target, rel=0.1)


@pytest.mark.parametrize("middle", [-12.0, -3.0, 0.0, 3.0])
def test_where_keeping_all_is_fast_no_pass_is_wasted_below_it(middle: float) -> None:
    """As of a classifier, whose last layer is short: 1.2x with nothing skipped; wherever the policy's logits lie."""

    def speedup(odds: float) -> float:  # exactly 1.2x from some way down
        return 1.2 + round(6.8 / (1.0 + math.exp(middle - odds)), 2)

    table = tabulate(speedup, keep_all=1.2)
    assert sum(value < 1.2 * 1.01 for value in table.speedups) <= 1
    for wanted in (1.4, 2.0, 3.0, 4.5):
        threshold = table.threshold(wanted)
        assert speedup(math.log(threshold / (1.0 - threshold))) == pytest.approx(wanted, rel=0.06)


@pytest.mark.parametrize("target", [1.205, 1.22, 1.3])
def test_a_target_that_hardly_anything_is_skipped_for_is_reached(target: float) -> None:
    def speedup(odds: float) -> float:
        return 1.2 + 6.8 / (1.0 + math.exp(-3.0 - odds))

    threshold = tabulate(speedup, target, keep_all=1.2).threshold(target)
    assert speedup(math.log(threshold / (1.0 - threshold))) == pytest.approx(target, rel=0.04)


def test_a_policy_that_knows_no_difference_gives_a_table_without_targets() -> None:
    table = tabulate(lambda odds: 4.0 if odds > 0 else 1.0)  # everything or nothing
    assert table.speedups[0] == 1.0
    table = tabulate(lambda odds: 2.0)
    assert table.speedups == (2.0,)
    with pytest.raises(ValueError, match=r"measured for this model: 2\.00 to 2\.00"):
        table.threshold(2.0)


@pytest.mark.parametrize("shape", [(0.5, 0.2), (0.9, 0.1)])
@pytest.mark.parametrize("speedup", [1.3, 2.0, 3.0])
def test_bent_fractions_give_the_speedup(shape: tuple[float, float], speedup: float) -> None:
    texts = make_texts([80, 200, 150, 310])
    fractions = fractions_for_speedup(speedup, shape, COST, texts)
    assert 1.0 > fractions[0] > fractions[1] > 0.0
    assert math.log(fractions[1]) / math.log(fractions[0]) == pytest.approx(math.log(shape[1]) / math.log(shape[0]))
    assert fractions_speedup(fractions, COST, full_layout(texts)) == pytest.approx(speedup, rel=0.01)


def test_what_no_fraction_gives_is_named() -> None:
    # One layer of six sees everything, so six times is the most.
    with pytest.raises(ValueError, match=r"target speed-up 6.5 is out of reach: .* give 1\.00 to \S+; give 1 to 5"):
        fractions_for_speedup(6.5, (0.5, 0.2), COST, make_texts([100, 200]))


def test_many_cuts_reach_what_their_layers_allow() -> None:
    cost = CostModel(LayerSize(384, 1536), (0.5, 1, 1, 1, 1, 1.5))
    texts, shape = make_texts([256, 256]), (0.95, 0.8, 0.55, 0.16, 0.06)
    fractions = fractions_for_speedup(10, shape, cost, texts)
    assert fractions_speedup(fractions, cost, full_layout(texts)) >= 10
    with pytest.raises(ValueError, match=r"these reduction layers give .* give 1 to "):
        fractions_for_speedup(30, shape, cost, texts)


@pytest.mark.parametrize(
    ("target", "length_penalty", "penalty_rise", "named"),
    [
        (1.0, None, 0.0, "must be above 1"),
        (math.nan, None, 0.0, "must be above 1"),
        (2.0, 0.0, 0.0, "--length-penalty"),
        (2.0, None, 0.5, "--penalty-rise"),
    ],
)
def test_impossible_targets(target: float, length_penalty: float | None, penalty_rise: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        check_target(target, length_penalty, penalty_rise)


def test_a_speed_beyond_a_models_table_names_the_way_out() -> None:
    model = SimpleNamespace(speed_table=SpeedTable((1.01, 5.41), (0.1, 0.9)))
    with pytest.raises(ValueError, match=r"speed-up 50 is not among those .* 1\.01 to 5\.41") as caught:
        threshold_for(cast(TokenReducedModel, model), 50)
    assert caught.value.__notes__ == ["give 1.01 to 5.41, or train for that speed by --target-speedup"]


def test_a_target_below_what_keeping_all_gives_is_told_so() -> None:
    cost = replace(COST, first_tokens_only=True)
    texts = make_texts([100, 40])
    with pytest.raises(
        ValueError, match=r"target speed-up 1\.01 is out of reach: .* give 1\.1\d to \S+; give 1\.2 to [\d.]+$"
    ):
        fractions_for_speedup(1.01, (0.5, 0.2), cost, texts)
    full = full_layout(texts)
    found = fractions_for_speedup(1.3, (0.5, 0.2), cost, texts)
    assert fractions_speedup(found, cost, full) == pytest.approx(1.3, rel=0.02)
