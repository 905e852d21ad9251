"""Start of a runner, and its failures: one line that says what to fix, not a traceback."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

import datasets
import gymnasium
import transformers
import tyro
from safetensors import SafetensorError

from runners.cli.display import each_notice_once
from runners.cli.flags import check_options, default_options, flag, given_flags, refuse_beside_resume
from runners.cli.options import OptionsT, RunnerOptions
from trbert_env.parameters import ParameterError

#: Set to 1 to see where an error came from.
TRACEBACK_VARIABLE = "TRBERT_TRACEBACK"


class UserError(Exception):
    """A fault that only the user can fix; the message is one line that says how."""


#: Errors of bad input. OSError covers missing, misplaced and unreadable files, full disks and unreachable hubs.
_USER_ERRORS = (UserError, ValueError, OSError, SafetensorError, gymnasium.error.Error)


def run(main: Callable[[OptionsT], None], options_type: type[OptionsT], arguments: Sequence[str] | None = None) -> None:
    """Read the command line, do the job, and turn bad input into one line and exit status 2.

    Args:
        main: The job.
        options_type: The dataclass of its options. A class attribute ``withdrawn`` names flags that it does not
            have, each with the line that refuses it; see :func:`default_options` for a method ``defaults``.
        arguments: The command line without the script's name; ``sys.argv`` when not given.

    Raises:
        SystemExit: 2 for bad options or input, 130 when interrupted, 0 after ``--help``.
    """
    if getattr(signal.getsignal(signal.SIGINT), "__name__", "") == "stop_importing":  # of runners/script.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not gc.isenabled():  # by runners/script.py
        gc.freeze()
        gc.enable()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        refuse_withdrawn(getattr(options_type, "withdrawn", {}), arguments)
        options = read_options(options_type, arguments, _description(main))
        if getattr(options, "resume", None) is not None:
            refuse_beside_resume(given_flags(arguments))
        check_options(options)
        check_output_dir(options)
        with _sigterm_as_ctrl_c(), _quiet_libraries(), each_notice_once():
            main(options)
    except _USER_ERRORS as error:
        _report(error)
        sys.exit(2)
    except KeyboardInterrupt as error:
        print(f"\ninterrupted{_resume_hint(error)}", file=sys.stderr)
        sys.exit(130)


def read_options(
    options_type: type[OptionsT], arguments: Sequence[str] | None = None, description: str | None = None
) -> OptionsT:
    """Read the command line; what it gives decides the defaults of the rest.

    Args:
        options_type: The dataclass of the options.
        arguments: The command line without the script's name; ``sys.argv`` when not given.
        description: Text of ``--help`` above the options.
    """
    defaults = default_options(options_type())
    options = tyro.cli(options_type, args=arguments, default=defaults, description=description)
    settled = default_options(options)
    if settled == defaults:
        return options
    return tyro.cli(options_type, args=arguments, default=settled, description=description)


def refuse_withdrawn(withdrawn: Mapping[str, str], arguments: Sequence[str]) -> None:
    """Refuse flags that a runner does not have, in words of its own.

    Args:
        withdrawn: Flag -> the line that refuses it.
        arguments: The command line.

    Raises:
        UserError: One of the flags is given.
    """
    for given in given_flags(arguments):
        if given in withdrawn:
            raise UserError(withdrawn[given])


def check_output_dir(options: RunnerOptions) -> None:
    """Refuse a folder that results cannot be written to, before the work whose results they are.

    Raises:
        ValueError: It is a file, or lies where nothing can be written.
    """
    if getattr(options, "resume", None) is not None:  # which writes where the run lies
        return
    output_dir = options.run.output_dir
    there = output_dir.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--output-dir {output_dir} cannot be written, for {there} cannot: give another folder")


def _report(error: BaseException) -> None:
    """Print an error in one line; a ValueError may also be a defect of ours, so say how to find it."""
    said = error.told(flag) if isinstance(error, ParameterError) else str(error)
    message = " ".join("; ".join([said, *getattr(error, "__notes__", ())]).split()) or type(error).__name__
    shown = os.environ.get(TRACEBACK_VARIABLE) == "1"
    if shown:
        traceback.print_exception(error)
    hint = "" if shown or isinstance(error, UserError) else f" (set {TRACEBACK_VARIABLE}=1 for the traceback)"
    print(f"error: {message}{hint}", file=sys.stderr)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Show warnings in one line each, and none of the libraries' chatter, while the job runs."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    formatter, thread_hook = warnings.formatwarning, threading.excepthook
    threading.excepthook = _thread_failed
    with warnings.catch_warnings():
        # Libraries' notices to their own developers: a user can do nothing about them.
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        warnings.formatwarning = _one_line
        try:
            yield
        finally:
            warnings.formatwarning, threading.excepthook = formatter, thread_hook


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Within the block, a first SIGTERM interrupts the job, which then tells what it has saved; more do nothing.

    ``timeout`` sends two at a time. Child processes that were forked within the block end by it, as they did before.
    """
    if threading.current_thread() is not threading.main_thread():  # others cannot set it
        yield
        return
    owner = os.getpid()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        signal.signal(signum, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Leave it to the main thread to tell what TensorBoard's writing thread could not write."""
    # The writer hands the same error to its next call, and every Tracker makes one before the run ends.
    if not (isinstance(failure.exc_value, OSError) and type(failure.thread).__module__.startswith("tensorboard.")):
        threading.__excepthook__(failure)


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning without the source line that raised it."""
    return f"warning: {' '.join(str(message).split())}\n"


def _resume_hint(error: KeyboardInterrupt) -> str:
    """Return the note of an interrupted run that has written a checkpoint: how to resume it."""
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


def _description(main: Callable[[OptionsT], None]) -> str | None:
    """Return the text of ``--help`` above the options: the runner's own docstring."""
    module = sys.modules.get(main.__module__)
    return module.__doc__ if module else None
