"""The lines that every runner opens with, as `runners` documents them, do what they are there for."""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import runners

ROOT = Path(runners.__file__).resolve().parent
JOBS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem not in ("__init__", "script"))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A runner of the documented lines, beside a file that would hide a library of the same name."""
    documented = inspect.getdoc(runners) or ""
    block = documented.partition("prepare the process::\n")[2].partition("\nand closes with::")[0]
    lines = inspect.cleandoc("\n" + block)
    assert "script.py" in lines
    shutil.copy(ROOT / "script.py", tmp_path)
    (tmp_path / "colorsys.py").write_text("raise SystemExit('the wrong module was imported')\n")
    path = tmp_path / "job.py"
    path.write_text(f"{lines}\n\nimport colorsys\n\nprint(colorsys.__file__)\n")
    return path


def test_a_sibling_file_does_not_hide_a_library(script: Path) -> None:
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent != script.parent


#: Products of 40 shapes, twice; oneDNN says on stdout which kernels it builds.
TWICE = """
import torch
for _ in range(2):
    print("PASS")
    for rows in range(1, 41):
        torch.mm(torch.ones(rows, 16, dtype=torch.bfloat16), torch.ones(16, 16, dtype=torch.bfloat16))
"""


@pytest.mark.parametrize(("given", "again"), [(None, False), ("8", True)])
def test_kernels_are_kept_as_many_as_the_user_says_or_training_needs(
    script: Path, given: str | None, again: bool
) -> None:
    script.write_text(script.read_text() + TWICE)
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    kept = {key: value for key, value in os.environ.items() if key != name} | ({} if given is None else {name: given})
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=kept | {"ONEDNN_VERBOSE": "profile_create"}
    )
    _, first, second = done.stdout.split("PASS")
    if "create" not in first:
        pytest.skip("this torch multiplies in bfloat16 without oneDNN")
    assert ("create:cache_miss" in second) == again


def test_without_the_project_the_fix_is_said(script: Path) -> None:
    # -I -S: neither installed packages nor the environment's paths.
    command = [sys.executable, "-I", "-S", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the project is not installed in ")
    assert "make venv" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("job", JOBS)
def test_every_runner_opens_with_them(job: str) -> None:
    documented = inspect.getdoc(runners) or ""
    block = documented.partition("from __future__ import annotations\n")[2].partition("\nand closes with::")[0]
    assert inspect.cleandoc("\n" + block) in (ROOT / f"{job}.py").read_text()


@pytest.mark.parametrize("job", ["train_policy", "compare"])
def test_help_imports_nothing_that_only_a_job_needs(job: str) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / f"{job}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "trbert_env.tasks.classification" in imported
    assert not imported & {"sklearn.metrics", "scipy.stats"}


@pytest.mark.parametrize("job", ["finetune", "compare"])
def test_ctrl_c_during_the_imports_is_one_line(job: str, tmp_path: Path) -> None:
    # A library that takes its time, and says when its import has begun.
    (tmp_path / "tyro.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(ROOT / f"{job}.py")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # What a shell starts in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "interrupted"
