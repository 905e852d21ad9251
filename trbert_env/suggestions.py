"""Hints for names that are nearly right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest to another, whatever its capitals; None where none is near.

    Example:
        >>> nearest_name("squad", ["SQuAD", "RACE"]), nearest_name("imdb", ["SQuAD", "RACE"])
        ('SQuAD', None)
    """
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint that closes an error about an unknown name.

    Args:
        name: The unknown name.
        known: The names that exist.
        otherwise: The hint where no known name is near.

    Example:
        >>> suggestion("reinforc", ["reinforce", "ppo"], "use reinforce or ppo")
        "did you mean 'reinforce'?"
        >>> suggestion("sarsa", ["reinforce", "ppo"], "use reinforce or ppo")
        'use reinforce or ppo'
    """
    found = nearest_name(name, known)
    return otherwise if found is None else f"did you mean {found!r}?"
