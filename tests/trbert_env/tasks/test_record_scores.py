"""What each record adds to the main metric: the mean is the metric, for every kind of task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import pearsonr
from transformers import BertConfig

from trbert_env.tasks import CandidateQA, Classification, MultiHopQA, MultipleChoice, SpanQA, Task
from trbert_env.tasks.class_metrics import pearson_pseudo_values
from trbert_env.tasks.multi_hop_qa import Answer

ANSWERS = [["the old mill"], [], ["Bern", "Berne"], ["Oslo, Norway"]]
SPANS = {
    "id": list("abcd"),
    "answers": [{"text": texts, "answer_start": [0] * len(texts)} for texts in ANSWERS],
}
GUESSES = {"a": "mill", "b": "x", "c": "Berne", "d": ""}
CLASSES = {"id": list("abcd"), "label": ["neg", "pos", "pos", "neg"]}
NUMBERS = {
    "id": list("abcd"),
    "text": ["who"] * 4,
    "text_pair": ["he", "she", "it", "they"],
    "label": [0.0, 1.0, 1.0, 0.0],
}
HOPS = {
    "id": list("abc"),
    "answer": ["Ada King Lovelace", "yes", "Bern"],
    "supports": [{"title": [], "sentence": []}] * 3,
}
FOUND = {"a": Answer("the Lovelace", []), "b": Answer("yes", []), "c": Answer("no", [])}
CHOICES = {"id": list("abc"), "answer": [0, 2, 1]}
CASES: dict[str, tuple[Task, dict[str, Any], dict[str, Any], list[float] | None]] = {
    "squad": (SpanQA(), SPANS, GUESSES, None),
    "mrqa": (SpanQA(metric="mrqa"), SPANS, GUESSES, None),
    "trivia": (SpanQA(metric="trivia"), SPANS | {"aliases": [["mill"], [], [], ["Oslo"]]}, GUESSES, None),
    "classes": (Classification(), CLASSES, {"a": "neg", "b": "neg", "c": "pos", "d": "pos"}, [100, 0, 100, 0]),
    "relevance": (
        Classification(head="relevance"),
        NUMBERS,
        {"a": -1.0, "b": 2.0, "c": -0.1, "d": 3.0},
        [100, 100, 0, 0],
    ),
    "choice": (MultipleChoice(), CHOICES, {"a": 0, "b": 1, "c": 1}, [100, 0, 100]),
    "multi-hop": (MultiHopQA(), HOPS, FOUND, [50, 100, 0]),
    "candidates": (CandidateQA(), CHOICES, {"a": 1, "b": 2, "c": 1}, [0, 100, 100]),
}


@pytest.mark.parametrize("kind", CASES)
def test_their_mean_is_the_main_metric(kind: str) -> None:
    task, columns, predictions, by_hand = CASES[kind]
    records = Dataset.from_dict(columns)
    if isinstance(task, Classification):
        task.configure(BertConfig(num_labels=1 if task.head == "relevance" else 2), records)
    scores = task.record_scores(predictions, records)
    assert scores.mean() == pytest.approx(task.metrics(predictions, records)[task.metric_names[0]])
    if by_hand is not None:
        assert scores.tolist() == by_hand


def test_the_words_of_an_answer_count_each() -> None:
    scores = SpanQA().record_scores(GUESSES, Dataset.from_dict(SPANS))
    assert scores.tolist() == pytest.approx([200 / 3, 0.0, 100.0, 0.0])


def test_pseudo_values_of_a_correlation() -> None:
    random = np.random.default_rng(0)
    gold = random.normal(size=30)
    predicted = gold + random.normal(size=30)
    whole, places = 100 * pearsonr(predicted, gold).statistic, np.arange(30)
    others = [100 * pearsonr(predicted[places != place], gold[places != place]).statistic for place in places]
    found = pearson_pseudo_values(predicted, gold)
    np.testing.assert_allclose(found, 30 * whole - 29 * np.array(others), rtol=1e-9)
    assert found.mean() == pytest.approx(whole, abs=1.0)
    assert pearson_pseudo_values(np.zeros(5), np.arange(5.0)).tolist() == [0.0] * 5
