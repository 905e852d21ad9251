"""Exact match and F1 of HotpotQA: of answers, of supporting sentences, and of both at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from trbert_env.tasks.overlap_scores import NOTHING, Scores, overlap_scores
from trbert_env.tasks.squad_metrics import normalize_answer

#: Answers that are right as a whole or not at all.
_WHOLE = frozenset({"yes", "no", "noanswer"})

#: A sentence: the title of its paragraph, and its number from 0.
Sentence = tuple[str, int]


def hotpot_metrics(
    predictions: Mapping[str, str],
    answers: Mapping[str, str],
    found: Mapping[str, Collection[Sentence]] | None = None,
    supports: Mapping[str, Collection[Sentence]] | None = None,
) -> dict[str, float]:
    """Mean F1 and exact match over the questions, as the official script has them.

    The normalisation is SQuAD's. Yes and no have no F1 with anything but themselves. The joint precision of a question
    is the product of those of its answer and its sentences, and so is its recall; a joint exact match is both.

    Args:
        predictions: The predicted answer of each question, by id; one that is missing counts as 0.
        answers: The right answer of each question, by id.
        found: The sentences that were predicted to support it; one that is missing counts as 0.
        supports: The sentences that do.

    Returns:
        ``f1, exact_match``, and where sentences are given ``support_f1, support_exact_match, joint_f1,
        joint_exact_match``; from 0 to 100.

    Raises:
        ValueError: There is no question.

    Example:
        >>> hotpot_metrics({"a": "yes", "b": "the old mill"}, {"a": "no", "b": "old mills"})
        {'f1': 25.0, 'exact_match': 0.0}
    """
    if not answers:
        raise ValueError("there are no questions to score: give at least one record")
    totals: dict[str, float] = dict.fromkeys(("f1", "exact_match"), 0.0)
    if supports is not None:
        totals |= dict.fromkeys(("support_f1", "support_exact_match", "joint_f1", "joint_exact_match"), 0.0)
    for key, answer in answers.items():
        scores, exact = _answer_scores(predictions.get(key), answer)
        _add(totals, "", scores, exact)
        if supports is not None:
            support_scores, support_exact = _support_scores((found or {}).get(key), supports[key])
            _add(totals, "support_", support_scores, support_exact)
            _add(totals, "joint_", scores.joined(support_scores), exact and support_exact)
    return {name: 100.0 * total / len(answers) for name, total in totals.items()}


def _add(totals: dict[str, float], prefix: str, scores: Scores, exact: bool) -> None:
    totals[f"{prefix}f1"] += scores.f1
    totals[f"{prefix}exact_match"] += exact


def _answer_scores(prediction: str | None, answer: str) -> tuple[Scores, bool]:
    if prediction is None:
        return NOTHING, False
    ours, right = normalize_answer(prediction), normalize_answer(answer)
    if ours != right and not _WHOLE.isdisjoint((ours, right)):
        return NOTHING, False
    return overlap_scores(ours.split(), right.split()), ours == right


def _support_scores(found: Collection[Sentence] | None, right: Collection[Sentence]) -> tuple[Scores, bool]:
    """Scores of sentences, each counted once; nothing found where nothing is right is an exact match."""
    if found is None:
        return NOTHING, False
    return overlap_scores(set(found), set(right)), set(found) == set(right)
