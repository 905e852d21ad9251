"""Which library multiplies matrices on this CPU: a choice by measurement, the same for every process of a machine.

Torch sends float32 products to the library that it was built with, which takes a slow path on processors of other
makes; oneDNN, which comes with torch too, may then be twice as fast. Which of the two is faster is measured once on a
machine, in a few milliseconds, and kept in the cache folder (``TRBERT_CACHE``): later processes read it, so that two
runs of one seed on one machine compute alike, bit for bit. A cache that cannot be written is no error: the choice then
holds for the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import linear

from trbert_env.data.cache import cache_folder

Library = Literal["torch", "onednn"]

#: Environment variable that chooses for every number format: ``torch`` or ``onednn``; empty for the faster one.
VARIABLE = "TRBERT_LINEAR"
#: Rows, inputs and outputs of the measured product, and how often each side is measured.
_PROBE, _TRIES = (192, 384, 768), 5


@cache
def linear_library(dtype: torch.dtype) -> Library:
    """Return which library computes linear layers of a number format on the CPU.

    It is the one that :data:`VARIABLE` names, else what was chosen on this machine before, else the faster one.

    Args:
        dtype: Number format of inputs and weights.

    Raises:
        ValueError: The environment variable names no library.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "torch", "onednn"):
        raise ValueError(f"{VARIABLE} is {wanted!r}: give torch or onednn, or leave it empty for the faster one")
    if dtype not in (torch.float32, torch.bfloat16) or not _has_onednn():
        return "torch"
    return cast(Library, wanted) if wanted else _kept(dtype)


@contextmanager
def by_library(library: Library) -> Iterator[None]:
    """Have a library compute all linear layers while the block runs, as :data:`VARIABLE` would.

    Args:
        library: The library; torch serves where oneDNN is not there.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = library
    linear_library.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
        linear_library.cache_clear()


def chosen_libraries() -> dict[str, Library]:
    """Return the library of each number format, as a run records it."""
    return {str(dtype).removeprefix("torch."): linear_library(dtype) for dtype in (torch.float32, torch.bfloat16)}


def onednn_linear(states: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    """Multiply by oneDNN, ``(..., outputs)``; without gradients.

    Args:
        states: ``(..., inputs)`` on the CPU.
        weight: ``(outputs, inputs)``, of any strides; or what :func:`onednn_order` gave.
        bias: ``(outputs,)``; None for none.
        activation: ``"none"``, or ``"gelu"`` for the exact GELU of the result.
    """
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(states, weight, bias, activation, [], "none"))


def onednn_order(weight: Tensor) -> Tensor:
    """Return a copy of a weight in the order that oneDNN multiplies in; only :func:`onednn_linear` can read it.

    Args:
        weight: ``(outputs, inputs)``.
    """
    return cast(Tensor, torch.ops.mkldnn._reorder_linear_weight(weight.detach()))


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _kept(dtype: torch.dtype) -> Library:
    """Return the choice that was kept on this machine; measure and keep it where there is none."""
    name = f"linear-{str(dtype).removeprefix('torch.')}-{_machine()}.json"
    place = cache_folder() / "kernels" / name
    found = _read(place)
    if found is not None:
        return found
    speedup = measured_speedup(dtype)
    chosen: Library = "onednn" if speedup > 1.0 else "torch"
    try:
        return _keep(place, {"library": chosen, "speedup": round(speedup, 2)})
    except OSError:
        return chosen


def _keep(place: Path, record: dict[str, object]) -> Library:
    """Write a choice unless another process was first, whose choice then holds."""
    place.parent.mkdir(parents=True, exist_ok=True)
    written = place.with_name(f".{place.name}.{os.getpid()}")
    written.write_text(json.dumps(record))
    try:
        os.link(written, place)  # whole or not at all, and never over another one
    except FileExistsError:
        if _read(place) is None:  # damaged
            written.replace(place)
    finally:
        written.unlink(missing_ok=True)
    return _read(place) or cast(Library, record["library"])


def _read(place: Path) -> Library | None:
    """Return a kept choice; None where there is none or the file is damaged."""
    try:
        library = json.loads(place.read_text())["library"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return library if library in ("torch", "onednn") else None


def _machine() -> str:
    """Name what the choice holds for: the processor, the threads and the version of torch."""
    processor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    except OSError:  # not Linux
        pass
    what = f"{platform.machine()} {processor} {torch.get_num_threads()} {torch.__version__}"
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def measured_speedup(dtype: torch.dtype) -> float:
    """Return how many times faster oneDNN computes a linear layer with its GELU than torch's own path.

    Args:
        dtype: Number format.
    """
    rows, inputs, outputs = _PROBE
    with torch.inference_mode():
        states = torch.linspace(-1, 1, rows * inputs).view(rows, inputs).to(dtype)
        weight = torch.linspace(-0.1, 0.1, outputs * inputs).view(outputs, inputs).to(dtype)
        bias = torch.zeros(outputs, dtype=dtype)
        ways = (
            lambda: torch.nn.functional.gelu(linear(states, weight, bias)),
            lambda: onednn_linear(states, weight, bias, "gelu"),
        )
        # In turns, so that what slows the machine for a while slows both; the first try builds kernels.
        seconds = [[_seconds(way) for way in ways] for _ in range(_TRIES + 1)][1:]
    torchs, onednns = (min(own) for own in zip(*seconds, strict=True))
    return float(torchs / onednns)


def _seconds(way: Callable[[], Tensor]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started
