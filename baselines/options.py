"""Options of compared systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar


@dataclass(frozen=True)
class SystemOptions:
    """Options of a compared system; each has a class of its own."""

    def idle(self, speedup: float | None) -> tuple[tuple[str, ...], str]:
        """Return the names of those of its options that others leave without effect, and why.

        Args:
            speedup: FLOPs speed-up that is aimed at; None for none.
        """
        return (), ""

    def learns_from_teacher(self, distillation: float) -> bool:
        """Return whether the teacher tells anything that is learned.

        Args:
            distillation: Share of the teacher's soft targets in the task's loss.
        """
        return distillation > 0.0


OptionsT = TypeVar("OptionsT", bound=SystemOptions)


def options_from(kind: type[SystemOptions], values: Mapping[str, Any]) -> SystemOptions:
    """Return options of a system from JSON values, in which tuples are lists.

    Args:
        kind: Class of the options.
        values: Values by name.
    """
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
