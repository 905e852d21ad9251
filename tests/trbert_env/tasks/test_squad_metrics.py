"""Metrics worked out by hand."""

from __future__ import annotations

import pytest

from trbert_env.tasks.squad_metrics import exact_match, normalize_answer, squad_metrics, token_f1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Norman\tConquest!", "norman conquest"),
        ("a U.S. state", "us state"),
        ("an-other", "another"),  # punctuation goes before articles are looked for
        ("Theatre", "theatre"),
        ("the", ""),
        ("", ""),
        ("1,000", "1000"),
        ("café", "café"),
        ("“quoted”", "“quoted”"),  # the official script knows ASCII punctuation only
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("the Normans", ["Normans", "in France"], 1.0, 1.0),
        ("in northern France", ["Normans", "in France"], 0.0, 0.8),  # 2 common of 3 and of 2
        ("France France", ["France"], 0.0, 2 / 3),  # a repeated token counts once: precision 1/2, recall 1
        ("London", ["Paris"], 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("Paris", [], 0.0, 0.0),
        ("the", [], 1.0, 1.0),
        ("", ["the"], 1.0, 1.0),  # nothing is left of the gold answer: as officially, abstaining is right
        ("", ["the", "Paris"], 0.0, 0.0),  # but not where another one is left
        ("paris", ["Paris", "Paris"], 1.0, 1.0),
        ("Paris, France", ["paris france"], 1.0, 1.0),
        ("France Paris", ["Paris France"], 0.0, 1.0),  # F1 knows no order
        ("a red boat", ["the red boat"], 1.0, 1.0),
        ("red boat", ["a red, red boat"], 0.0, 0.8),  # 2 common of 2 and of 3
        ("one two three", ["three four"], 0.0, 0.4),
        ("rock-n-roll", ["rock n roll"], 0.0, 0.0),  # punctuation joins words
        ("...", ["Paris"], 0.0, 0.0),
        ("...", [], 1.0, 1.0),  # nothing is left of the prediction
        ("Paris", ["...", "Paris"], 1.0, 1.0),
        ("1,000", ["1000 men"], 0.0, 2 / 3),
        ("the the", ["the"], 1.0, 1.0),
    ],
)
def test_one_question(prediction: str, answers: list[str], exact: float, f1: float) -> None:
    assert exact_match(prediction, answers) == exact
    assert token_f1(prediction, answers) == pytest.approx(f1)


def test_means_of_all_and_of_each_group() -> None:
    answers = {"a": ["Paris"], "b": ["in France"], "c": [], "d": [], "e": []}
    predictions = {"a": "paris.", "b": "in northern France", "c": "", "d": "x", "e": "", "other": "ignored"}
    result = squad_metrics(predictions, answers)
    assert list(result) == ["f1", "exact_match", "has_answer_f1", "has_answer_exact_match", "no_answer_f1"]
    assert result == pytest.approx(
        {
            "f1": 100 * (1 + 0.8 + 2) / 5,
            "exact_match": 100 * 3 / 5,
            "has_answer_f1": 90.0,
            "has_answer_exact_match": 50.0,
            "no_answer_f1": 100 * 2 / 3,
        }
    )


def test_keys_of_an_empty_group_are_left_out() -> None:
    assert list(squad_metrics({"a": ""}, {"a": []})) == ["f1", "exact_match", "no_answer_f1"]
    assert list(squad_metrics({"a": "x"}, {"a": ["x"]})) == [
        "f1",
        "exact_match",
        "has_answer_f1",
        "has_answer_exact_match",
    ]


def test_refuses_missing_predictions_and_no_questions() -> None:
    with pytest.raises(ValueError, match="1 questions have no prediction, the first is 'b'"):
        squad_metrics({"a": ""}, {"a": [], "b": []})
    with pytest.raises(ValueError, match="no questions to score"):
        squad_metrics({}, {})
