"""Prepare the process of a runner, before its other imports.

Run by path, for nothing of the project can be imported yet. A runner's folder comes first on the import path,
where ``import evaluate`` in any library would find ours; the project may not be installed in the Python that
runs it; and the imports take seconds, in which a Ctrl-C would print the traceback of whatever is being imported.
A fifth of those seconds would go into looking for garbage, of which imports make none.
"""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from types import FrameType


def stop_importing(signum: int, frame: FrameType | None) -> None:
    """Leave at once; :func:`runners.cli.run.run` puts Python's own handler back."""
    import os  # this file's own names are gone once it has run

    os.write(2, b"\ninterrupted\n")
    os._exit(130)


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
