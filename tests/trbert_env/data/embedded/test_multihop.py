"""The corpus in HotpotQA's form: what its records promise, and that two paragraphs are needed."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from trbert_env.data import load_examples
from trbert_env.data.embedded.multihop import embedded_hotpotqa
from trbert_env.data.readers import hotpotqa

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(embedded_hotpotqa("validation"))


def texts(row: Row) -> dict[str, str]:
    titles, sentences = row["paragraphs"]["title"], row["paragraphs"]["sentences"]
    return {title: "".join(lines) for title, lines in zip(titles, sentences, strict=True)}


def support(row: Row, which: int) -> str:
    """The first or second supporting sentence."""
    title, index = row["supports"]["title"][which], row["supports"]["sentence"][which]
    found: str = row["paragraphs"]["sentences"][row["paragraphs"]["title"].index(title)][index]
    return found


def value_of(row: Row) -> str:
    """The value that a comparison asks for, in lower case."""
    found = re.match(r"Is (.+?) the .+ of both |Do both .+ have (.+) as their ", row["question"])
    assert found
    return str(found[1] or found[2]).lower()


def of_type(rows: list[Row], subset: str) -> list[Row]:
    return [row for row in rows if row["subset"] == subset]


def test_types_and_answers(rows: list[Row]) -> None:
    assert Counter(row["subset"] for row in rows) == {"bridge": 450, "comparison": 150}
    for row in rows:
        assert row["kind"] == ("span" if row["subset"] == "bridge" else row["answer"])
    answers = Counter(row["answer"] for row in of_type(rows, "comparison"))
    assert answers.keys() == {"yes", "no"}
    assert 55 < answers["yes"] < 95


def test_every_record_obeys_the_rules_of_its_form() -> None:
    found = load_examples("hotpot_qa", "validation", "embedded")
    assert len(found.dataset) == 600
    assert not found.left_out


def test_supporting_sentences_are_of_two_paragraphs(rows: list[Row]) -> None:
    for row in rows:
        assert len(set(row["supports"]["title"])) == len(row["supports"]["title"]) == 2
        assert all(support(row, which) for which in (0, 1))


def test_a_bridge_needs_both_sentences(rows: list[Row]) -> None:
    for row in of_type(rows, "bridge"):
        first, second = row["supports"]["title"]
        assert first in row["question"]
        assert second not in row["question"]
        assert second.lower() in support(row, 0).lower(), "the first sentence names the bridge"
        assert row["spans"]["paragraph"] == [row["paragraphs"]["title"].index(second)]
        (text,), (start,) = row["spans"]["text"], row["spans"]["start"]
        assert text.lower() == row["answer"].lower()
        assert texts(row)[second][start : start + len(text)] == text
        assert text in support(row, 1)
        elsewhere = " ".join(text for title, text in texts(row).items() if title != second)
        assert not re.search(rf"(?<!\w){re.escape(row['answer'])}(?!\w)", elsewhere, re.IGNORECASE)
        assert first not in texts(row)[second], "the second paragraph does not lead back"


def test_a_comparison_names_both_subjects(rows: list[Row]) -> None:
    for row in of_type(rows, "comparison"):
        assert all(title in row["question"] for title in row["supports"]["title"])
        others = [title for title in texts(row) if title not in row["supports"]["title"]]
        assert len(others) == 2
        rest = re.sub("|".join(map(re.escape, row["supports"]["title"])), "", row["question"])
        assert not any(title in rest for title in others)
        told = [which for which in (0, 1) if value_of(row) in support(row, which).lower()]
        assert told == [0, 1] if row["answer"] == "yes" else len(told) == 1


def test_paragraphs_come_in_random_order(rows: list[Row]) -> None:
    places = Counter(row["paragraphs"]["title"].index(row["supports"]["title"][0]) for row in rows)
    assert len(places) >= 4
    assert max(places.values()) < 0.4 * len(rows)


def test_text_reads_as_hotpotqa_has_it(rows: list[Row]) -> None:
    for row in rows:
        assert row["question"].endswith("?")
        for first, *others in row["paragraphs"]["sentences"]:
            assert not first.startswith(" ")
            assert all(re.match(r" \S", sentence) for sentence in others)
    lengths = [sum(len(text.split()) for text in texts(row).values()) for row in rows]
    assert 40 < sum(lengths) / len(lengths) < 140


def test_training_questions_are_brief_or_of_one_step_in_two_of_five_each() -> None:
    rows = list(embedded_hotpotqa("train"))
    for subset in ("bridge", "comparison"):
        found = of_type(rows, subset)
        brief = sum(all(len(lines) == 1 for lines in row["paragraphs"]["sentences"]) for row in found)
        assert 0.35 * len(found) < brief < 0.5 * len(found)
    assert all(len(row["supports"]["title"]) == 2 for row in of_type(rows, "comparison"))
    bridges = of_type(rows, "bridge")
    steps = [row for row in bridges if len(row["supports"]["title"]) == 1]
    assert len(steps) == 0.4 * len(bridges)
    for row in steps:
        assert row["spans"]["text"][0].lower() == row["answer"].lower()
        assert row["spans"]["text"][0] in support(row, 0)
    first = sum(row["answer"] in row["paragraphs"]["title"] for row in steps)
    assert first == len(steps) / 2, "the first step leads to the title of another paragraph"


@pytest.mark.parametrize(("level", "steps"), [("easy", {1}), ("medium", {2}), ("hard", {2})])
def test_training_questions_of_one_level(level: str, steps: set[int]) -> None:
    rows = list(load_examples(hotpotqa(level=level), "train", "embedded").dataset)
    bridges, comparisons = of_type(rows, "bridge"), of_type(rows, "comparison")
    assert {len(row["supports"]["title"]) for row in bridges} == steps
    brief = [all(len(lines) == 1 for lines in row["paragraphs"]["sentences"]) for row in bridges]
    assert all(brief) if level == "medium" else sum(brief) < 0.1 * len(brief)
    brief = [all(len(lines) == 1 for lines in row["paragraphs"]["sentences"]) for row in comparisons]
    assert sum(brief) < 0.1 * len(brief) if level == "hard" else all(brief)
    assert load_examples(hotpotqa(level=level), "validation", "embedded").dataset.to_list()[:9] == list(
        embedded_hotpotqa("validation").select(range(9))
    )


def test_an_unknown_level() -> None:
    with pytest.raises(
        ValueError, match="unknown level 'harder' of the embedded corpus: use one of easy, medium, hard"
    ):
        embedded_hotpotqa("train", level="harder")
