from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from runners.cli.display import announce, each_notice_once, print_end, progress
from runners.runs.run_folder import RunFolder
from runners.train_policy import joint_command
from runners.training.options.policy import TrainPolicyOptions


class Clock:
    """A clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_log_file_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress("stage 2", total=4000, every=10) as bar:
        for _ in range(100):
            clock.now += 0.5
            bar.update(20, f1=56.25)
    lines = capsys.readouterr().out.splitlines()
    # 2,000 texts in 50 s, a line every 10 s; the last one is not said twice.
    assert len(lines) == 5
    assert lines[0] == "stage 2  400/4,000  40.0 texts/s  1:30 left  f1 56.25"
    assert lines[-1] == "stage 2  2,000/4,000  40.0 texts/s  0:50 left  f1 56.25"


def test_the_last_line_is_always_said_even_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with progress("job", total=10, unit="steps") as bar:
            bar.update(3, loss=1.0)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert re.fullmatch(r"job  3/10  [\d.]+ steps/s  0:00 left  loss 1\n", capsys.readouterr().out)


def test_texts_of_the_resumed_run_do_not_count_in_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with progress("job", total=10_000, done=4000) as bar:
        clock.now += 1000
        bar.update(1000)
    assert capsys.readouterr().out == "job  5,000/10,000  1.0 texts/s  1:23:20 left\n"


def test_figures_stay_until_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("job", total=10, every=0) as bar:
        bar.update(1, a=1.0)
        bar.update(1, b=2.0)
        bar.update(1, a=-3.5)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" left  ")[2] for line in lines] == ["a 1", "a 1  b 2", "a -3.5  b 2"]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with progress("stage [2]", total=10) as bar:
        bar.update(4, f1=1.5)
    shown = capsys.readouterr().out
    assert "\x1b[" in shown
    assert "━" in shown
    assert "4/10" in shown
    assert "f1 1.5" in shown


def test_a_notice_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    announce("no hub in reach: using the embedded [corpus]")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no hub in reach: using the embedded [corpus]" in captured.err
    assert "note" in captured.err


def test_a_command_prints_each_notice_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # two commands
        with each_notice_once():
            for _ in range(2):
                announce("training data: reviews.csv")
            announce("evaluation data: reviews.csv")
    shown = capsys.readouterr().err
    assert shown.count("training data") == shown.count("evaluation data") == 2


def test_the_end_of_a_policy_names_the_stage_behind_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target, said in ((2.5, " --target-speedup 2.5"), (None, "")):
        folder = RunFolder(tmp_path)
        folder.write_config(TrainPolicyOptions(target_speedup=target))
        command = joint_command(folder)
        assert command == f"python runners/joint_finetune.py --policy {tmp_path}{said}"
    print_end(tmp_path, folder.model_dir, command)
    assert "joint_finetune" not in capsys.readouterr().out  # an agent of one's own may leave no model
    folder.model_dir.mkdir()
    print_end(tmp_path, folder.model_dir, command)
    assert capsys.readouterr().out.splitlines()[-1] == f"train the encoder with it: {command}"
    print_end(tmp_path, folder.model_dir)
    assert "train the encoder" not in capsys.readouterr().out
