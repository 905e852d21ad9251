"""MRQA-form corpora: every answer stands where it is said to stand, and everywhere that it stands is said."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import pytest

from trbert_env.data.embedded.mrqa import embedded_naturalqa, embedded_newsqa, occurrences

Row = dict[str, Any]


@pytest.fixture(scope="module", params=[embedded_newsqa, embedded_naturalqa])
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """The validation questions of each corpus."""
    return list(request.param("validation"))


def test_offsets_are_exact_and_complete(rows: list[Row]) -> None:
    for row in rows:
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        assert texts
        assert starts == sorted(set(starts))
        for text, start in zip(texts, starts, strict=True):
            assert row["context"][start : start + len(text)] == text
        assert len(re.findall(rf"(?<!\w){re.escape(texts[0])}(?!\w)", row["context"], re.IGNORECASE)) == len(texts)


def test_some_answers_stand_several_times(rows: list[Row]) -> None:
    several = sum(len(row["answers"]["text"]) > 1 for row in rows)
    assert 0.15 * len(rows) < several < 0.5 * len(rows)


def test_aliases_are_the_answers_and_sometimes_more(rows: list[Row]) -> None:
    further = 0
    for row in rows:
        assert set(row["answers"]["text"]) <= set(row["aliases"])
        assert len(set(row["aliases"])) == len(row["aliases"])
        others = set(row["aliases"]) - set(row["answers"]["text"])
        assert not any(alias in row["context"] for alias in others)
        further += bool(others)
    assert 0.1 * len(rows) < further < 0.5 * len(rows)


def test_questions_of_a_context_share_its_group(rows: list[Row]) -> None:
    contexts: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        contexts[row["group"]].add(row["context"])
    assert all(len(texts) == 1 for texts in contexts.values())
    assert set(Counter(row["group"] for row in rows).values()) == {3}


def test_contexts_are_longer_than_those_for_squad(rows: list[Row]) -> None:
    lengths = [len(row["context"].split()) for row in rows]
    assert min(lengths) > 100
    assert max(lengths) < 260


def test_text_reads_as_sentences(rows: list[Row]) -> None:
    for row in rows:
        assert not re.search(r"[{}|]|  |\.\.| [.,;?]", row["context"] + row["question"])
        assert row["question"].endswith("?")


def test_markers() -> None:
    news = embedded_newsqa("validation")["context"]
    assert all(re.match(r"\([A-Z][\w ]+\) -- [A-Z0-9]", context) for context in news)
    assert sum("[PAR]" in context for context in news) > 0.8 * len(news)
    for context in embedded_naturalqa("validation")["context"]:
        assert context.count("<P> ") == context.count(" </P>") >= 1


def test_occurrences_are_whole_words() -> None:
    assert occurrences("18", "18 of 1918, and 18") == [(0, "18"), (16, "18")]
    assert occurrences("hops", "Hops. Chops and shops; hops") == [(0, "Hops"), (23, "hops")]
