"""The corpus in TriviaQA's form: long evidence, and every place where an alias stands."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from trbert_env.data.embedded.trivia import embedded_triviaqa
from trbert_env.data.normalisation import trivia_normal
from trbert_env.data.occurrences import AnswerFinder
from trbert_env.data.passage_ranker import fit_passage_ranker
from trbert_env.data.passages import passages_of
from trbert_env.tasks.trivia_metrics import trivia_metrics

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(embedded_triviaqa("validation"))


def test_answers_stand_where_they_say_and_count_by_the_metric(rows: list[Row]) -> None:
    for row in rows:
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        assert texts
        assert starts == sorted(set(starts))
        for text, start in zip(texts, starts, strict=True):
            assert row["context"][start : start + len(text)] == text
            assert trivia_metrics({"q": text}, {"q": row["aliases"]})["exact_match"] == 100
        found = AnswerFinder([*row["aliases"], *texts]).find(row["context"])
        assert [start for start, _ in found] == starts, "all places are said"


def test_aliases_are_normalised_and_sometimes_more_than_one(rows: list[Row]) -> None:
    assert all(alias == trivia_normal(alias) for row in rows for alias in row["aliases"])
    several = sum(len(row["aliases"]) > 1 for row in rows)
    assert 0.1 * len(rows) < several < 0.5 * len(rows)


def test_some_answers_stand_several_times(rows: list[Row]) -> None:
    several = sum(len(row["answers"]["text"]) > 1 for row in rows)
    assert 0.1 * len(rows) < several < 0.5 * len(rows)


def test_evidence_is_five_articles_too_long_for_one_window(rows: list[Row]) -> None:
    for row in rows:
        assert row["context"].count("\n\n") == 4
        assert 500 < len(row["context"].split()) < 900
    assert set(Counter(row["group"] for row in rows).values()) == {3}


def test_answers_stand_anywhere_in_the_evidence(rows: list[Row]) -> None:
    thirds = Counter(3 * row["answers"]["answer_start"][0] // len(row["context"]) for row in rows)
    assert min(thirds[third] for third in range(3)) > 0.2 * len(rows)


def test_a_passage_ranker_finds_the_article_that_tells(rows: list[Row]) -> None:
    ranker = fit_passage_ranker(rows[:150], passage_words=100)
    found, by_chance = 0, 0.0
    for row in rows[150:300]:
        starts = row["answers"]["answer_start"]
        passages = ranker.ordered(row["question"], row["context"])
        found += any(passages[0].start <= start < passages[0].end for start in starts)
        by_chance += 1 / len(passages_of(row["context"], 100))
    assert found > 100 > 5 * by_chance
