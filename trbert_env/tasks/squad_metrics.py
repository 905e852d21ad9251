"""Exact match and token F1 as SQuAD 2.0 officially defines them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower-case ``text``, drop ASCII punctuation and English articles, and squeeze white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the normalised prediction equals a gold answer, else 0.

    Args:
        prediction: The predicted answer, ``""`` to abstain.
        answers: All gold answers; none means that the question is unanswerable.
    """
    found = normalize_answer(prediction)
    return float(any(found == gold for gold in _normalized_golds(answers)))


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """The best token F1 of the prediction over all gold answers, from 0 to 1.

    Args:
        prediction: The predicted answer, ``""`` to abstain.
        answers: All gold answers; none means that the question is unanswerable.
    """
    found = normalize_answer(prediction).split()
    return max(_f1(found, gold.split()) for gold in _normalized_golds(answers))


def squad_metrics(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Mean F1 and exact match of all questions and of those with and without an answer.

    Args:
        predictions: The predicted answer of each question, by id.
        answers: All gold answers of each question, by id; an empty list for an unanswerable one.

    Returns:
        ``f1, exact_match, has_answer_f1, has_answer_exact_match, no_answer_f1``, from 0 to 100; the keys
        of a group without questions are left out.

    Raises:
        ValueError: If there is no question, or a question has no prediction.
    """
    if not answers:
        raise ValueError("there are no questions to score: give at least one example")
    missing = [key for key in answers if key not in predictions]
    if missing:
        raise ValueError(f"{len(missing)} questions have no prediction, the first is {missing[0]!r}: predict all")
    f1 = {key: token_f1(predictions[key], golds) for key, golds in answers.items()}
    exact = {key: exact_match(predictions[key], golds) for key, golds in answers.items()}
    answerable = [key for key, golds in answers.items() if golds]
    unanswerable = [key for key, golds in answers.items() if not golds]
    result = {"f1": _percent(f1, list(answers)), "exact_match": _percent(exact, list(answers))}
    if answerable:
        result["has_answer_f1"] = _percent(f1, answerable)
        result["has_answer_exact_match"] = _percent(exact, answerable)
    if unanswerable:
        result["no_answer_f1"] = _percent(f1, unanswerable)
    return result


def _normalized_golds(answers: Sequence[str]) -> list[str]:
    # As the official script does: a gold answer of articles and punctuation would match an abstention.
    golds = [gold for gold in map(normalize_answer, answers) if gold]
    return golds or [""]


def _f1(found: list[str], gold: list[str]) -> float:
    if not found or not gold:
        return float(found == gold)
    common = (Counter(found) & Counter(gold)).total()
    # Equals the harmonic mean of precision common / found and recall common / gold.
    return 2 * common / (len(found) + len(gold))


def _percent(scores: Mapping[str, float], keys: Sequence[str]) -> float:
    return 100.0 * sum(scores[key] for key in keys) / len(keys)
