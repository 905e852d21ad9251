from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

from trbert_env.reduction.decision import DecisionRule, check_keep_fractions, keep_above, keep_counts, keep_top
from trbert_env.reduction.overlap import NUM_FEATURES
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.reduction.speed_table import SpeedTable


def mask(*rows: str) -> Tensor:
    """``mask("110", "100")``."""
    return torch.tensor([[character == "1" for character in row] for row in rows])


def show(found: Tensor) -> list[str]:
    return ["".join("1" if kept else "0" for kept in row) for row in found.tolist()]


NONE_FORCED = torch.zeros(1, 6, dtype=torch.bool)


@pytest.mark.parametrize("width", [8, 128])
def test_the_network_is_that_of_equation_2(width: int) -> None:
    policy = TokenPolicy(16, 2, width)
    states = 5 + 3 * torch.randn(7, 16)
    for reduction, head in enumerate(policy.heads):
        inner, outer = (layer for layer in head.children() if isinstance(layer, torch.nn.Linear))
        mean, variance = states.mean(1, keepdim=True), states.var(1, keepdim=True, correction=0)
        normal = (states - mean) / (variance + 1e-5).sqrt()
        expected = gelu(normal @ inner.weight.T + inner.bias) @ outer.weight.T + outer.bias
        torch.testing.assert_close(policy(states, reduction), expected[:, 0], rtol=1e-5, atol=1e-5)
    assert policy.flops_per_token == 2 * (16 * width + width)


def test_each_reduction_has_its_own_head_and_each_token_its_own_say() -> None:
    policy = TokenPolicy(16, 2)
    states = torch.randn(5, 16)
    assert not torch.allclose(policy(states, 0), policy(states, 1))
    torch.testing.assert_close(policy(states, 0)[2:3], policy(states[2:3], 0))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.95])
def test_the_first_probability_is_that_asked_for(probability: float) -> None:
    policy = TokenPolicy(64, 3, initial_keep_probability=probability)
    for reduction in range(3):
        found = torch.sigmoid(policy(torch.randn(1000, 64), reduction))
        assert float(found.detach().mean()) == pytest.approx(probability, abs=0.05)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.5, float("nan")])
def test_a_first_probability_out_of_range_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=f"initial_keep_probability {probability} must lie strictly between 0 and 1"):
        TokenPolicy(8, 1, initial_keep_probability=probability)


def test_states_in_half_precision_give_float32_logits() -> None:
    policy = TokenPolicy(16, 1)
    states = torch.randn(4, 16).bfloat16()
    assert policy(states, 0).dtype == torch.float32
    torch.testing.assert_close(policy(states, 0), policy(states.float(), 0))


@pytest.mark.parametrize("features", ["none", "some"])
def test_overlap_weighs_alike_with_gradients_and_without(features: str) -> None:
    policy = TokenPolicy(16, 1, overlap=True)
    states = torch.randn(5, 16)
    overlap = torch.rand(5, NUM_FEATURES) if features == "some" else torch.zeros(5, NUM_FEATURES)
    learned = policy(states, 0, overlap)
    with torch.no_grad():
        torch.testing.assert_close(policy(states, 0, overlap), learned.detach())
    learned.sum().backward()  # parameters all have a gradient, so that what an optimiser does with them is one thing
    assert all(parameter.grad is not None for parameter in policy.parameters())


@pytest.mark.parametrize(
    ("fraction", "length", "left", "count"),
    [
        (0.25, 100, 60, 25),
        (0.65, 10, 10, 6),  # 6.5 to the even neighbour, as Python's round does
        (0.01, 10, 10, 1),  # never none
        (0.9, 10, 4, 4),  # never more than are left
        (1.0, 7, 7, 7),
        (0.5, 1, 1, 1),
    ],
)
def test_keep_counts(fraction: float, length: int, left: int, count: int) -> None:
    assert keep_counts(fraction, torch.tensor([length]), torch.tensor([left])).tolist() == [count]
    assert count == min(max(1, round(fraction * length)), left)


def test_keep_counts_of_a_fraction_for_each_text() -> None:
    counts = keep_counts(torch.tensor([0.5, 0.25]), torch.tensor([8, 8]), torch.tensor([8, 8]))
    assert counts.tolist() == [4, 2]


@pytest.mark.parametrize(
    ("scores", "in_play", "forced", "count", "kept"),
    [
        ([0, 5, 3, 4, 1, 2], "111111", "000000", 3, "011100"),
        ([0, 5, 3, 4, 1, 2], "111111", "100000", 3, "110100"),  # forced tokens count
        ([9, 5, 3, 4, 1, 2], "101111", "000000", 2, "100100"),  # what is out of play does not
        ([1, 1, 1, 1, 1, 1], "111111", "000000", 2, "110000"),  # of equals, the earlier
        ([1, 1, 1, 1, 1, 1], "011011", "000000", 2, "011000"),
        ([1, 2, 2, 2, 0, 0], "111111", "000010", 3, "011010"),
        ([0, 5, 3, 4, 1, 2], "111111", "100101", 1, "100101"),  # all forced tokens, though they are more
        ([0, 5, 3, 4, 1, 2], "110110", "001000", 2, "010100"),  # forced, but out of play
        ([0, 5, 3, 4, 1, 2], "111111", "000000", 6, "111111"),
        ([0, 5, 3, 4, 1, 2], "111000", "000000", 9, "111000"),
        ([-1, -5, -3, 0, 0, 0], "111000", "000000", 2, "101000"),  # padding's 0 is not better than -1
    ],
)
def test_keep_top(scores: list[float], in_play: str, forced: str, count: int, kept: str) -> None:
    found = keep_top(torch.tensor([scores]), mask(in_play), mask(forced), torch.tensor([count]))
    assert show(found) == [kept]


def test_keep_top_minds_each_row_for_itself() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    found = keep_top(scores, mask("111", "111"), mask("000", "000"), torch.tensor([1, 2]))
    assert show(found) == ["001", "110"]


def test_keep_above_the_threshold_and_on_it() -> None:
    logits = torch.tensor([[0.0, -0.1, 0.1, 3.0, -3.0, -3.0]])
    found = keep_above(logits, mask("111011"), mask("000001"), 0.5)
    assert show(found) == ["101001"]
    assert show(keep_above(logits, mask("111111"), NONE_FORCED, 0.0)) == ["111111"]


def test_the_rule_goes_by_the_threshold_or_by_fractions() -> None:
    logits = torch.tensor([[9.0, 1.0, -1.0, 2.0, -2.0, -3.0]])
    every = torch.ones_like(NONE_FORCED)
    lengths = torch.tensor([6])
    assert show(DecisionRule()(logits, every, NONE_FORCED, lengths, 0)) == ["110100"]
    assert show(DecisionRule(threshold=0.2)(logits, every, NONE_FORCED, lengths, 1)) == ["111100"]
    by_fraction = DecisionRule(keep_fractions=(0.8, 0.3))
    assert show(by_fraction(logits, every, NONE_FORCED, lengths, 0)) == ["111110"]
    # Of the full length, whatever is left.
    assert show(by_fraction(logits, mask("101110"), NONE_FORCED, lengths, 1)) == ["100100"]


@pytest.mark.parametrize("fractions", [(0.5,), (0.65, 0.25), (1.0, 1.0, 0.1)])
def test_fractions_that_fit(fractions: tuple[float, ...]) -> None:
    assert check_keep_fractions(list(fractions), len(fractions)) == fractions


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.5,), r"keep_fractions \(0.5,\): there are 2 reductions, give one for each"),
        ((0.5, 0.0), r"each must lie in \(0, 1\]"),
        ((1.5, 0.5), r"each must lie in \(0, 1\]"),
        ((float("nan"), 0.5), r"each must lie in \(0, 1\]"),
        ((0.2, 0.5), "they cannot rise"),
    ],
)
def test_fractions_that_do_not(fractions: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_keep_fractions(fractions, 2)


# -- many speeds -----------------------------------------------------------------------------------------------


def test_a_threshold_between_two_of_the_table() -> None:
    table = SpeedTable(speedups=(1.2, 2.0, 3.2), thresholds=(0.1, 0.5, 1 - 1e-9))
    assert table.threshold(1.2) == pytest.approx(0.1)
    assert table.threshold(2.0) == pytest.approx(0.5)
    assert table.threshold(3.2) == pytest.approx(1 - 1e-9, abs=1e-12)
    middle = (1.2 * 2.0) ** 0.5
    assert table.threshold(middle) == pytest.approx(0.25)  # odds of 1/9 and 1: 1/3 lies between
    for outside in (1.1, 3.3):
        with pytest.raises(ValueError, match=r"measured for this model: 1\.20 to 3\.20"):
            table.threshold(outside)
    for few in (SpeedTable((), ()), SpeedTable((2.0,), (0.5,))):
        with pytest.raises(ValueError, match="measured for this model"):
            few.threshold(2.0)


def test_sure_tokens_are_told_apart() -> None:
    """Probabilities of logits 18 and 20 are the same in float32, and a threshold between them keeps one."""
    logits = torch.tensor([[20.0, 18.0]])
    threshold = 1.0 / (1.0 + 2.718281828459045**-19.0)
    kept = keep_above(logits, mask("11"), mask("00"), threshold)
    assert show(kept) == ["10"]


@pytest.mark.parametrize("overlap", [False, True])
def test_rescaled_logits(overlap: bool) -> None:
    policy = TokenPolicy(16, 2, 8, overlap=overlap)
    states, features = torch.randn(7, 16), torch.rand(7, 4)
    before = [policy(states, reduction, features).detach() for reduction in range(2)]
    policy.rescale(1, shift=0.7, scale=2.5)
    torch.testing.assert_close(policy(states, 0, features), before[0])
    torch.testing.assert_close(policy(states, 1, features), (before[1] - 0.7) / 2.5)
