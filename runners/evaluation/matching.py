"""Keep fractions that cost as much as another run did, in closed form: no model runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from runners.evaluation.record import Savings
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.reduction.cost import CostModel
from trbert_env.reduction.decision import keep_counts

#: Least fraction that a search tries: of any text, it is one token.
LEAST_FRACTION = 1e-12


def fractions_speedup(fractions: Sequence[float], cost: CostModel, full: Layout) -> float:
    """FLOPs speed-up of keeping these fractions of every text; each text is taken as one sequence."""
    counts = full.token_counts
    layouts = [full]
    for fraction in fractions:
        counts = keep_counts(fraction, full.token_counts, counts)
        layouts.append(_with_counts(full, counts))
    return float(cost.full(full).sum() / cost.reduced(layouts).sum())


#: Texts that costs are worked out on; they are in random order.
MOST_TEXTS = 8192


def full_layout(texts: Sequence[EncodedText]) -> Layout:
    """Return the layout that costs are worked out on: the sequences of the first texts, each as a text of its own.

    A budget holds for a text; that its sequences keep about the same share is close enough for its cost.
    """
    lengths = [length for text in texts[:MOST_TEXTS] for length in text.sequence_lengths]
    return Layout.from_lengths(lengths, [1] * len(lengths))


def match_fractions(
    savings: Savings | None, encoder: StagedEncoder, texts: Sequence[EncodedText]
) -> tuple[tuple[float, ...], float]:
    """Scale a run's kept fractions, all by one factor, until they cost what the run did.

    Args:
        savings: Savings of the run; None of a run that skips nothing, which is refused.
        encoder: Encoder of the heuristic, which runs no policy, so that it may keep a little more.
        texts: Texts that the cost is worked out on.

    Returns:
        The fractions and the speed-up that they give.

    Raises:
        ValueError: The record has other reductions than the encoder.
    """
    if savings is None or len(savings.kept_fractions) != encoder.num_reductions:
        raise ValueError(f"the matched run has other reductions than {encoder.reduction_layers}: match another")
    cost = CostModel.of(encoder)
    full = full_layout(texts)
    low, high = 0.0, 1.0 / max(min(savings.kept_fractions), 1e-6)  # at which all tokens are kept
    for _ in range(40):
        middle = (low + high) / 2
        fractions = tuple(min(1.0, middle * kept) for kept in savings.kept_fractions)
        if fractions_speedup(fractions, cost, full) > savings.flops_speedup:
            low = middle
        else:
            high = middle
    return fractions, fractions_speedup(fractions, cost, full)


def fractions_for_speedup(
    speedup: float, shape: Sequence[float], cost: CostModel, texts: Sequence[EncodedText]
) -> tuple[float, ...]:
    """Bend keep fractions, all to one power, until keeping them gives a FLOPs speed-up.

    Powers of ``shape`` lead from keeping everything (0) over ``shape`` itself (1) to keeping next to nothing,
    and never rise from one reduction to the next.

    Args:
        speedup: The wanted FLOPs speed-up, a factor.
        shape: Fractions below 1.
        cost: Cost of the encoder and the policy.
        texts: Texts that the cost is worked out on.

    Raises:
        ValueError: No power gives it: the layers before the first reduction alone cost more.
    """
    full = full_layout(texts)

    def bent(power: float) -> tuple[float, ...]:
        return tuple(max(fraction**power, LEAST_FRACTION) for fraction in shape)

    low, high = 0.0, 16.0
    slowest, fastest = (fractions_speedup(bent(power), cost, full) for power in (low, high))
    # Fractions near 1 need a greater power before next to nothing is kept.
    while fastest < speedup and (faster := fractions_speedup(bent(2 * high), cost, full)) > fastest:
        high, fastest = 2 * high, faster
    if not slowest <= speedup <= fastest:
        # Where the last layer computes first tokens alone, nothing skipped is faster than 1x.
        least = max(1.0, math.ceil(10 * slowest) / 10)
        most = max(least, math.floor(10 * fastest) / 10)
        # Nothing can be cut before the first attention has run.
        cuts_earlier = speedup > fastest and cost.stage_depths[0] > 0.5
        earlier = ", or cut earlier by --reduction-layers" if cuts_earlier else ""
        raise ValueError(
            f"target speed-up {speedup} is out of reach: these reduction layers give {slowest:.2f} to {fastest:.2f}; "
            f"give {least:g} to {most:g}{earlier}"
        )
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fractions_speedup(bent(middle), cost, full) < speedup else (low, middle)
    return bent(high)


def _with_counts(full: Layout, counts: Tensor) -> Layout:
    """A layout that only its costs are asked of."""
    return Layout(full.text_index, full.positions, counts, torch.ones_like(counts), full.text_lengths)
