"""The corpus in WikiHop's form: queries, candidates and passages as it has them, of which two are needed."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from trbert_env.data import load_examples
from trbert_env.data.embedded.candidates import _spaced, embedded_wikihop

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(embedded_wikihop("validation"))


def passages_with(row: Row, words: str) -> list[int]:
    pattern = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE)
    return [index for index, support in enumerate(row["supports"]) if pattern.search(support)]


def test_every_record_obeys_the_rules_of_its_form() -> None:
    found = load_examples("wikihop", "validation", "embedded")
    assert len(found.dataset) == 600
    assert not found.left_out


def test_a_query_is_a_relation_and_a_subject(rows: list[Row]) -> None:
    for row in rows:
        relation, _, subject = row["query"].partition(" ")
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*_of_[a-z_]+", relation)
        assert subject == subject.lower()
        assert len(passages_with(row, subject)) == 1


def test_every_candidate_stands_in_a_passage_of_its_own_apart_from_the_subject(rows: list[Row]) -> None:
    for row in rows:
        (asked,) = passages_with(row, row["query"].partition(" ")[2])
        places = [passages_with(row, candidate) for candidate in row["candidates"]]
        assert all(len(place) == 1 for place in places)
        assert len({place[0] for place in places} | {asked}) == len(places) + 1
        assert all(candidate == candidate.lower() for candidate in row["candidates"])
        assert len(set(row["candidates"])) == len(row["candidates"])


def test_there_are_three_to_five_candidates_and_the_answer_is_any_of_them(rows: list[Row]) -> None:
    counts = Counter(len(row["candidates"]) for row in rows)
    assert counts.keys() == {3, 4, 5}
    assert min(counts.values()) > 150
    for count in counts:
        answers = Counter(row["answer"] for row in rows if len(row["candidates"]) == count)
        assert answers.keys() == set(range(count))
        assert max(answers.values()) < 1.6 * counts[count] / count


def test_training_queries_are_brief_or_of_one_step_in_two_of_five_each() -> None:
    rows = list(embedded_wikihop("train"))
    counts = Counter(len(row["candidates"]) for row in rows)
    assert counts.keys() == {2, 3, 4, 5}
    assert counts[2] == 2000
    both = sum(bool(re.match(r"[a-z_-]+_of_[a-z_]+ ", row["query"])) for row in rows)
    assert 3000 <= both < 3600, "some nouns, such as year of death, have an of in them"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is old. It is big.", "It is old . It is big ."),
        ("In 1999, 4,500 people", "In 1999 , 4,500 people"),
        ("2.5 million crowns; more", "2.5 million crowns ; more"),
        ("the birds' eggs", "the birds' eggs"),
        ("4,500", "4,500"),
    ],
)
def test_signs_stand_by_themselves(text: str, expected: str) -> None:
    assert _spaced(text) == expected


def test_passages_are_spaced(rows: list[Row]) -> None:
    for row in rows:
        for support in row["supports"]:
            assert support.endswith(" .")
            assert not re.search(r"\w\.( |$)|  ", support)
