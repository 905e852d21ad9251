"""Multiple choice: the answer is in the article, and so is something that could be mistaken for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import mean
from typing import Any

import pytest

from trbert_env.data.embedded.choices import embedded_race

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The validation questions."""
    return list(embedded_race("validation"))


def stands(option: str, row: Row) -> bool:
    """Whether an option stands in the article; a sentence may begin with it."""
    return option in row["article"] or option[0].upper() + option[1:] in row["article"]


def test_options_are_four_different_ones(rows: list[Row]) -> None:
    for row in rows:
        assert len(set(row["options"])) == len(row["options"]) == 4
        assert not any(a in b for a in row["options"] for b in row["options"] if a != b)


def test_the_article_holds_the_answer_and_a_rival(rows: list[Row]) -> None:
    numbers: Counter[int] = Counter()
    for row in rows:
        wrong = [option for index, option in enumerate(row["options"]) if index != row["answer"]]
        assert stands(row["options"][row["answer"]], row)
        numbers[sum(stands(option, row) for option in wrong)] += 1
    assert numbers[0] == 0
    assert numbers[2] + numbers[3] > 0.1 * len(rows)


def test_the_question_does_not_hold_an_option(rows: list[Row]) -> None:
    assert not [row["id"] for row in rows if any(option in row["question"] for option in row["options"])]


def test_answers_are_spread_over_the_options(rows: list[Row]) -> None:
    counts = Counter(row["answer"] for row in rows)
    assert set(counts) == {0, 1, 2, 3}
    assert min(counts.values()) > 0.18 * len(rows)


def test_length_does_not_tell_the_answer(rows: list[Row]) -> None:
    right = mean(len(row["options"][row["answer"]]) for row in rows)
    assert right == pytest.approx(mean(len(option) for row in rows for option in row["options"]), rel=0.1)


def test_questions_of_an_article_share_its_group(rows: list[Row]) -> None:
    articles: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        articles[row["group"]].add(row["article"])
    assert all(len(texts) == 1 for texts in articles.values())
    assert len(set.union(*articles.values())) == len(articles)
    assert max(Counter(row["group"] for row in rows).values()) == 3
