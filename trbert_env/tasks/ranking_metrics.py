"""Metrics of rankings: how near the relevant candidates of a query come to its top, from 0 to 100.

Queries whose candidates are all relevant or all irrelevant tell nothing and are left out. Candidates with equal scores
stand in any order: what is counted is the mean over these orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.metrics import ndcg_score

Numbers = npt.NDArray[np.float64]

#: Places of a ranking that count.
TOP = 10


@dataclass(frozen=True)
class Queries:
    """Records of candidates by their query; queries that tell nothing are left out.

    Attributes:
        places: The records of each query, in their order.
    """

    places: tuple[npt.NDArray[np.int64], ...]

    @classmethod
    def of(cls, names: Sequence[str], gold: Numbers) -> Queries:
        """Find the queries.

        Args:
            names: Query of each record.
            gold: ``(n,)``, 1 for relevant, else 0.

        Example:
            >>> [places.tolist() for places in Queries.of(["a", "b", "a", "b"], np.array([1.0, 0.0, 0.0, 0.0])).places]
            [[0, 2]]
        """
        codes = pa.array(names, pa.large_string()).dictionary_encode().indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order])) + 1
        queries = np.split(order, starts) if len(order) else []
        return cls(tuple(places for places in queries if 0 < gold[places].sum() < len(places)))

    def ndcg(self, scores: Numbers, gold: Numbers) -> Numbers:
        """Return the normalised discounted cumulative gain of each query's first :data:`TOP` candidates.

        Args:
            scores: ``(n,)`` of all records.
            gold: ``(n,)``, 1 for relevant, else 0.

        Returns:
            ``(len(places),)``.

        Example:
            >>> gold, scores = np.array([0.0, 1.0, 0.0]), np.array([2.0, 1.0, 0.0])
            >>> Queries.of(["a"] * 3, gold).ndcg(scores, gold).round(2).tolist()  # 1 / log2(3)
            [63.09]
        """
        return np.array([100.0 * ndcg_score(gold[None, own], scores[None, own], k=TOP) for own in self.places])

    def reciprocal_rank(self, scores: Numbers, gold: Numbers) -> Numbers:
        """Return 100 over the rank of each query's first relevant candidate; 0 behind the first :data:`TOP`.

        Args:
            scores: ``(n,)`` of all records.
            gold: ``(n,)``, 1 for relevant, else 0.

        Returns:
            ``(len(places),)``.

        Example:
            >>> gold, scores = np.array([0.0, 1.0, 0.0]), np.array([2.0, 1.0, 0.0])
            >>> Queries.of(["a"] * 3, gold).reciprocal_rank(scores, gold).tolist()
            [50.0]
        """
        return np.array([_reciprocal_rank(scores[places], gold[places] == 1) for places in self.places])


def _reciprocal_rank(scores: Numbers, relevant: npt.NDArray[np.bool_]) -> float:
    """The mean over the orders of candidates that are as good as the best relevant one."""
    best = scores[relevant].max()
    before, equal = int((scores > best).sum()), scores == best
    hits, count = int((equal & relevant).sum()), int(equal.sum())
    # The chance that the first of ``hits`` among ``count`` in random order is in place 0, 1, ...
    total, chance_left = 0.0, 1.0
    for place in range(min(count, TOP - before)):
        chance = chance_left * hits / (count - place)
        total += chance / (before + place + 1)
        chance_left -= chance
    return 100.0 * total


def ranking_metrics(names: Sequence[str], scores: Numbers, gold: Numbers) -> dict[str, float]:
    """Return the means of both over the queries; nothing where no query has candidates of both kinds.

    Args:
        names: Query of each record.
        scores: ``(n,)``, greater for the more relevant.
        gold: ``(n,)``, 1 for relevant, else 0.
    """
    queries = Queries.of(names, gold)
    if not queries.places:
        return {}
    ndcg, reciprocal = queries.ndcg(scores, gold), queries.reciprocal_rank(scores, gold)
    return {f"ndcg_at_{TOP}": float(ndcg.mean()), f"mrr_at_{TOP}": float(reciprocal.mean())}


def ranking_scores(names: Sequence[str], scores: Numbers, gold: Numbers) -> Numbers:
    """Return the nDCG of each query at its first record, and NaN at all other records, ``(n,)``.

    Args:
        names: Query of each record.
        scores: ``(n,)``, greater for the more relevant.
        gold: ``(n,)``, 1 for relevant, else 0.
    """
    queries = Queries.of(names, gold)
    values = np.full(len(gold), np.nan)
    for place, value in zip(queries.places, queries.ndcg(scores, gold), strict=True):
        values[place[0]] = value
    return values
