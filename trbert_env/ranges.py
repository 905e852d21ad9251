"""The range of an option, declared once beside its type, and the one check that a dataclass of options keeps to it.

``rate: Annotated[float, Range(above=0)]`` declares a range; ``Annotated[tuple[...], Items(least=1)]`` what a tuple
must be like. A float without a range must be finite all the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any

#: The largest seed that all random generators in use take.
LARGEST_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that an option may be; infinities and NaN never are.

    Attributes:
        least: The smallest of them; None for no such end.
        most: The largest of them.
        above: Exclusive lower bound, instead of ``least``.
        below: Exclusive upper bound, instead of ``most``.

    Example:
        >>> Range(0).allows(0.0), Range(above=0).allows(0.0), Range(0).allows(float("inf"))
        (True, False, False)
        >>> str(Range(0)), str(Range(0, 1)), str(Range(above=0, most=1))
        ('be at least 0', 'lie in 0 to 1', 'be above 0 and at most 1')
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def allows(self, value: Any) -> bool:
        """Return whether a number is one of them."""
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """What an option must do to be one of them."""
        if self.least is not None and self.most is not None:
            return f"lie in {self.least:,} to {self.most:,}".replace(",", "")
        named = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        ends = [f"{name} {end:g}" for name, end in named.items() if end is not None]
        return "be " + (" and ".join(ends) or "a finite number")


@dataclasses.dataclass(frozen=True)
class Items:
    """What a tuple must be like, beside what its items are.

    Attributes:
        least: The fewest items.
        most: The most items.
        distinct: True if no item may come twice.
        order: Required order of the items, ``"rising"`` (strictly) or ``"falling"`` (equal ones allowed); None for any.
    """

    least: int = 0
    most: int | None = None
    distinct: bool = False
    order: typing.Literal["rising", "falling"] | None = None

    def problem(self, values: Sequence[Any]) -> str | None:
        """Return what a tuple must do instead; None where it is as it must be."""
        if len(values) < self.least:
            return f"name at least {self.least}"
        if self.most is not None and len(values) > self.most:
            return f"name at most {self.most}"
        if self.distinct and len(set(values)) < len(values):
            return "name none twice"
        if self.order == "rising" and any(one >= other for one, other in itertools.pairwise(values)):
            return "rise from one to the next"
        if self.order == "falling" and any(one < other for one, other in itertools.pairwise(values)):
            return "not rise from one to the next"
        return None


def check_number(name: str, value: Any) -> float:
    """Return a number as a float.

    Args:
        name: Name of the setting, for the message.
        value: What was given.

    Raises:
        TypeError: It is no number.

    Example:
        >>> check_number("speedup", 2)
        2.0
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}: give a number")
    return float(value)


def check_ranges(options: Any, name_of: Callable[[str], str] = lambda field: field) -> None:
    """Refuse options outside of the ranges that their dataclass declares, nested dataclasses included.

    Args:
        options: A dataclass.
        name_of: The name of a field in errors.

    Raises:
        ValueError: One is outside; the message names it, its value and what it must be.
    """
    hints = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, lambda inner, outer=field.name: name_of(f"{outer}.{inner}"))  # type: ignore[misc]
            continue
        shown = " ".join(map(str, value)) or "empty" if isinstance(value, (list, tuple)) else value
        problem = _problem(value, hints[field.name])
        if problem is not None:
            raise ValueError(f"{name_of(field.name)} is {shown}; {problem}")


def _problem(value: Any, hint: Any, declared: Range | None = None) -> str | None:
    """What a value must be instead, as a clause; None where it is as its type and ranges say."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin is Annotated:
        inner, *notes = arguments
        for note in notes:
            if isinstance(note, Items) and (problem := note.problem(value)) is not None:
                return f"it must {problem}"
        found = next((note for note in notes if isinstance(note, Range)), declared)
        return _problem(value, inner, found)
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        choices = [argument for argument in inner if typing.get_origin(argument) is typing.Literal]
        if any(isinstance(value, str) and value in typing.get_args(choice) for choice in choices):
            return None
        inner = [argument for argument in inner if argument not in choices]
        return _problem(value, inner[0] if len(inner) == 1 else Any, declared)
    if isinstance(value, (list, tuple)):
        hints = list(arguments) if origin is tuple and arguments[-1:] != (Ellipsis,) else [*arguments[:1]] * len(value)
        if len(hints) != len(value):
            return f"it must name {len(hints)}" if hints else None
        problems = (_problem(item, hint_of_item) for item, hint_of_item in zip(value, hints, strict=True))
        problem = next((problem for problem in problems if problem is not None), None)
        return None if problem is None else problem.replace("it must", "each must")
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and not (declared or Range()).allows(value):
        phrase = f"it must {declared or Range()}"
        return phrase if math.isfinite(value) or "finite" in phrase else f"{phrase}, and finite"
    return None
