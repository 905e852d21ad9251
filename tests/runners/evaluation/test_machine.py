"""The machine's own rate, and whether it is left to a measurement."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from runners.evaluation import machine
from runners.evaluation.machine import CPU_PRODUCT, Load, LoadWatch, _busy_seconds, matrix_product
from runners.evaluation.timing import measure


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not say how busy it is")
def test_the_own_process_is_no_load() -> None:
    watch, work = LoadWatch(), 0.5
    with watch:
        busy, began, own = _busy_seconds(), time.perf_counter(), time.process_time()
        while time.process_time() < own + work:
            sum(range(1000))
        ended, busy_then = time.perf_counter(), _busy_seconds()
    assert busy is not None
    assert busy_then is not None
    assert watch.load.others is not None
    # However busy the machine is, the own work is what is missing in the load; ticks are of 10 ms.
    assert watch.load.others * (ended - began) == pytest.approx(busy_then - busy - work, abs=0.2)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not say how busy it is")
def test_other_processes_are_load() -> None:
    watch, command = LoadWatch(), "import time\nwhile time.process_time() < 0.8: pass"
    used = sum(os.times()[2:4])
    began = time.perf_counter()
    with watch:
        subprocess.run([sys.executable, "-c", command], check=True)
    took, used = time.perf_counter() - began, sum(os.times()[2:4]) - used
    assert used > 0.7
    assert watch.load.others is not None
    assert watch.load.others * took > used - 0.2


@pytest.mark.parametrize(
    ("others", "quiet", "said"), [(0.1, True, "quiet"), (0.5, False, "not quiet"), (None, None, "not known")]
)
def test_a_busy_machine_is_said_to_be_busy(others: float | None, quiet: bool | None, said: str) -> None:
    load = Load(others, 4)
    assert load.quiet is quiet
    assert said in load.describe()


def test_a_watch_adds_up_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Clock, busy seconds of all processors and CPU seconds of the own process, before and after each of three blocks.
    readings = iter(
        [
            *((10.0, 100.0, 5.0), (12.0, 103.0, 6.0)),  # 2 seconds, in which others took 3 - 1
            *((20.0, 200.0, 7.0), (23.0, 201.0, 7.5)),  # 3 seconds, in which they took 0.5
            *((30.0, 300.0, 8.0), (35.0, 301.0, 9.2)),  # 5 seconds; less than nothing is a matter of ticks
        ]
    )
    monkeypatch.setattr(machine, "_busy_seconds", lambda: 0.0)
    monkeypatch.setattr(machine, "_reading", lambda: next(readings))
    watch = LoadWatch()
    assert watch.load.others is None  # nothing was measured yet
    for others in (2.0 / 2.0, 2.5 / 5.0, 2.5 / 10.0):
        with watch:
            pass
        assert watch.load.others == pytest.approx(others)
    monkeypatch.setattr(machine, "_busy_seconds", lambda: None)
    assert watch.load.others is None


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n", 100 + 20 + 30 + 6 + 7 + 8),
        ("cpu  100 20 30 4000\n", None),
        ("cpu  many\n", None),
        (None, None),
    ],
)
def test_busy_ticks_are_all_but_those_of_waiting(
    text: str | None, ticks: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "stat"
    if text is not None:
        place.write_text(text)
    monkeypatch.setattr(machine, "Path", {"/proc/stat": place}.__getitem__)
    assert _busy_seconds() == (None if ticks is None else ticks / os.sysconf("SC_CLK_TCK"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_that_the_rate_is_read_from(dtype: torch.dtype) -> None:
    product = matrix_product(dtype, "cpu")
    assert product.gflops == pytest.approx(2 * CPU_PRODUCT[0] * CPU_PRODUCT[1] * CPU_PRODUCT[2] / 1e9)
    timing = measure({"product": product.run}, 1, "cpu")["product"]
    assert timing.median > 0
    assert timing.cpu_median > 0
    assert timing.spread == 0.0
