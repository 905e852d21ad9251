"""Examples that train by another library's loop; skipped where that is not installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def output_of(*command: str) -> str:
    """What an example prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = str(ROOT / "examples" / command[0])
    finished = subprocess.run(
        [sys.executable, script, *command[1:]], capture_output=True, text=True, check=True, env=environment
    )
    return finished.stdout


def test_stable_baselines_trains_on_the_toy_by_its_own_loop() -> None:
    (ours,) = re.findall(r"return (\S+)", output_of("sb3_ppo.py", "--steps", "4000"))
    assert float(ours) > 0.95
    (flattened,) = re.findall(r"return (\S+)", output_of("sb3_ppo.py", "--steps", "4000", "--flattened"))
    assert float(flattened) < 0.65


def test_tianshou_trains_on_the_toy() -> None:
    pytest.importorskip("tianshou", reason="its loop is tried where it is installed: pip install tianshou")
    before, after = (
        float(value) for value in re.findall(r"-?\d\.\d{3}", output_of("tianshou_ppo.py", "--epochs", "5"))
    )
    assert before < 0.7
    assert after > 0.95
