"""The order of classes whose names alone are known."""

from __future__ import annotations

from collections.abc import Sequence


def sorted_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Return distinct names in the order of their classes: numbers by value, other names by alphabet.

    Args:
        names: Names of classes.

    Example:
        >>> sorted_labels(["10", "9", "9"]), sorted_labels(["pos", "neg"])
        (('9', '10'), ('neg', 'pos'))
    """
    distinct = set(names)
    if all(_number(name) is not None for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (_number(name) or 0.0, name)))
    return tuple(sorted(distinct))


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None
