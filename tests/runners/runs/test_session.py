"""A run belongs to one process, goes on only with what it began with, and says how to go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions
from runners.cli.run import UserError
from runners.runs.checkpoint import save_state
from runners.runs.lock import HOLDER_FILE, locked
from runners.runs.run_folder import RunFolder
from runners.runs.session import RunSession, held

FACTS = {"reduction_layers": [2, 4], "encoder_fingerprint": "abc", "dtype": "float32"}


@dataclass(frozen=True)
class JobOptions:
    resume: Path | None = None
    rate: float = 1e-3
    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Nothing ties these options."""


def begun(tmp_path: Path) -> RunFolder:
    """A run that has written a checkpoint."""
    with RunSession(JobOptions(run=RunOptions(output_dir=tmp_path))) as session:
        folder = session.begin("SQuAD2", "policy", "reinforce", FACTS)
        save_state(folder.checkpoint_dir, {"x": torch.ones(2)}, folder.run_id)
    return folder


def resume(folder: RunFolder) -> RunSession[JobOptions]:
    return RunSession(JobOptions(resume=folder.path))


def test_a_new_run_and_its_resume(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with resume(folder) as session:
        assert session.options == JobOptions(run=RunOptions(output_dir=tmp_path))
        assert torch.equal(session.state["x"], torch.ones(2))
        assert session.find_ended() is None
        assert session.begin("SQuAD2", "policy", "reinforce", FACTS) == folder


@pytest.mark.parametrize("name", list(FACTS))
def test_a_resume_with_something_else_is_refused_and_says_what(tmp_path: Path, name: str) -> None:
    folder = begun(tmp_path)
    with (
        resume(folder) as session,
        pytest.raises(ValueError, match=re.escape(f"began with {name} {FACTS[name]!r}, now it is 'other'")),
    ):
        session.begin("SQuAD2", "policy", "reinforce", FACTS | {name: "other"})


def test_the_same_encoder_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with resume(folder) as session:
        assert (
            session.begin("SQuAD2", "policy", "reinforce", FACTS | {"backbone": "elsewhere", "teacher": "there"})
            == folder
        )


def test_all_that_differs_is_said_at_once(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with resume(folder) as session, pytest.raises(ValueError, match=r"reduction_layers .*encoder_fingerprint .*dtype "):
        session.begin("SQuAD2", "policy", "reinforce", dict.fromkeys(FACTS, "other"))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    one, other = begun(tmp_path / "one"), begun(tmp_path / "other")
    (one.checkpoint_dir / "latest.json").write_bytes((other.checkpoint_dir / "latest.json").read_bytes())
    with pytest.raises(ValueError, match="belongs to run"), resume(one):
        pass


def test_an_ended_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = begun(tmp_path)
    folder.write_metrics({"env": "SQuAD2", "num_texts": 3, "full_log_likelihood": -1.0})
    with resume(folder) as session:
        assert session.find_ended() == folder
    assert "has ended" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{}", "null", "[1]", "{", '"text"', "3"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    folder = begun(tmp_path)
    folder.metrics_path.write_text(content)
    with pytest.raises(ValueError, match=r"metrics\.json"), resume(folder):
        pass
    with locked(folder.path):  # and the lock is free again
        pass


@pytest.mark.parametrize("content", ["{}", "null", "[1]", "{", '{"options": {}, "facts": 3}', '{"options": []}'])
def test_a_damaged_config_is_named(tmp_path: Path, content: str) -> None:
    folder = begun(tmp_path)
    folder.config_path.write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"), resume(folder) as session:
        session.begin("SQuAD2", "policy", "reinforce", FACTS)


def test_two_holders_of_one_folder(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with resume(folder):
        with pytest.raises(UserError, match=f"still going \\(process {os.getpid()} on "), resume(folder):
            pass
        with pytest.raises(UserError, match="still going"), held(folder):
            pass
    with resume(folder):
        pass


def test_a_new_run_is_held_from_its_beginning(tmp_path: Path) -> None:
    with RunSession(JobOptions(run=RunOptions(output_dir=tmp_path))) as session:
        folder = session.begin("SQuAD2", "policy", "reinforce", FACTS)
        with pytest.raises(UserError, match="still going"), resume(folder):
            pass


HOLD = """
import sys, time
from pathlib import Path
from runners.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_a_killed_process_left_holds_nobody_up(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {process.pid}"), locked(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / HOLDER_FILE).exists()
    with locked(tmp_path):
        assert json.loads((tmp_path / HOLDER_FILE).read_text())["process"] == os.getpid()
    assert not (tmp_path / HOLDER_FILE).exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_stops_a_run_with_a_checkpoint_says_how_to_go_on(tmp_path: Path, error: BaseException) -> None:
    folder = begun(tmp_path)
    with pytest.raises(type(error)) as caught, resume(folder):
        raise error
    assert caught.value.__notes__ == [f"go on from the last checkpoint with --resume {folder.path}"]


@pytest.mark.parametrize("error", [UserError("the run diverges"), ValueError("x"), AssertionError()])
def test_what_would_happen_again_is_not_to_be_resumed(tmp_path: Path, error: Exception) -> None:
    folder = begun(tmp_path)
    for context in (resume(folder), held(folder)):
        with pytest.raises(type(error)) as caught, context:
            raise error
        assert not hasattr(caught.value, "__notes__")


def test_what_stops_a_run_without_a_checkpoint_says_nothing(tmp_path: Path) -> None:
    def work() -> None:
        with RunSession(JobOptions(run=RunOptions(output_dir=tmp_path))) as session:
            session.begin("SQuAD2", "policy", "reinforce", FACTS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert not hasattr(caught.value, "__notes__")


def test_nested_runs_are_gone_on_with_as_a_whole(tmp_path: Path) -> None:
    outer, inner = begun(tmp_path / "outer"), begun(tmp_path / "inner")
    with pytest.raises(KeyboardInterrupt) as caught, held(outer), resume(inner):
        raise KeyboardInterrupt
    assert caught.value.__notes__ == [f"go on with --resume {outer.path}"]


def test_a_lock_needs_no_waiting(tmp_path: Path) -> None:
    started = time.monotonic()
    with locked(tmp_path), pytest.raises(UserError), locked(tmp_path):
        pass
    assert time.monotonic() - started < 5
