"""TriviaQA's exact match and F1 against examples that are worked out by hand."""

from __future__ import annotations

import pytest

from trbert_env.tasks.mrqa_metrics import mrqa_metrics
from trbert_env.tasks.trivia_metrics import trivia_metrics

#: Prediction (None for none), aliases, exact match and F1.
EXAMPLES: dict[str, tuple[str | None, list[str], float, float]] = {
    "equal": ("oslo", ["oslo"], 1, 1),
    "case": ("OSLO", ["oslo"], 1, 1),
    "other": ("Bergen", ["oslo"], 0, 0),
    "article": ("The Mill", ["mill"], 1, 1),
    "article in the alias": ("mill", ["a mill"], 1, 1),
    "article within a word": ("anthem", ["them"], 0, 0),
    "points are blanks": ("U.S.", ["u s"], 1, 1),
    "points do not join": ("U.S.", ["us"], 0, 0),
    "hyphens are blanks": ("rock-n-roll", ["rock n roll"], 1, 1),
    "hyphens do not join": ("rock-n-roll", ["rocknroll"], 0, 0),
    "a hyphen sets an article free": ("a-ha", ["ha"], 1, 1),
    "and does not join it": ("a-ha", ["aha"], 0, 0),
    "underscores are blanks": ("old_mill", ["old mill"], 1, 1),
    "an underscore sets an article free": ("the_mill", ["mill"], 1, 1),
    "curly quotes are blanks": ("\u2018mill\u2019", ["mill"], 1, 1),
    "acute accent and backtick are blanks": ("rock`n\u00b4roll", ["rock n roll"], 1, 1),
    "double curly quotes stay": ("\u201cmill\u201d", ["mill"], 0, 0),
    "an apostrophe": ("O'Brien", ["o brien"], 1, 1),
    "white space": (" old \n mill ", ["old mill"], 1, 1),
    "one of two": ("mill", ["old mill"], 0, 2 / 3),
    "two of three": ("old red mill", ["old mill"], 0, 4 / 5),
    "word twice": ("mill mill", ["mill"], 0, 2 / 3),
    "order": ("mill old", ["old mill"], 0, 1),
    "the best alias": ("oslo norway", ["bergen", "oslo", "oslo norway"], 1, 1),
    "F1 of the best alias": ("oslo by the sea", ["sea", "oslo sea"], 0, 4 / 5),
    "a human answer is normalised": ("city of oslo", ["The City-of-Oslo"], 1, 1),
    "numbers": ("4,000", ["4 000"], 1, 1),
    "no comma": ("4,000", ["4000"], 0, 0),
    "yes is a word like any other": ("yes it is", ["yes"], 0, 1 / 2),
    "empty": ("", ["oslo"], 0, 0),
    "both empty once normalised": ("the", ["a"], 1, 0),
    "no alias": ("oslo", [], 0, 0),
    "no prediction": (None, ["oslo"], 0, 0),
    "no prediction of an empty alias": (None, [""], 0, 0),
}


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_one_question(name: str) -> None:
    prediction, aliases, exact, f1 = EXAMPLES[name]
    predictions = {} if prediction is None else {"q": prediction}
    assert trivia_metrics(predictions, {"q": aliases}) == pytest.approx({"f1": 100 * f1, "exact_match": 100 * exact})


def test_the_mean_is_over_questions() -> None:
    predictions = {str(index): row[0] for index, row in enumerate(EXAMPLES.values()) if row[0] is not None}
    aliases = {str(index): row[1] for index, row in enumerate(EXAMPLES.values())}
    found = trivia_metrics({**predictions, "of no question": "oslo"}, aliases)
    assert found["exact_match"] == pytest.approx(100 * sum(row[2] for row in EXAMPLES.values()) / len(EXAMPLES))
    assert found["f1"] == pytest.approx(100 * sum(row[3] for row in EXAMPLES.values()) / len(EXAMPLES))
    assert list(found) == ["f1", "exact_match"]


@pytest.mark.parametrize(
    "name", ["points are blanks", "hyphens are blanks", "a hyphen sets an article free", "numbers"]
)
def test_the_normalisation_is_not_that_of_mrqa(name: str) -> None:
    prediction, aliases, *_ = EXAMPLES[name]
    assert trivia_metrics({"q": str(prediction)}, {"q": aliases})["exact_match"] == 100
    assert mrqa_metrics({"q": str(prediction)}, {"q": aliases})["exact_match"] == 0


def test_no_question_is_refused() -> None:
    with pytest.raises(ValueError, match="no questions to score"):
        trivia_metrics({"q": "oslo"}, {})
