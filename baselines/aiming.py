"""Settings that give a FLOPs speed-up, found by bisection."""

from __future__ import annotations

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
    low, high = bounds
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if speed(middle) > speedup else (low, middle)
    if abs(speed(high) / speedup - 1.0) > _TOLERANCE:
        slowest, fastest = speed(bounds[1]), speed(bounds[0])
        raise ValueError(
            f"{name} has speed-ups of {slowest:.2f} to {fastest:.2f} on these texts, not {speedup:g}: "
            "give a --target-speedup in between"
        )
    return high


def nearest(speedup: float, speeds: dict[str, float], name: str) -> str:
    """Return which of some settings has the nearest speed-up.

    Args:
        speedup: FLOPs speed-up that is wanted.
        speeds: Speed-up of each setting.
        name: Name of the system in errors.

    Raises:
        ValueError: None comes near.
    """
    found = min(speeds, key=lambda setting: abs(speeds[setting] / speedup - 1.0))
    if abs(speeds[found] / speedup - 1.0) > _TOLERANCE:
        has = ", ".join(f"{value:.2f} ({setting})" for setting, value in sorted(speeds.items(), key=lambda one: one[1]))
        raise ValueError(f"{name} has the speed-ups {has}, none near {speedup:g}: give --target-speedup one of them")
    return found
