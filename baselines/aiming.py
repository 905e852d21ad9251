"""Settings that give a FLOPs speed-up, found by bisection."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

#: Halvings of the interval: beyond this, numbers of tokens no longer change.
_HALVINGS = 50
#: How far from the wanted speed-up the nearest one may be, as a share of it.
_TOLERANCE = 0.1


def factor_for(
    speedup: float,
    speed: Callable[[float], float],
    bounds: tuple[float, float],
    name: str,
    halvings: int = _HALVINGS,
) -> float:
    """Return the setting that gives a speed-up, of a system that is slower the greater the setting is.

    Args:
        speedup: FLOPs speed-up that is wanted.
        speed: Speed-up that a setting gives.
        bounds: Smallest and greatest setting.
        name: Name of the system in errors.
        halvings: Halvings of the interval; fewer where a speed-up takes long to find.

    Raises:
        ValueError: No setting gives the speed-up.

    Example:
        >>> round(factor_for(2.0, lambda kept: 1 / kept, (0.1, 1.0), "half"), 3)
        0.5
    """
    _, high = _bisected(speedup, speed, bounds, halvings)
    if abs(speed(high) / speedup - 1.0) > _TOLERANCE:
        slowest, fastest = speed(bounds[1]), speed(bounds[0])
        raise ValueError(
            f"{name} has speed-ups of {slowest:.2f} to {fastest:.2f} on these texts, not {speedup:g}: "
            "give a --target-speedup in between"
        )
    return high


def nearest_factor(
    speedup: float,
    speed: Callable[[float], float],
    bounds: tuple[float, float],
    name: str,
    halvings: int = _HALVINGS,
) -> float:
    """Return the setting that comes nearest to a speed-up, where what was trained must not be lost for the rest.

    Args:
        speedup: As for :func:`factor_for`.
        speed: As there; it may rise in steps.
        bounds: As there.
        name: Name of the system in warnings.
        halvings: As there.

    Example:
        >>> nearest_factor(1.9, lambda kept: 2.0 if kept < 0.5 else 1.0, (0.0, 1.0), "steps") < 0.5
        True
    """
    reached = {factor: speed(factor) for factor in _bisected(speedup, speed, bounds, halvings)}
    found = min(reached, key=lambda factor: abs(math.log(reached[factor] / speedup)))
    if abs(reached[found] / speedup - 1.0) > _TOLERANCE:
        warnings.warn(
            f"{name} comes to {reached[found]:.2f}x and not to {speedup:g}x on the texts that its settings are chosen "
            "by",
            stacklevel=2,
        )
    return found


def _bisected(
    speedup: float, speed: Callable[[float], float], bounds: tuple[float, float], halvings: int
) -> tuple[float, float]:
    """The settings on both sides of a speed-up: the faster one, and the slower one."""
    low, high = bounds
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if speed(middle) > speedup else (low, middle)
    return low, high


def nearest(speedup: float, speeds: dict[str, float], name: str) -> str:
    """Return which of some settings has the nearest speed-up.

    Args:
        speedup: FLOPs speed-up that is wanted.
        speeds: Speed-up of each setting; that of the unreduced encoder is none of them.
        name: Name of the system in errors.

    Raises:
        ValueError: None comes near.
    """
    if not speeds:
        raise ValueError(f"{name} has no faster form of an encoder of a single layer: give another --system")
    found = min(speeds, key=lambda setting: abs(speeds[setting] / speedup - 1.0))
    if abs(speeds[found] / speedup - 1.0) > _TOLERANCE:
        has = ", ".join(f"{value:.2f} ({setting})" for setting, value in sorted(speeds.items(), key=lambda one: one[1]))
        raise ValueError(f"{name} has the speed-ups {has}, none near {speedup:g}: give --target-speedup one of them")
    return found
