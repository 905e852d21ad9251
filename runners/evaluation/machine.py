"""The machine that a benchmark runs on: how fast it multiplies matrices, and whether it is busy with other work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor
from torch.nn.functional import linear

from trbert_env.encoder.kernels import linear_library, onednn_linear, onednn_order

#: Rows, inputs and outputs of the product that the matrix rate is read from, on a CPU and on a GPU.
CPU_PRODUCT, GPU_PRODUCT = (2048, 1024, 2048), (8192, 8192, 8192)
#: Share of the processors beyond which other work counts as load.
MOST_OTHERS = 0.05
#: First line of ``/proc/stat``: ticks of user, nice, system, idle, iowait, irq, softirq and steal.
_BUSY = (0, 1, 2, 5, 6, 7)


@dataclass(frozen=True)
class Product:
    """A large matrix product in one number format, by the library that linear layers of our encoder take.

    Attributes:
        run: One product.
        gflops: GFLOPs of it.
    """

    run: Callable[[], None]
    gflops: float


def matrix_product(dtype: torch.dtype, device: torch.device | str) -> Product:
    """Return the product that the matrix rate of a device is read from.

    Args:
        dtype: Number format.
        device: Device to multiply on.
    """
    device = torch.device(device)
    on_cpu = device.type == "cpu"
    rows, inputs, outputs = CPU_PRODUCT if on_cpu else GPU_PRODUCT
    states = torch.linspace(-1, 1, rows * inputs, device=device).view(rows, inputs).to(dtype)
    weight = torch.linspace(-1, 1, outputs * inputs, device=device).view(outputs, inputs).to(dtype)
    multiply: Callable[[Tensor, Tensor, None], Tensor] = linear
    if on_cpu and linear_library(dtype) == "onednn":
        weight, multiply = onednn_order(weight), onednn_linear

    def run() -> None:
        with torch.inference_mode():
            multiply(states, weight, None)

    return Product(run, 2.0 * rows * inputs * outputs / 1e9)


@dataclass(frozen=True)
class Load:
    """Work of other processes while something was measured.

    Attributes:
        others: Processors that other processes kept busy, on average; None where the system does not say.
        processors: Processors of the machine.
    """

    others: float | None
    processors: int

    @property
    def quiet(self) -> bool | None:
        """Whether the machine was left to the measurement; None where the system does not say."""
        return None if self.others is None else self.others <= MOST_OTHERS * self.processors

    def to_flat(self) -> dict[str, float | int | bool | None]:
        """Return what a flat record keeps of it, by name."""
        return {"other_processors": self.others, "processors": self.processors, "machine_quiet": self.quiet}

    @property
    def busy(self) -> str:
        """How busy other processes kept the machine, in words; empty where the system does not say."""
        if self.others is None:
            return ""
        return f"other processes kept {self.others:.2f} of {self.processors} processors busy"

    def describe(self, cpu_time: bool = True) -> str:
        """Return a line for readers.

        Args:
            cpu_time: True where CPU times are told beside those of the clock.
        """
        if self.others is None:
            return "the load of the machine is not known: this system has no /proc/stat"
        if self.quiet:
            return f"{self.busy}: the machine was quiet"
        return f"{self.busy}: the machine was not quiet{', so go by CPU time, not by the clock' if cpu_time else ''}"


class LoadWatch:
    """Adds up the CPU time of other processes over blocks of a ``with`` statement.

    Example:
        >>> watch = LoadWatch()
        >>> with watch:
        ...     total = sum(range(1000))
        >>> watch.load.processors >= 1
        True
    """

    def __init__(self) -> None:
        self._seconds, self._others = 0.0, 0.0
        self._began: tuple[float, float | None, float] | None = None

    def __enter__(self) -> LoadWatch:
        """Begin a block."""
        self._began = _reading()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count a block."""
        assert self._began is not None
        (began, busy, own), (ended, busy_then, own_then) = self._began, _reading()
        self._seconds += ended - began
        if busy is not None and busy_then is not None:
            self._others += max(0.0, (busy_then - busy) - (own_then - own))

    @property
    def load(self) -> Load:
        """Load over the blocks so far."""
        known = _busy_seconds() is not None and self._seconds > 0
        return Load(self._others / self._seconds if known else None, os.cpu_count() or 1)


def _reading() -> tuple[float, float | None, float]:
    """Clock, busy time of all processors, and CPU time of this process, in seconds."""
    return time.perf_counter(), _busy_seconds(), time.process_time()


def _busy_seconds() -> float | None:
    """Seconds that all processors were busy since the start of the system; None where it does not say."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    except (OSError, ValueError):
        return None
    return sum(ticks[place] for place in _BUSY) / os.sysconf("SC_CLK_TCK") if len(ticks) > max(_BUSY) else None
