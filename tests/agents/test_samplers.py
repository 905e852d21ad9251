from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from agents.samplers import BernoulliSampler, BudgetedSampler, Sampler

ROWS, WIDTH, DRAWS = 3, 10, 4_000


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)) * 2


@pytest.fixture
def mask() -> Tensor:
    """Rows of 10, 7 and 1 tokens in play; the middle one with a hole, as after a reduction."""
    mask = torch.ones(ROWS, WIDTH, dtype=torch.bool)
    mask[1, [2, 8, 9]] = False
    mask[2, 1:] = False
    return mask


@pytest.fixture
def forced() -> Tensor:
    """Every row's first token, and in row 0 a second sequence's."""
    forced = torch.zeros(ROWS, WIDTH, dtype=torch.bool)
    forced[:, 0] = forced[0, 5] = True
    return forced


FULL_LENGTHS = torch.tensor([10, 9, 1])


def draw(sampler: Sampler, logits: Tensor, mask: Tensor, forced: Tensor, draws: int = DRAWS) -> Tensor:
    """``(draws, ROWS, WIDTH)`` keep masks."""
    generator = torch.Generator().manual_seed(1)
    return torch.stack(
        [
            sampler.sample(logits, mask, forced, FULL_LENGTHS, 0, torch.rand(ROWS, WIDTH, generator=generator))
            for _ in range(draws)
        ]
    )


def test_bernoulli_frequencies_are_the_probabilities(logits: Tensor, mask: Tensor, forced: Tensor) -> None:
    kept = draw(BernoulliSampler(), logits, mask, forced)
    expected = torch.where(forced, 1.0, 1 / (1 + torch.exp(-logits))) * mask
    error = (expected * (1 - expected) / DRAWS).sqrt()
    assert bool(((kept.float().mean(0) - expected).abs() <= 4 * error).all())
    # Token by token: neighbours are independent.
    pairs = kept[:, 0, 1:3].float().T
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 4 / DRAWS**0.5


def test_bernoulli_expected_counts(logits: Tensor, mask: Tensor, forced: Tensor) -> None:
    sampler = BernoulliSampler()
    mean = draw(sampler, logits, mask, forced).sum(2).float().mean(0)
    counts = sampler.expected_counts(logits, mask, forced, FULL_LENGTHS, 0)
    assert bool(((counts - mean).abs() < 0.6).all())
    assert int(counts[2]) == 1


def test_bernoulli_log_probabilities_are_of_the_logits_themselves(logits: Tensor, mask: Tensor, forced: Tensor) -> None:
    assert BernoulliSampler().log_odds(logits, mask, forced, FULL_LENGTHS, 0) is logits


@pytest.mark.parametrize(("fraction", "counts"), [(0.5, [5, 4, 1]), (0.9, [9, 7, 1]), (0.01, [2, 1, 1])])
def test_budgeted_keeps_exactly_k(
    fraction: float, counts: list[int], logits: Tensor, mask: Tensor, forced: Tensor
) -> None:
    """K is of the full length, at most what is left, and never less than the forced tokens."""
    kept = draw(BudgetedSampler([fraction]), logits, mask, forced)
    assert bool((kept.sum(2) == torch.tensor(counts)).all())
    assert bool((kept | ~forced).all())
    assert not bool((kept & ~mask).any())


def test_a_batch_shares_its_budget(logits: Tensor, mask: Tensor, forced: Tensor) -> None:
    """The sum is exact, and a text whose tokens rank higher keeps more of them."""
    sampler = BudgetedSampler([0.5], scope="batch")
    total = sampler.expected_counts(logits, mask, forced, FULL_LENGTHS, 0).sum()
    better = torch.tensor([[8.0], [0.0], [0.0]])
    means = []
    for moved in (logits, logits + better):
        kept = draw(sampler, moved, mask, forced)
        assert bool((kept.sum((1, 2)) == total).all())
        assert bool((kept | ~forced).all())
        assert not bool((kept & ~mask).any())
        means.append(float(kept[:, 0].sum(1).float().mean()))
    assert means[1] > means[0] + 1
    odds = sampler.log_odds(logits + better, mask, forced, FULL_LENGTHS, 0)
    expected = torch.where(forced, 1.0, torch.sigmoid(odds)) * mask
    torch.testing.assert_close(expected.sum(), total.float(), atol=1e-4, rtol=0)


def test_what_a_text_has_not_left_others_of_its_batch_may_keep() -> None:
    """Of 10 and 10 tokens, 2 and 9 are in play: half of all is 10, though the first text has not its 5."""
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[0, :2], mask[1, :9] = True, True
    forced = torch.zeros_like(mask)
    forced[:, 0] = True
    lengths, logits = torch.tensor([10, 10]), torch.zeros(2, 10)
    sampler = BudgetedSampler([0.5], scope="batch")
    noise = torch.rand(2, 10, generator=torch.Generator().manual_seed(0))
    assert int(sampler.sample(logits, mask, forced, lengths, 0, noise).sum()) == 10
    expected = torch.where(forced, 1.0, torch.sigmoid(sampler.log_odds(logits, mask, forced, lengths, 0))) * mask
    assert float(expected.sum()) == pytest.approx(10.0, abs=1e-3)


def test_budgeted_prefers_high_logits(logits: Tensor, mask: Tensor, forced: Tensor) -> None:
    """With one free token to choose, its frequencies are the softmax of the logits (Gumbel's trick)."""
    kept = draw(BudgetedSampler([2 / 9], exploration=0.8), logits, mask, forced)[:, 1]
    free = mask[1] & ~forced[1]
    expected = torch.where(free, logits[1] / (0.8 * logits[mask & ~forced].std()), -torch.inf).softmax(0)
    error = (expected * (1 - expected) / DRAWS).sqrt()
    assert bool(((kept.float().mean(0) - expected)[free].abs() <= 4 * error[free]).all())


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.7])
def test_log_odds_expect_k(fraction: float, logits: Tensor, mask: Tensor, forced: Tensor) -> None:
    sampler = BudgetedSampler([fraction], exploration=0.5)
    free = mask & ~forced
    logits = 4 * logits  # wide enough that the temperature is above its least value of 1
    first = sampler.log_odds(logits, mask, forced, FULL_LENGTHS, 0)
    for shift in (0.0, 7.0, -7.0):
        odds = sampler.log_odds(logits + shift, mask, forced, FULL_LENGTHS, 0)
        expected = torch.where(forced, 1.0, torch.sigmoid(odds)) * mask
        wanted = sampler.expected_counts(logits, mask, forced, FULL_LENGTHS, 0)
        torch.testing.assert_close(expected.sum(1), wanted.float(), atol=1e-4, rtol=0)
        # Which token ranks above which is the policy's own, and a shift of all changes nothing.
        assert torch.equal(odds[0, free[0]].argsort(), logits[0, free[0]].argsort())
        torch.testing.assert_close(odds[free], first[free], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("scope", ["text", "batch"])
@pytest.mark.parametrize("fraction", [0.1, 0.4, 0.8])
def test_log_odds_are_those_of_the_masks_that_are_drawn(fraction: float, scope: Literal["text", "batch"]) -> None:
    """So a token's score, kept minus its probability, is 0 on average, with no baseline too."""
    generator, draws = torch.Generator().manual_seed(0), 2_000
    logits = 3 * torch.randn(4, 120, generator=generator)
    mask, lengths = torch.ones(4, 120, dtype=torch.bool), torch.full((4,), 120)
    forced = torch.zeros_like(mask)
    forced[:, 0] = True
    sampler = BudgetedSampler([fraction], exploration=0.5, scope=scope)
    kept = torch.stack([
        sampler.sample(logits, mask, forced, lengths, 0, torch.rand(4, 120, generator=generator)) for _ in range(draws)
    ]).float().mean(0)  # fmt: skip
    expected = torch.sigmoid(sampler.log_odds(logits, mask, forced, lengths, 0))
    free = mask & ~forced
    # Independent choices are what a sample of fixed size is only nearly.
    assert float((kept - expected)[free].abs().mean()) < 0.01
    assert float((kept - expected)[free].abs().max()) < 0.05


def test_sure_choices_have_finite_log_odds() -> None:
    logits = torch.tensor([[300.0, 200.0, -200.0, -300.0]], requires_grad=True)
    mask, forced = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4, dtype=torch.bool)
    for fraction in (0.01, 0.5, 1.0):
        sampler = BudgetedSampler([fraction], temperature=1.0)
        odds = sampler.log_odds(logits, mask, forced, torch.tensor([4]), 0)
        assert bool(torch.isfinite(odds).all())
        (gradient,) = torch.autograd.grad(torch.nn.functional.logsigmoid(odds).sum(), logits)
        assert bool(torch.isfinite(gradient).all())


def test_the_threshold_is_a_constant_for_the_gradient(logits: Tensor, mask: Tensor, forced: Tensor) -> None:
    logits = (4 * logits).requires_grad_()
    sampler = BudgetedSampler([0.5], exploration=0.5)
    sampler.log_odds(logits, mask, forced, FULL_LENGTHS, 0).sum().backward()  # type: ignore[no-untyped-call]
    slope = 1 / (0.5 * logits.detach()[mask & ~forced].std())
    torch.testing.assert_close(logits.grad, slope.expand_as(logits))


def test_the_noise_grows_with_the_logits(logits: Tensor, mask: Tensor, forced: Tensor) -> None:
    """Exploration does not fade because logits grow, and is less where less is asked for."""
    sampler = BudgetedSampler([0.5])
    assert torch.equal(draw(sampler, 4 * logits, mask, forced, 100), draw(sampler, 64 * logits, mask, forced, 100))
    # Small logits are not blown up to certainty: a policy that knows nothing yet explores everything.
    kept = draw(sampler, 0.01 * logits, mask, forced, 4_000).float().mean(0)[0][~forced[0]]
    assert bool(((kept - kept.mean()).abs() < 0.05).all())

    def changes(exploration: float) -> float:
        """Share of choices that differ from the most frequent one."""
        kept = draw(BudgetedSampler([0.5], exploration), 16 * logits, mask, forced, 1_000).float().mean(0)
        return float(torch.minimum(kept, 1 - kept).mean())

    assert changes(0.1) < changes(0.3) < changes(1.0)
    alike = torch.zeros_like(logits)  # no deviation at all
    assert bool((draw(sampler, alike, mask, forced, 100).sum(2) == torch.tensor([5, 4, 1])).all())
