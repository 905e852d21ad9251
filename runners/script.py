"""Prepare the process of a runner, before its other imports.

Run by path, for nothing of the project can be imported yet. A runner's folder comes first on the import path,
where ``import evaluate`` in any library would find ours; the project may not be installed in the Python that
runs it; and the imports take seconds, in which a Ctrl-C would print the traceback of whatever is being imported.
A fifth of those seconds would go into looking for garbage, of which imports make none.

glibc gives every tensor of more than 32 MiB fresh pages and takes them back at its end, and the system clears them each
time: 6 to 9 % of the CPU time of training on a CPU. A runner's process keeps its memory instead, up to 2 GiB of it.

oneDNN builds kernels for each shape of a product, and keeps those of 1,024. Attention in bfloat16 with gradients has
six products for every length of a sequence, which are more: they would be built again and again, a tenth of the CPU
time of training. So more are kept, at about half a megabyte each.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType

#: Shapes whose kernels oneDNN keeps: six of each length up to 512 tokens, and others.
KEPT_KERNELS = 4096
#: Names of settings in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_memory() -> None:
    """Have glibc keep freed memory for the next tensor, where it is glibc and nobody set it up otherwise."""
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def stop_importing(signum: int, frame: FrameType | None) -> None:
    """Leave at once; :func:`runners.cli.run.run` puts Python's own handler back."""
    import os  # this file's own names are gone once it has run

    os.write(2, b"\ninterrupted\n")
    os._exit(130)


keep_memory()
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_KERNELS))  # read when torch is imported

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop_importing)

gc.disable()  # runners.cli.run.run puts it back

# Take runners/ off the import path: a library's `evaluate` is not ours.
_here = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _here]
try:
    import trbert_env  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "trbert_env":
        raise
    _fix = "run `make venv`, then `source .venv/bin/activate`"
    print(f"error: the project is not installed in {sys.executable}; {_fix}", file=sys.stderr)
    sys.exit(2)
