"""Rankings: nDCG and reciprocal rank by hand, and against the mean over all orders of equal scores."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from transformers import BertConfig, PreTrainedConfig

from runners.evaluation.intervals import Loss
from trbert_env.data.records import LABELLED_TEXT, SCORED_TEXT, records_of
from trbert_env.data.sampling import passages_of
from trbert_env.tasks.classification import Classification
from trbert_env.tasks.ranking_metrics import ranking_metrics, ranking_scores
from trbert_env.tasks.too_long import too_long

#: Relevance in ranked order, nDCG at 10 and reciprocal rank at 10.
WORKED: list[tuple[list[int], float, float]] = [
    ([1, 0], 100.0, 100.0),
    ([0, 1], 100.0 / math.log2(3), 50.0),
    ([0, 0, 1], 50.0, 100.0 / 3),
    ([0, 0, 0, 1], 100.0 / math.log2(5), 25.0),
    ([1, 1, 0], 100.0, 100.0),
    ([1, 0, 1], 100.0 * 1.5 / (1 + 1 / math.log2(3)), 100.0),
    ([0, 1, 1], 100.0 * (1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3)), 50.0),
    ([0] * 9 + [1], 100.0 / math.log2(11), 10.0),
    ([0] * 10 + [1], 0.0, 0.0),
    ([0] * 10 + [1, 1, 0], 0.0, 0.0),
    ([1] + [0] * 20, 100.0, 100.0),
    ([0] * 6 + [1] + [0] * 13, 100.0 / 3, 100.0 / 7),
]


@pytest.mark.parametrize(("ranked", "ndcg", "reciprocal"), WORKED)
def test_worked_examples(ranked: list[int], ndcg: float, reciprocal: float) -> None:
    scores = -np.arange(len(ranked), dtype=np.float64)
    order = np.random.default_rng(0).permutation(len(ranked))
    found = ranking_metrics(["q"] * len(ranked), scores[order], np.array(ranked, dtype=np.float64)[order])
    assert found == pytest.approx({"ndcg_at_10": ndcg, "mrr_at_10": reciprocal})


@pytest.mark.parametrize("scores", [[1, 1, 1, 1], [2, 1, 1, 0], [0, 3, 3, 3], [1, 1, 0, 0]])
@pytest.mark.parametrize("gold", [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
def test_equal_scores_count_as_the_mean_over_their_orders(scores: list[float], gold: list[float]) -> None:
    found = ranking_metrics(["q"] * 4, np.array(scores, np.float64), np.array(gold, np.float64))
    orders = [order for order in itertools.permutations(range(4)) if sorted(scores)[::-1] == [scores[i] for i in order]]
    each = [
        ranking_metrics(["q"] * 4, -np.arange(4.0), np.array([gold[i] for i in order], np.float64)) for order in orders
    ]
    for name, value in found.items():
        assert value == pytest.approx(np.mean([one[name] for one in each]))


def test_queries_whose_candidates_are_alike_tell_nothing() -> None:
    names, gold = ["a", "b", "a", "b", "c", "d"], np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    scores = np.array([0.0, 5.0, 1.0, 4.0, 3.0, 2.0])
    assert ranking_metrics(names, scores, gold)["mrr_at_10"] == 50.0
    assert ranking_metrics(names[1:], scores[1:], gold[1:]) == {}
    expected = np.array([100.0 / math.log2(3), *[np.nan] * 5])
    np.testing.assert_allclose(ranking_scores(names, scores, gold), expected)


def pairs(*rows: tuple[str, str, float], group: list[str] | None = None) -> Dataset:
    made = [
        {"id": str(place), "text": query, "text_pair": passage, "label": label}
        for place, (query, passage, label) in enumerate(rows)
    ]
    records = records_of(made, SCORED_TEXT)
    return records if group is None else records.add_column("group", group)


def configured(records: Dataset, **settings: Any) -> Classification:
    task = Classification(ranking=True, **settings)
    config: PreTrainedConfig = BertConfig(num_hidden_layers=2)
    task.configure(config, records)
    return task


def test_the_order_of_candidates_leads_the_metrics_and_the_loss() -> None:
    records = pairs(("q", "a", 1), ("q", "b", 0), ("r", "a", 0), ("r", "b", 1), ("r", "c", 0), ("s", "a", 0))
    task = configured(records)
    assert task.metric_names == ("ndcg_at_10", "mrr_at_10", "accuracy", "f1")
    right = dict(zip("012345", (1.0, -1.0, 0.5, 2.0, 0.0, 3.0), strict=True))
    worse = right | {"3": 0.2}
    found = task.metrics(right, records)
    assert (found["ndcg_at_10"], found["mrr_at_10"]) == (100.0, 100.0)
    assert found["accuracy"] == pytest.approx(400 / 6)
    assert task.metrics(worse, records)["mrr_at_10"] == 75.0

    scores = [task.record_scores(predictions, records) for predictions in (right, worse)]
    assert [np.nanmean(each) for each in scores] == [
        pytest.approx(task.metrics(predictions, records)["ndcg_at_10"]) for predictions in (right, worse)
    ]
    loss = Loss.of(scores[0], scores[1], passages_of(records))
    assert loss.mean == pytest.approx(100.0 * (1 - 1 / math.log2(3)) / 2)
    assert loss.spread.count == 2, "queries are what is drawn"
    assert task.record_score(1.0, records.select([0])) is None


def test_a_group_tells_the_query_where_texts_do_not() -> None:
    rows = [("q", "a", 1.0), ("Q", "b", 0.0), ("q", "c", 0.0)]
    predictions = {"0": 1.0, "1": 2.0, "2": 0.0}
    assert configured(pairs(*rows)).metrics(predictions, pairs(*rows))["mrr_at_10"] == 100.0
    grouped = pairs(*rows, group=["1", "1", "1"])
    assert configured(grouped).metrics(predictions, grouped)["mrr_at_10"] == 50.0


def test_data_that_cannot_be_ranked_are_refused_before_the_work(tokenizer: Any) -> None:
    records = pairs(("q", "a", 0.3), ("q", "b", 0.9))
    with pytest.raises(ValueError, match="ranking needs one logit and labels that are 0 and 1, and the head is 'regr"):
        configured(records)
    names = records_of([{"id": name, "text": "q", "text_pair": name, "label": name} for name in "ab"], LABELLED_TEXT)
    with pytest.raises(ValueError, match="the head is 'classes' of 'a', 'b': read labels of 0 and 1 as scores"):
        configured(names)
    two: PreTrainedConfig = BertConfig(architectures=["BertForSequenceClassification"])
    with pytest.raises(ValueError, match=r"are numbers, and the encoder's outputs are .*, or set ranking to false"):
        Classification(ranking=True).configure(two, pairs(("q", "a", 1), ("q", "b", 0)))
    alone = pairs(("q", "a", 1), ("r", "b", 0))
    with pytest.raises(ValueError, match="none of 2 records is one of a query with relevant and irrelevant candidates"):
        configured(alone).check_measurable(alone)


def test_an_order_that_changes_is_a_changed_answer() -> None:
    records = pairs(("q", "a", 1), ("q", "b", 0), ("r", "a", 0), ("r", "b", 1), ("s", "a", 0))
    task = configured(records)
    stock = dict(zip("01234", (1.0, -1.0, 0.5, 2.0, 3.0), strict=True))
    moved = {name: value + 0.01 for name, value in stock.items()}
    assert task.changed_answers(moved, stock, records) == 0
    assert task.changed_answers(stock | {"2": 2.1}, stock, records) == 1
    assert task.changed_answers(stock | {"4": -3.0}, stock, records) == 0, "a query of which nothing is measured"


@pytest.mark.parametrize(
    ("head", "moved", "changed"),
    [("relevance", 0.001, 0), ("relevance", 1.5, 1), ("regression", 0.001, 0), ("regression", 0.5, 3)],
)
def test_a_single_logit_changes_its_answer_by_what_it_says(head: Any, moved: float, changed: int) -> None:
    records = pairs(("q", "a", 1), ("q", "b", 0), ("r", "a", 0))
    stock = {"0": 2.0, "1": -1.0, "2": 0.25}
    task = Classification(head=head)
    assert task.changed_answers({name: value + moved for name, value in stock.items()}, stock, records) == changed


def test_one_record_of_a_ranking_is_read_by_itself(tokenizer: Any) -> None:
    task = configured(pairs(("q", "a", 1), ("q", "b", 0)))
    own = task.own_records([{"text": "who?", "text_pair": "he"}])
    assert len(task.encode(own, tokenizer)) == 1
    assert too_long(task, own, tokenizer) is None
