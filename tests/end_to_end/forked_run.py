"""A runner in a process that is forked from one which has imported everything; see ``Forked`` in conftest.py.

``TASK`` is set by the caller: ``script`` (the runner's file), ``arguments``, ``environment``, ``folder`` (the working
directory), ``out`` and ``err`` (files that get what is printed).
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import Any

import torch

TASK: dict[str, Any] = globals()["TASK"]

for _number, _name in ((1, "out"), (2, "err")):
    os.dup2(os.open(TASK[_name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), _number)
os.environ.clear()
os.environ.update(TASK["environment"])
os.chdir(TASK["folder"])
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = [TASK["script"], *TASK["arguments"]]
sys.path.insert(0, os.path.dirname(TASK["script"]))
try:
    runpy.run_path(TASK["script"], run_name="__main__")
finally:
    sys.stdout.flush()
    sys.stderr.flush()
