"""The order of classes whose names alone are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def sorted_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Return distinct names in the order of their classes: numbers by value, other names by alphabet.

    Args:
        names: Names of classes.

    Example:
        >>> sorted_labels(["10", "9", "9"]), sorted_labels(["pos", "neg"])
        (('9', '10'), ('neg', 'pos'))
    """
    distinct = set(names)
    if are_numbers(distinct):
        return tuple(sorted(distinct, key=lambda name: (_number(name) or 0.0, name)))
    return tuple(sorted(distinct))


def are_numbers(names: Iterable[str]) -> bool:
    """Return whether all names are numbers, so that their values tell their order.

    Args:
        names: Names of classes.

    Example:
        >>> are_numbers(["-1", "0.5"]), are_numbers(["1", "two"])
        (True, False)
    """
    return all(_number(name) is not None for name in names)


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None
