"""A linear ranker of passages: TF-IDF features of scikit-learn and logistic regression, saved as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trbert_env.data.files import json_of
from trbert_env.data.passages import Passage, passages_of

Numbers = npt.NDArray[np.float64]

#: Features of a passage: likeness to the question (cosine of TF-IDF vectors, 0 to 1), whether it begins its
#: document, the logarithm of one more than the words before it there, and the share of the question's words in it.
FEATURES = ("tfidf_cosine", "begins_document", "log_words_before", "question_words")
_FORMAT = "trbert passage ranker 1"


@dataclass(frozen=True)
class PassageRanker:
    """Orders the passages of a context by how likely they hold the answer of a question.

    Attributes:
        weights: The weight of each of :data:`FEATURES`; the largest sum goes first.
        passage_words: The most words of a passage.

    Raises:
        ValueError: A weight is missing or not finite, or there are further ones.
    """

    weights: Mapping[str, float]
    passage_words: int = 400

    def __post_init__(self) -> None:
        """Check the weights."""
        if set(self.weights) != set(FEATURES) or not all(map(np.isfinite, self.weights.values())):
            raise ValueError(
                f"weights are {dict(self.weights)}: give a finite number for each of {', '.join(FEATURES)}"
            )
        if self.passage_words < 1:
            raise ValueError(f"passage_words is {self.passage_words}: give at least 1")

    def ordered(self, question: str, context: str) -> list[Passage]:
        """Return the passages of a context, the best first; equals keep their order.

        Args:
            question: The question.
            context: Documents, from :func:`~trbert_env.data.passages.joined_documents`.
        """
        passages = passages_of(context, self.passage_words)
        weights = np.array([self.weights[name] for name in FEATURES])
        scores = passage_features(question, context, passages) @ weights
        return [passages[index] for index in np.argsort(-scores, kind="stable")]

    def save(self, file: Path) -> None:
        """Write the ranker as JSON.

        Args:
            file: The file to write.
        """
        content = {"format": _FORMAT, "passage_words": self.passage_words, "weights": dict(self.weights)}
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> PassageRanker:
        """Read a ranker that :meth:`save` wrote.

        Args:
            file: The file.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no such file.
        """
        if not file.is_file():
            raise FileNotFoundError(f"passage ranker {file} does not exist: check its path")
        content = json_of(file)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"{file} is no passage ranker: give a file that PassageRanker.save wrote")
        try:
            return cls({name: float(weight) for name, weight in content["weights"].items()}, content["passage_words"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{file} is a damaged passage ranker ({error}): fit it anew") from error


def passage_features(question: str, context: str, passages: Sequence[Passage]) -> Numbers:
    """Return the features of passages, ``(num_passages, 4)`` float64, in the order of :data:`FEATURES`.

    Args:
        question: The question.
        context: The text that the passages are of.
        passages: The passages; words are weighted by how many of these have them.
    """
    texts = [context[passage.start : passage.end] for passage in passages]
    cosines, shares = _likeness(question, texts)
    before = np.array([passage.words_before for passage in passages], dtype=np.float64)
    return np.stack([cosines, before == 0, np.log1p(before), shares], axis=1).reshape(-1, len(FEATURES))


def _likeness(question: str, texts: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Cosine of each text with the question, and the share of the question's words that it has; no stop words."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import, and few need it

    vectorizer = TfidfVectorizer(stop_words="english", strip_accents="unicode")
    asked = set(vectorizer.build_analyzer()(question))
    if not asked or not texts:
        return np.zeros(len(texts)), np.zeros(len(texts))
    vectors = vectorizer.fit_transform([*texts, question])
    columns = [vectorizer.vocabulary_[word] for word in sorted(asked)]
    present = np.asarray((vectors[:-1, columns] > 0).sum(axis=1), dtype=np.float64).ravel()
    cosines = np.asarray((vectors[:-1] @ vectors[-1].T).todense(), dtype=np.float64).ravel()
    return cosines, present / len(asked)


def fit_passage_ranker(records: Iterable[Mapping[str, Any]], passage_words: int = 400) -> PassageRanker:
    """Fit a ranker to tell passages that hold an answer from the others of the same question.

    The same records in the same order give the same ranker. Questions of whose passages all hold an answer, or none
    does, tell nothing and are passed over.

    Args:
        records: Records with ``question``, ``context`` and ``answers{text, answer_start}``, such as those of
            ``triviaqa(max_words=None)``, whose contexts are whole.
        passage_words: The most words of a passage.

    Raises:
        ValueError: No question has passages of both kinds.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and few need it

    features: list[Numbers] = []
    holds: list[npt.NDArray[np.bool_]] = []
    for record in records:
        passages = passages_of(record["context"], passage_words)
        found = np.array([holds_answer(passage, record["answers"]) for passage in passages], dtype=np.bool_)
        if found.any() and not found.all():
            features.append(passage_features(record["question"], record["context"], passages))
            holds.append(found)
    if not features:
        raise ValueError(
            "no question has passages with and without an answer: give records with long contexts, or a smaller "
            f"passage_words than {passage_words}"
        )
    model = LogisticRegression(max_iter=1000).fit(np.concatenate(features), np.concatenate(holds))
    return PassageRanker(dict(zip(FEATURES, model.coef_[0].tolist(), strict=True)), passage_words)


def holds_answer(passage: Passage, answers: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether an answer stands in a passage.

    Args:
        passage: The passage.
        answers: Answers of the context that it is of: ``text`` and ``answer_start``, in characters.
    """
    places = zip(answers["answer_start"], answers["text"], strict=True)
    return any(passage.start <= start and start + len(text) <= passage.end for start, text in places)
