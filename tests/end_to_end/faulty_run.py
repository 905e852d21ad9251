"""A runner whose n-th disk operation fails; run by test_disk_faults.py in a process of its own.

``TASK`` is set by the caller: ``job``, ``arguments``, ``environment``, ``folder`` (the working directory),
``fault`` (None, exit, full, interrupt or interrupt_twice), ``at`` (the operation, from 1 on) and ``report`` (a
file that gets the number of operations, the exit status and what was printed).
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import importlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

TASK: dict[str, Any] = globals()["TASK"]

#: What touches the disk, beside opening a file to write and writing tensors.
OPERATIONS = ("mkdir", "rename", "replace", "fsync", "unlink", "remove", "rmdir")
#: Of those, what a full disk lets through.
GIVING_BACK = ("unlink", "remove", "rmdir", "replace", "rename")

OPTIONS = {
    "finetune": "FinetuneOptions",
    "train_policy": "TrainPolicyOptions",
    "joint_finetune": "JointFinetuneOptions",
}


class Disk:
    """Counts operations and fails at one of them; a full disk stays full."""

    def __init__(self) -> None:
        self.count = 0
        self.over = False
        self._lock = threading.Lock()
        self._full = False

    def touch(self, name: str) -> None:
        if self.over:
            return
        with self._lock:
            self.count += 1
            due = self.count == TASK["at"]
        if due and TASK["fault"] == "exit":
            os._exit(9)
        if due and TASK["fault"] in ("interrupt", "interrupt_twice"):
            for _ in range(2 if TASK["fault"] == "interrupt_twice" else 1):
                os.kill(os.getpid(), signal.SIGINT)
        self._full = self._full or (due and TASK["fault"] == "full")
        if self._full and name == "tensors":
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        if self._full and name not in GIVING_BACK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


DISK = Disk()


def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        DISK.touch(name)
        return original(*arguments, **keywords)

    return call


def counted_open(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if set(mode) & set("wax+"):
            DISK.touch("open")
        return original(file, mode, *arguments, **keywords)

    return call


for _name in OPERATIONS:
    setattr(os, _name, counted(_name, getattr(os, _name)))
builtins.open = io.open = counted_open(io.open)  # type: ignore[assignment]
safetensors.torch.serialize_file = counted("tensors", safetensors.torch.serialize_file)

os.environ.update(TASK["environment"])
os.chdir(TASK["folder"])
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)

from runners.cli.run import run  # noqa: E402
from runners.evaluation import evaluations  # noqa: E402
from runners.evaluation.machine import Load  # noqa: E402
from runners.evaluation.timing import ClockReading, Ratio  # noqa: E402

# Clock times are in no comparison, and take most of such a short run.
SAME = Ratio(1.0, 1.0, 1.0, 1)
evaluations.read_clock = lambda *_, **__: ClockReading({"stock": SAME, "packed": SAME}, {}, Load(None, 1))
module = importlib.import_module(f"runners.{TASK['job']}")
status: Any = 0
printed = io.StringIO()
with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
    try:
        run(module.main, getattr(module, OPTIONS[TASK["job"]]), TASK["arguments"])
    except SystemExit as stop:
        status = stop.code
DISK.over = True
Path(TASK["report"]).write_text(json.dumps({"count": DISK.count, "status": status, "printed": printed.getvalue()}))
sys.stdout.flush()
os._exit(0)
