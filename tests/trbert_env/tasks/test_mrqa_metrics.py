"""MRQA's exact match and F1 against examples that are worked out by hand."""

from __future__ import annotations

import pytest

from trbert_env.tasks.mrqa_metrics import mrqa_metrics

#: Prediction (None for none), right answers, exact match and F1 of one question.
EXAMPLES: dict[str, tuple[str | None, list[str], float, float]] = {
    "equal": ("Oslo", ["Oslo"], 1, 1),
    "case": ("oSLO", ["Oslo"], 1, 1),
    "other": ("Bergen", ["Oslo"], 0, 0),
    "article before": ("the mill", ["Mill"], 1, 1),
    "article in the answer": ("mill", ["a mill"], 1, 1),
    "article in the middle": ("mill of the town", ["mill of a town"], 1, 1),
    "article within a word": ("anthem", ["them"], 0, 0),
    "full stop": ("Oslo.", ["Oslo"], 1, 1),
    "points within a word are taken out": ("U.S.", ["us"], 1, 1),
    "hyphens join": ("rock-n-roll", ["rocknroll"], 1, 1),
    "a hyphen joins what would be an article": ("a-ha", ["aha"], 1, 1),
    "a hyphen is no blank": ("rock-n-roll", ["rock n roll"], 0, 0),
    "an underscore is taken out": ("old_mill", ["oldmill"], 1, 1),
    "white space": ("  old \t mill\n", ["old mill"], 1, 1),
    "two of three words": ("old red mill", ["old mill"], 0, 4 / 5),  # precision 2/3, recall 1
    "one of two words": ("old mill", ["mill"], 0, 2 / 3),
    "words in another order": ("mill old", ["old mill"], 0, 1),
    "a word twice counts once": ("mill mill", ["mill"], 0, 2 / 3),
    "a word twice on both sides": ("mill mill", ["mill mill sea"], 0, 4 / 5),
    "the best of several": ("old mill", ["sea", "old", "old mill"], 1, 1),
    "F1 of the best of several": ("old mill by", ["old", "old mill"], 0, 4 / 5),
    "empty prediction": ("", ["Oslo"], 0, 0),
    "only an article predicted": ("the", ["Oslo"], 0, 0),
    "both empty: the strings are equal, and F1 is 0": ("", [""], 1, 0),
    "both empty once normalised": ("the", ["an"], 1, 0),
    "punctuation alone": ("...", ["!"], 1, 0),
    "no answer known": ("Oslo", [], 0, 0),
    "no answer known and none predicted": ("", [], 0, 0),
    "no prediction": (None, ["Oslo"], 0, 0),
    "no prediction where the answer is empty": (None, [""], 0, 0),
    "numbers": ("4,000", ["4000"], 1, 1),
    "curly quotes stay": ("‘mill’", ["mill"], 0, 0),
}


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_one_question(name: str) -> None:
    prediction, answers, exact, f1 = EXAMPLES[name]
    predictions = {} if prediction is None else {"q": prediction}
    assert mrqa_metrics(predictions, {"q": answers}) == pytest.approx({"f1": 100 * f1, "exact_match": 100 * exact})


def test_the_mean_is_over_questions() -> None:
    predictions = {str(index): values[0] for index, values in enumerate(EXAMPLES.values()) if values[0] is not None}
    answers = {str(index): values[1] for index, values in enumerate(EXAMPLES.values())}
    found = mrqa_metrics({**predictions, "of no question": "Oslo"}, answers)
    assert list(found) == ["f1", "exact_match"]
    assert found["exact_match"] == pytest.approx(100 * sum(values[2] for values in EXAMPLES.values()) / len(EXAMPLES))
    assert found["f1"] == pytest.approx(100 * sum(values[3] for values in EXAMPLES.values()) / len(EXAMPLES))


def test_no_question_is_refused() -> None:
    with pytest.raises(ValueError, match="no questions to score"):
        mrqa_metrics({"q": "Oslo"}, {})
