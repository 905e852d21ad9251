"""The examples that need a library of their own; skipped where it is not installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_tianshou_trains_on_the_toy() -> None:
    pytest.importorskip("tianshou", reason="its loop is tried where it is installed: pip install tianshou")
    command = [sys.executable, str(ROOT / "examples" / "tianshou_ppo.py"), "--epochs", "5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    before, after = (float(value) for value in re.findall(r"-?\d\.\d{3}", output))
    assert before < 0.7
    assert after > 0.95
