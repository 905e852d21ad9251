"""TriviaQA's normalisation of answers; readers need it too, to look for what the metric will count."""

from __future__ import annotations

import re
import string

_SIGNS = str.maketrans(dict.fromkeys(string.punctuation + "‘’´", " "))
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def trivia_normal(answer: str) -> str:
    """Lower-case an answer, put blanks for ASCII punctuation and quotes, drop articles, and squeeze white space.

    Args:
        answer: The answer.

    Example:
        >>> trivia_normal("The U.S. rock-n-roll_era’s"), trivia_normal("a-ha")
        ('u s rock n roll era s', 'ha')
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_SIGNS)).split())
