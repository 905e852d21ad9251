"""HotpotQA's scores of answers, of supporting sentences and of both, against examples that are worked out by hand."""

from __future__ import annotations

import pytest

from trbert_env.tasks.hotpot_metrics import hotpot_metrics

#: Prediction (None for none), right answer, exact match and F1.
ANSWERS: dict[str, tuple[str | None, str, float, float]] = {
    "equal": ("Oslo", "Oslo", 1, 1),
    "case": ("oSLO", "Oslo", 1, 1),
    "other": ("Bergen", "Oslo", 0, 0),
    "article": ("the Old Mill", "Old Mill", 1, 1),
    "article within": ("mill of a town", "mill of the town", 1, 1),
    "punctuation": ("Oslo, Norway.", "Oslo Norway", 1, 1),
    "points join": ("U.S.", "us", 1, 1),
    "hyphens join": ("rock-n-roll", "rocknroll", 1, 1),
    "hyphens are no blanks": ("rock-n-roll", "rock n roll", 0, 0),
    "underscores are taken out": ("old_mill", "oldmill", 1, 1),
    "curly quotes stay": ("\u2018mill\u2019", "mill", 0, 0),
    "one of two": ("mill", "old mill", 0, 2 / 3),
    "two of three": ("old red mill", "old mill", 0, 4 / 5),
    "half of each": ("old mill", "old town", 0, 1 / 2),
    "word twice": ("mill mill", "mill", 0, 2 / 3),
    "order": ("mill old", "old mill", 0, 1),
    "yes": ("yes", "yes", 1, 1),
    "yes with a full stop": ("Yes.", "yes", 1, 1),
    "no for yes": ("no", "yes", 0, 0),
    "yes and more words have no F1": ("yes", "yes it is", 0, 0),
    "more words and yes have no F1": ("yes it is", "yes", 0, 0),
    "no in an answer that is no no": ("no mill", "no man", 0, 1 / 2),
    "no alone in a longer answer": ("no", "no man", 0, 0),
    "noanswer": ("noanswer", "noanswer", 1, 1),
    "noanswer and another": ("noanswer", "noanswer given", 0, 0),
    "an article before yes": ("the yes", "yes", 1, 1),
    "empty": ("", "Oslo", 0, 0),
    "both empty once normalised": ("the", "an", 1, 0),
    "no prediction": (None, "Oslo", 0, 0),
    "no prediction of an empty answer": (None, "", 0, 0),
}


@pytest.mark.parametrize("name", list(ANSWERS))
def test_one_answer(name: str) -> None:
    prediction, answer, exact, f1 = ANSWERS[name]
    found = hotpot_metrics({} if prediction is None else {"q": prediction}, {"q": answer})
    assert found == pytest.approx({"f1": 100 * f1, "exact_match": 100 * exact})


A0, A1, B0, B1 = ("A", 0), ("A", 1), ("B", 0), ("B", 1)
Sentences = list[tuple[str, int]]

#: Prediction, answer, sentences found (None for none given), right ones; exact match and F1 of the sentences, then of
#: both at once.
JOINT: dict[str, tuple[str | None, str, Sentences | None, Sentences, tuple[float, float], tuple[float, float]]] = {
    "all right": ("Oslo", "Oslo", [A0, B0], [A0, B0], (1, 1), (1, 1)),
    "another order": ("Oslo", "Oslo", [B0, A0], [A0, B0], (1, 1), (1, 1)),
    "a sentence twice counts once": ("Oslo", "Oslo", [A0, A0, B0], [A0, B0], (1, 1), (1, 1)),
    "a right one twice counts once": ("Oslo", "Oslo", [A0], [A0, A0], (1, 1), (1, 1)),
    "one too few": ("Oslo", "Oslo", [A0], [A0, B0], (0, 2 / 3), (0, 2 / 3)),  # precision 1, recall 1/2
    "one too many": ("Oslo", "Oslo", [A0, A1, B0], [A0, B0], (0, 4 / 5), (0, 4 / 5)),  # 2/3, 1
    "half and half": ("Oslo", "Oslo", [A0, A1], [A0, B0], (0, 1 / 2), (0, 1 / 2)),
    "none right": ("Oslo", "Oslo", [A1, B1], [A0, B0], (0, 0), (0, 0)),
    "none found": ("Oslo", "Oslo", [], [A0, B0], (0, 0), (0, 0)),
    "none given": ("Oslo", "Oslo", None, [A0, B0], (0, 0), (0, 0)),
    "none right and none found": ("Oslo", "Oslo", [], [], (1, 0), (1, 0)),
    "some found where none is right": ("Oslo", "Oslo", [A0], [], (0, 0), (0, 0)),
    "the same number in another paragraph": ("Oslo", "Oslo", [B0], [A0], (0, 0), (0, 0)),
    "titles are compared as they are": ("Oslo", "Oslo", [("a", 0)], [A0], (0, 0), (0, 0)),
    "a sentence that no paragraph has": ("Oslo", "Oslo", [A0], [A0, ("Z", 9)], (0, 2 / 3), (0, 2 / 3)),
    "wrong answer": ("Rome", "Oslo", [A0, B0], [A0, B0], (1, 1), (0, 0)),
    "no answer": (None, "Oslo", [A0, B0], [A0, B0], (1, 1), (0, 0)),
    "no for yes": ("no", "yes", [A0], [A0], (1, 1), (0, 0)),
    "yes": ("Yes", "yes", [A0], [A0, B0], (0, 2 / 3), (0, 2 / 3)),
    # Answer: precision 2/3, recall 1; sentences: precision 1, recall 1/2; both: 2/3 and 1/2.
    "products": ("old red mill", "old mill", [A0], [A0, B0], (0, 2 / 3), (0, 4 / 7)),
    # Answer: 1 and 1/2; sentences: 1/2 and 1; both: 1/2 and 1/2.
    "products that meet": ("mill", "old mill", [A0, A1], [A0], (0, 2 / 3), (0, 1 / 2)),
    # Answer: 1/2 and 1/2; sentences: 1/3 and 1/2; both: 1/6 and 1/4.
    "products of four": ("old mill", "old town", [A0, A1, B1], [A0, B0], (0, 2 / 5), (0, 1 / 5)),
    "part of the answer, all sentences": ("mill", "old mill", [A0], [A0], (1, 1), (0, 2 / 3)),
    "both empty once normalised": ("the", "an", [A0], [A0], (1, 1), (1, 0)),
}


@pytest.mark.parametrize("name", list(JOINT))
def test_one_question(name: str) -> None:
    prediction, answer, found, right, support, joint = JOINT[name]
    metrics = hotpot_metrics(
        {} if prediction is None else {"q": prediction},
        {"q": answer},
        {} if found is None else {"q": found},
        {"q": right},
    )
    names = ("support_exact_match", "support_f1", "joint_exact_match", "joint_f1")
    expected = dict(zip(names, (100 * value for value in (*support, *joint)), strict=True))
    assert {name: metrics[name] for name in names} == pytest.approx(expected)
    assert metrics.keys() == {"f1", "exact_match", *names}


def test_sentences_play_no_part_in_the_answers_scores() -> None:
    for prediction, answer, found, right, *_ in JOINT.values():
        predictions = {} if prediction is None else {"q": prediction}
        alone = hotpot_metrics(predictions, {"q": answer})
        both = hotpot_metrics(predictions, {"q": answer}, {"q": found or []}, {"q": right})
        assert {name: both[name] for name in alone} == alone


def test_the_means_are_over_questions() -> None:
    rows = dict(enumerate(JOINT.values()))
    metrics = hotpot_metrics(
        {str(key): row[0] for key, row in rows.items() if row[0] is not None} | {"of no question": "x"},
        {str(key): row[1] for key, row in rows.items()},
        {str(key): row[2] for key, row in rows.items() if row[2] is not None},
        {str(key): row[3] for key, row in rows.items()},
    )
    count = len(rows)
    assert metrics["support_exact_match"] == pytest.approx(100 * sum(row[4][0] for row in rows.values()) / count)
    assert metrics["support_f1"] == pytest.approx(100 * sum(row[4][1] for row in rows.values()) / count)
    assert metrics["joint_exact_match"] == pytest.approx(100 * sum(row[5][0] for row in rows.values()) / count)
    assert metrics["joint_f1"] == pytest.approx(100 * sum(row[5][1] for row in rows.values()) / count)


def test_without_any_predicted_sentences_support_is_nil() -> None:
    metrics = hotpot_metrics({"q": "Oslo"}, {"q": "Oslo"}, None, {"q": [A0]})
    assert (metrics["f1"], metrics["support_f1"], metrics["joint_exact_match"]) == (100, 0, 0)


def test_no_question_is_refused() -> None:
    with pytest.raises(ValueError, match="no questions to score"):
        hotpot_metrics({"q": "Oslo"}, {})
