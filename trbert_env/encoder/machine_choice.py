"""A choice between two ways to compute on this CPU: measured once, and the same for every process of the machine.

What was chosen is kept in the cache folder (``TRBERT_CACHE``) and read by later processes, so that two runs of one seed
on one machine compute alike, bit for bit. A cache that cannot be written is no error: the choice then holds for the
process.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch

from trbert_env.data.cache import NoHomeError, cache_folder

#: How many times faster the second way must be to be chosen: about as fast ones would be told apart by chance.
CLEARLY = 1.1
#: How often each way is measured.
_TRIES = 5


def kept_choice(name: str, ways: tuple[str, str], measure: Callable[[], float]) -> str:
    """Return the way that was chosen on this machine; measure and keep it where none was.

    Args:
        name: Name of the choice.
        ways: The two ways.
        measure: Function that returns how many times faster the second way is than the first, which is taken unless the
            second is clearly faster.
    """
    try:
        place = cache_folder() / "kernels" / f"{name}-{_machine()}.json"
    except NoHomeError:  # nothing can be kept
        return ways[measure() > CLEARLY]
    found = _read(place, ways)
    if found is not None:
        return found
    speedup = measure()
    chosen = ways[speedup > CLEARLY]
    try:
        return _keep(place, ways, {"way": chosen, "speedup": round(speedup, 2)})
    except OSError:
        return chosen


def times_faster(ways: Sequence[Callable[[], object]]) -> float:
    """Return how many times faster the second of two ways is than the first.

    They take turns, so that what slows the machine for a while slows both; the first try builds kernels.

    Args:
        ways: The two ways.
    """
    with torch.inference_mode():
        seconds = [[_seconds(way) for way in ways] for _ in range(_TRIES + 1)][1:]
    first, second = (min(own) for own in zip(*seconds, strict=True))
    return float(first / second)


def _seconds(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def _keep(place: Path, ways: tuple[str, str], record: dict[str, object]) -> str:
    """Write a choice unless another process was first, whose choice then holds."""
    place.parent.mkdir(parents=True, exist_ok=True)
    written = place.with_name(f".{place.name}.{os.getpid()}")
    written.write_text(json.dumps(record))
    try:
        os.link(written, place)  # whole or not at all, and never over another one
    except FileExistsError:
        if _read(place, ways) is None:  # damaged
            written.replace(place)
    finally:
        written.unlink(missing_ok=True)
    return _read(place, ways) or cast(str, record["way"])


def _read(place: Path, ways: tuple[str, str]) -> str | None:
    """Return a kept choice; None where there is none or the file is damaged."""
    try:
        way = json.loads(place.read_text())["way"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return cast(str, way) if way in ways else None


def _machine() -> str:
    """Name what a choice holds for: the processor, the threads and the version of torch."""
    processor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    except OSError:  # not Linux
        pass
    what = f"{platform.machine()} {processor} {torch.get_num_threads()} {torch.__version__}"
    return hashlib.sha256(what.encode()).hexdigest()[:16]
