from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import gymnasium
import pytest
from safetensors import SafetensorError

from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions
from runners.cli.run import TRACEBACK_VARIABLE, UserError, run
from runners.evaluate import EvaluateOptions
from trbert_env.parameters import ParameterError


@dataclass(frozen=True)
class JobOptions:
    resume: Path | None = None
    """A run to go on with."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Nothing ties these options."""

    #: Flags that this job does not have.
    withdrawn: ClassVar[dict[str, str]] = {"--old-name": "--old-name is no more: leave it out"}


@pytest.fixture(autouse=True)
def _no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRACEBACK_VARIABLE, raising=False)


def fail_with(error: BaseException, arguments: list[str] | None = None) -> int | str | None:
    """Run a job that raises; its exit status."""

    def main(options: JobOptions) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run(main, JobOptions, arguments or [])
    return caught.value.code


def test_garbage_is_collected_again_while_the_job_runs() -> None:
    collecting: list[bool] = []
    gc.disable()  # as runners/script.py does before the imports
    try:
        run(lambda options: collecting.append(gc.isenabled()), JobOptions, [])
    finally:
        gc.enable()
        gc.unfreeze()
    assert collecting == [True]


def test_parameters_are_named_as_flags(capsys: pytest.CaptureFixture[str]) -> None:
    error = ParameterError(lambda name: f"{name('data_dir')} is a file: give a folder")
    assert fail_with(error) == 2
    assert capsys.readouterr().err.startswith("error: --data-dir is a file: give a folder (set ")


def test_the_job_gets_its_options() -> None:
    seen: list[JobOptions] = []
    run(seen.append, JobOptions, ["--seed", "4"])
    run(seen.append, JobOptions, ["--resume", "x"])
    assert seen == [JobOptions(run=RunOptions(seed=4)), JobOptions(resume=Path("x"))]


@pytest.mark.parametrize("given", ["--seed=0", "--seed=4", "--max_length=128", "--no-skip-bad-records"])
def test_a_resumed_run_takes_no_option_not_even_its_default(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = given.partition("=")[0].replace("_", "-")
    assert fail_with(RuntimeError("it must not begin"), ["--resume", "x", given]) == 2
    assert f"error: --resume takes all options from config.json; leave out {told} (" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        ValueError("length penalty -1 is negative; give 0 or more"),
        FileNotFoundError("no data in nowhere; give --data-dir"),
        NotADirectoryError("x is a file; give a folder"),
        gymnasium.error.NameNotFound("Environment `X` doesn't exist"),
    ],
)
def test_bad_input_is_one_line_and_status_2(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(error) == 2
    expected = f"error: {error} (set {TRACEBACK_VARIABLE}=1 for the traceback)\n"
    assert capsys.readouterr().err == expected


def test_a_user_error_needs_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(UserError("run `make venv`")) == 2
    assert capsys.readouterr().err == "error: run `make venv`\n"


def test_a_message_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(OSError("first\n   second")) == 2
    assert capsys.readouterr().err.startswith("error: first second (set")


def test_the_traceback_on_demand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    assert fail_with(ValueError("bad")) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "raise error" in shown
    assert shown.endswith("error: bad\n")


@pytest.mark.parametrize("error", [TypeError("a defect"), KeyError("a defect"), AssertionError("a defect")])
def test_a_defect_is_not_hidden(error: Exception) -> None:
    def main(options: JobOptions) -> None:
        raise error

    with pytest.raises(type(error), match="a defect"):
        run(main, JobOptions, [])


def test_bad_options_are_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--sed", "1"], ["--seed", "x"], ["--device", "tpu"], ["--seed", "-1"]):
        with pytest.raises(SystemExit) as caught:
            run(lambda options: None, JobOptions, arguments)
        assert caught.value.code == 2
    assert "error: --seed is -1; it must lie in 0 to 4294967295" in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    interrupted = KeyboardInterrupt()
    interrupted.add_note("go on from the last checkpoint with --resume runs/x")
    assert fail_with(interrupted) == 130
    assert "interrupted; go on from the last checkpoint with --resume runs/x" in capsys.readouterr().err

    def main(options: EvaluateOptions) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        run(main, EvaluateOptions, ["--agent", "keep-all"])
    assert "--resume" not in capsys.readouterr().err


def test_sigterm_ends_a_job_as_ctrl_c_does(capsys: pytest.CaptureFixture[str]) -> None:
    forking = multiprocessing.get_context("fork")
    began = forking.Event()

    def sleep() -> None:
        began.set()
        time.sleep(60)

    def main(options: JobOptions) -> None:
        child = forking.Process(target=sleep)
        child.start()
        began.wait()  # what a process is sent while it is forked, Python drops
        child.terminate()
        child.join()
        children.append(child.exitcode)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except KeyboardInterrupt as error:
            os.kill(os.getpid(), signal.SIGTERM)  # as timeout does, which sends two
            error.add_note("go on with --resume runs/x")
            raise

    children: list[int | None] = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        run(main, JobOptions, [])
    assert caught.value.code == 130
    assert "interrupted; go on with --resume runs/x" in capsys.readouterr().err
    assert children == [-signal.SIGTERM]  # a child process ends by it, and says nothing
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_one_line_with_what_was_noted(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (OSError(28, "No space left on device"), SafetensorError("No space left on device")):
        error.add_note("go on from the last checkpoint with --resume runs/x")
        assert fail_with(error) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert "No space left on device; go on from the last checkpoint with --resume runs/x" in lines[0]


def test_warnings_are_one_line_and_settings_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    formatter = warnings.formatwarning
    shown = []

    def main(options: JobOptions) -> None:
        shown.append(warnings.formatwarning("untrained\n head", UserWarning, "file.py", 3))
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn("a library's own affair", FutureWarning, stacklevel=1)
            warnings.warn("untrained head", UserWarning, stacklevel=1)
        shown.extend(str(warning.message) for warning in caught)

    run(main, JobOptions, [])
    assert shown == ["warning: untrained head\n", "untrained head"]
    assert warnings.formatwarning is formatter


@pytest.mark.parametrize("inside", ["", "deeper", "deeper/still"])
def test_an_output_folder_that_cannot_be_written_is_found_before_the_work(
    inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    started = []
    with pytest.raises(SystemExit) as caught:
        run(started.append, JobOptions, ["--output-dir", str(tmp_path / "file" / inside)])
    assert caught.value.code == 2
    assert "cannot be written" in capsys.readouterr().err
    assert started == []
    run(started.append, JobOptions, ["--output-dir", str(tmp_path / "new" / inside)])
    assert len(started) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("words", ["--old-name 3", "--old-name=3", "--old_name 3", "--seed 1 --old-name"])
def test_a_withdrawn_flag_is_refused_in_its_own_words(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(AssertionError("the job began"), words.split()) == 2
    assert capsys.readouterr().err == "error: --old-name is no more: leave it out\n"
    with pytest.raises(SystemExit):
        run(lambda options: None, JobOptions, ["--help"])
    assert "--old-name" not in capsys.readouterr().out
