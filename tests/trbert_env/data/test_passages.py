"""Passages of long contexts, the contexts that an order of them makes, and the ranker that finds the order."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from trbert_env.data.passage_ranker import FEATURES, PassageRanker, fit_passage_ranker, passage_features
from trbert_env.data.passages import Passage, arranged, joined_documents, passages_of


def texts(context: str, max_words: int) -> list[str]:
    return [context[passage.start : passage.end] for passage in passages_of(context, max_words)]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        (["One\r\n\r\ntwo ", "Three"], "One\ntwo\n\nThree"),
        (["\rOne\rtwo\u2028three"], "One\ntwo\nthree"),
        (["", " \n", "One"], "One"),
        ([], ""),
        (["a  b\tc"], "a  b\tc"),
    ],
)
def test_documents_with_line_ends_of_any_kind(documents: list[str], expected: str) -> None:
    assert joined_documents(documents) == expected


@pytest.mark.parametrize(
    ("context", "max_words", "expected"),
    [
        ("a b\nc\nd e\n\nf", 3, ["a b\nc", "d e", "f"]),
        ("a b\nc\nd e\n\nf", 2, ["a b", "c", "d e", "f"]),
        ("a b\nc\nd e\n\nf", 100, ["a b\nc\nd e", "f"]),
        ("a b c d e\nf", 2, ["a b", "c d", "e\nf"]),
        ("a  b\tc", 2, ["a  b", "c"]),
        ("a\n\nb\n\nc", 9, ["a", "b", "c"]),
        ("", 5, []),
    ],
)
def test_paragraphs_of_a_document_are_put_together_while_they_fit(
    context: str, max_words: int, expected: list[str]
) -> None:
    assert texts(context, max_words) == expected


def test_words_before_a_passage_are_those_of_its_document() -> None:
    assert [passage.words_before for passage in passages_of("a b\nc d\ne\n\nf g\nh", 2)] == [0, 2, 4, 0, 2]


def test_every_word_is_in_one_passage() -> None:
    random = Random(0)
    for _ in range(200):
        lines = [
            " ".join(str(random.random()) for _ in range(random.randint(0, 9))) for _ in range(random.randint(1, 9))
        ]
        context = joined_documents("\n".join(lines[first::2]) for first in (0, 1))
        pieces = texts(context, random.randint(1, 6))
        assert " ".join(pieces).split() == context.split()


CONTEXT = "The mill is in Oslo .\nIt is old .\n\nOslo lies by the sea ."


@pytest.mark.parametrize(
    ("order", "max_words", "text"),
    [
        ([0, 1, 2], None, "The mill is in Oslo .\nIt is old .\nOslo lies by the sea ."),
        ([2, 0], None, "Oslo lies by the sea .\nThe mill is in Oslo ."),
        ([2, 0], 12, "Oslo lies by the sea .\nThe mill is in Oslo ."),
        ([2, 0], 10, "Oslo lies by the sea .\nThe mill is in"),
        ([2, 0], 6, "Oslo lies by the sea ."),
        ([1], 1, "It"),
        ([1], 99, "It is old ."),
    ],
)
def test_passages_in_an_order_cut_behind_so_many_words(order: list[int], max_words: int | None, text: str) -> None:
    passages = passages_of(CONTEXT, 6)
    assert arranged(CONTEXT, [passages[index] for index in order], max_words) == text


def test_a_whole_context_keeps_its_breaks() -> None:
    whole = [Passage(0, len(CONTEXT), 0)]
    assert arranged(CONTEXT, whole, None) == CONTEXT
    assert arranged(CONTEXT, whole, 11) == "The mill is in Oslo .\nIt is old .\n\nOslo"


# -- ranking -------------------------------------------------------------------------------------------------------

QUESTION = "Of the old tower: where to stand?"


def features(context: str, max_words: int = 6) -> dict[str, list[float]]:
    found = passage_features(QUESTION, context, passages_of(context, max_words))
    return {name: found[:, index].tolist() for index, name in enumerate(FEATURES)}


def test_features() -> None:
    found = features("The tower is in Oslo .\nThe old towers stand .\nNothing here .\n\nOld tower , old stand .")
    assert found["begins_document"] == [1, 0, 0, 1]
    np.testing.assert_allclose(found["log_words_before"], np.log1p([0, 6, 11, 0]))
    # Of the question's words, old, tower and stand are no stop words.
    np.testing.assert_allclose(found["question_words"], [1 / 3, 2 / 3, 0, 1])
    cosines = found["tfidf_cosine"]
    assert cosines[2] == 0
    assert cosines[3] > cosines[1] > cosines[0] > 0
    assert cosines[3] < 1


def test_cosine_by_hand() -> None:
    """Two passages and the question: 'tower' is in two of three texts, the others in one."""
    found = passage_features("tower oslo", "tower\n\nsea", passages_of("tower\n\nsea", 5))
    common, rare = np.log(4 / 3) + 1, np.log(4 / 2) + 1
    np.testing.assert_allclose(found[:, 0], [common / np.hypot(common, rare), 0])


@pytest.mark.parametrize("question", ["", "?", "Who is it?"])
def test_questions_of_stop_words(question: str) -> None:
    found = passage_features(question, "The tower .\n\nOf the .", passages_of("The tower .\n\nOf the .", 5))
    assert not found[:, [0, 3]].any()
    assert passage_features(QUESTION, "", []).shape == (0, len(FEATURES))


def ranker(**weights: float) -> PassageRanker:
    return PassageRanker({**dict.fromkeys(FEATURES, 0.0), **weights}, passage_words=6)


def test_the_best_passages_go_first_and_equals_keep_their_order() -> None:
    context = "Nothing here .\n\nThe tower .\n\nThe old tower .\n\nNothing there .\n\nThe old tower ."
    starts = [passage.start for passage in passages_of(context, 6)]
    order = [starts.index(passage.start) for passage in ranker(question_words=1.0).ordered(QUESTION, context)]
    assert order == [2, 4, 1, 0, 3]
    assert [passage.start for passage in ranker().ordered(QUESTION, context)] == starts


def records(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Documents of ten passages; the answer stands where the question's words do, mostly early."""
    random = Random(seed)
    made = []
    for number in range(count):
        place = min(random.randrange(10), random.randrange(10))
        lines = [f"word{random.randrange(50)} word{random.randrange(50)} and some more words" for _ in range(10)]
        lines[place] = f"the key{number} of gate{number} is answer{number} here"
        context = "\n".join(lines)
        answers = {"text": [f"answer{number}"], "answer_start": [context.index(f"answer{number}")]}
        made.append({"question": f"What is the key{number} of gate{number}?", "context": context, "answers": answers})
    return made


def test_a_fitted_ranker_finds_the_passage_with_the_answer() -> None:
    fitted = fit_passage_ranker(records(40), passage_words=8)
    assert fitted.weights["tfidf_cosine"] > 0
    assert fitted.weights["log_words_before"] < 0
    for record in records(40, seed=1):
        best = fitted.ordered(record["question"], record["context"])[0]
        assert record["answers"]["text"][0] in record["context"][best.start : best.end]


def test_the_same_records_give_the_same_ranker_which_is_saved_as_it_is(tmp_path: Path) -> None:
    fitted = fit_passage_ranker(records(20), passage_words=8)
    assert fit_passage_ranker(iter(records(20)), passage_words=8) == fitted
    assert fit_passage_ranker(records(20, seed=1), passage_words=8) != fitted
    fitted.save(tmp_path / "ranker.json")
    assert PassageRanker.load(tmp_path / "ranker.json") == fitted
    assert set(json.loads((tmp_path / "ranker.json").read_text())) == {"format", "passage_words", "weights"}


def test_records_that_tell_nothing() -> None:
    record = records(1)[0]
    without = {**record, "answers": {"text": [], "answer_start": []}}
    with pytest.raises(ValueError, match="no question has passages with and without an answer: give records with long"):
        fit_passage_ranker([without, without])
    with pytest.raises(ValueError, match="or a smaller passage_words than 400"):
        fit_passage_ranker([record])
    two = records(2)
    assert fit_passage_ranker([*two, without], 8) == fit_passage_ranker(two, 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is no passage ranker"),
        ({"format": "other"}, "is no passage ranker"),
        ({"format": "trbert passage ranker 1", "weights": {}}, "is a damaged passage ranker"),
        (
            {"format": "trbert passage ranker 1", "passage_words": 4, "weights": {"tfidf_cosine": 1.0}},
            "is a damaged passage ranker .*give a finite number for each of tfidf_cosine, begins_document",
        ),
        (
            {"format": "trbert passage ranker 1", "passage_words": 0, "weights": dict.fromkeys(FEATURES, 0)},
            "is a damaged passage ranker .passage_words is 0: give at least 1",
        ),
        (
            {"format": "trbert passage ranker 1", "passage_words": 4, "weights": dict.fromkeys(FEATURES, "x")},
            "is a damaged passage ranker",
        ),
    ],
)
def test_files_that_hold_no_ranker(content: Any, message: str, write: Any) -> None:
    file = write("ranker.json", content)
    with pytest.raises(ValueError, match=f"^{file} {message}") as caught:
        PassageRanker.load(file)
    assert "\n" not in str(caught.value)


def test_a_ranker_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x.json does not exist: check its path"):
        PassageRanker.load(tmp_path / "x.json")
