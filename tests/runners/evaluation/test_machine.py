"""The machine's own rate, and whether it is left to a measurement."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from runners.evaluation.machine import CPU_PRODUCT, Load, LoadWatch, matrix_product
from runners.evaluation.timing import measure


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not say how busy it is")
def test_other_processes_are_load_and_the_own_one_is_none() -> None:
    def seconds_of_work(watch: LoadWatch) -> float:
        with watch:
            ends = time.perf_counter() + 0.5
            while time.perf_counter() < ends:
                sum(range(1000))
        assert watch.load.others is not None
        return watch.load.others

    alone = min(seconds_of_work(LoadWatch()) for _ in range(3))
    command = "import time\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", command]) for _ in range(2)]
    try:
        time.sleep(0.3)
        beside = seconds_of_work(LoadWatch())
    finally:
        for other in others:
            other.kill()
            other.wait()
    processors = LoadWatch().load.processors
    assert alone < processors - 0.2  # the own process is not counted
    assert beside > 0.3


@pytest.mark.parametrize(
    ("others", "quiet", "said"), [(0.1, True, "quiet"), (0.5, False, "not quiet"), (None, None, "not known")]
)
def test_a_busy_machine_is_said_to_be_busy(others: float | None, quiet: bool | None, said: str) -> None:
    load = Load(others, 4)
    assert load.quiet is quiet
    assert said in load.describe()


def test_a_watch_adds_up_its_blocks() -> None:
    watch = LoadWatch()
    assert watch.load.others is None  # nothing was measured yet
    for _ in range(2):
        with watch:
            time.sleep(0.05)
    if Path("/proc/stat").exists():
        assert watch.load.others is not None
        assert 0.0 <= watch.load.others <= watch.load.processors + 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_that_the_rate_is_read_from(dtype: torch.dtype) -> None:
    product = matrix_product(dtype, "cpu")
    assert product.gflops == pytest.approx(2 * CPU_PRODUCT[0] * CPU_PRODUCT[1] * CPU_PRODUCT[2] / 1e9)
    timing = measure({"product": product.run}, 1, "cpu")["product"]
    assert timing.median > 0
    assert timing.cpu_median > 0
    assert timing.spread == 0.0
