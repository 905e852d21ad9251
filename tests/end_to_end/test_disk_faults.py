"""Invariant 7 against the disk: a run stopped at any of its disk operations goes on bit for bit.

A sample of the operations by default; all of them with ``--every-disk-operation``.
"""

from __future__ import annotations

import json
import runpy
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import TENSORS, EventAccumulator

from runners.evaluation.record import CLOCK_KEYS

SCRIPT = str(Path(__file__).with_name("faulty_run.py"))
FAULTS = ("exit", "full", "interrupt", "interrupt_twice")
#: Operations of each trainer and fault that are tried without the option.
SAMPLE = 5

ARGUMENTS = {
    "finetune": ["--epochs", "1", "--batch-size", "8", "--checkpoint-every", "1", "--dropout", "0.1"],
    "train_policy": [
        *("--total-texts", "12", "--texts-per-step", "4", "--samples-per-text", "2", "--checkpoint-every", "1"),
        *("--cloning-texts", "4"),
    ],
    "joint_finetune": [
        *("--total-texts", "12", "--texts-per-step", "4", "--accumulate", "1", "--checkpoint-every", "1"),
        *("--holdout-texts", "4", "--watch", "2", "--remember-teacher"),
    ],
}


@dataclass(frozen=True)
class Child:
    """What became of a run in a process of its own.

    Attributes:
        count: Its disk operations.
        status: Its exit status; 9 where it was killed.
        printed: Its output.
    """

    count: int
    status: int
    printed: str


@dataclass
class Bench:
    """Runs trainers in processes that are forked from one that has imported everything.

    Attributes:
        place: Data and encoders.
        context: Makes the processes.
        whole: The uninterrupted run of each trainer, and its operations.
    """

    place: Any
    context: Any
    whole: dict[str, tuple[Path, int]] = field(default_factory=dict)

    def run(self, job: str, arguments: list[str], cache: str, fault: str | None = None, at: int = 0) -> Child:
        """Run a trainer to its end, or to its fault."""
        report = self.place.root / "report.json"
        report.unlink(missing_ok=True)
        task = {
            "job": job,
            "arguments": arguments,
            "environment": {**self.place.environment, "TRBERT_CACHE": str(self.place.root / cache)},
            "folder": str(self.place.root),
            "fault": fault,
            "at": at,
            "report": str(report),
        }
        process = self.context.Process(target=runpy.run_path, args=(SCRIPT, {"TASK": task}))
        process.start()
        process.join(timeout=120)
        if not report.exists():
            return Child(0, process.exitcode, "")
        found = json.loads(report.read_text())
        return Child(found["count"], found["status"], found["printed"])

    def begin(self, job: str, output: str, fault: str | None = None, at: int = 0) -> Child:
        """Run a new run of a trainer."""
        backbone = self.place.pretrained if job == "finetune" else self.place.fine_tuned
        common = [*self.place.common(output), "--backbone", str(backbone)]
        return self.run(job, [*common, *ARGUMENTS[job]], f"cache-{output}", fault, at)

    def resume(self, job: str, folder: Path) -> Child:
        """Go on with a run, once the second is over in which it last wrote.

        TensorBoard sorts event files by the second: those of one second would be read in any order.
        """
        last = max((path.stat().st_mtime for path in folder.glob("events.*")), default=0.0)
        time.sleep(max(0.0, int(last) + 1.0 - time.time()))
        return self.run(job, ["--resume", str(folder)], f"cache-{folder.parents[2].name}")

    def uninterrupted(self, job: str) -> tuple[Path, int]:
        """Return the folder of a run without a fault, and how many disk operations it took."""
        if job not in self.whole:
            child = self.begin(job, f"whole-faults-{job}")
            assert child.status == 0, child.printed
            self.whole[job] = self.place.only_run(f"whole-faults-{job}"), child.count
        return self.whole[job]


@pytest.fixture(scope="module")
def bench(place: Any, forking: Any) -> Bench:
    """Where the runs are made."""
    return Bench(place, forking)


def record(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in metrics.items() if name not in CLOCK_KEYS}


def points(folder: Path) -> dict[str, list[tuple[int, bytes]]]:
    """All of TensorBoard's points as it shows them, but those of the clock and of the run's name."""
    events = EventAccumulator(str(folder), size_guidance={TENSORS: 0})
    events.Reload()
    tags = [tag for tag in events.Tags()[TENSORS] if not any(part in tag for part in ("wall_", "_second", "_hparams_"))]
    return {
        tag: [(event.step, event.tensor_proto.SerializeToString()) for event in events.Tensors(tag)] for tag in tags
    }


def assert_same_run(found: Path, whole: Path) -> None:
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (found, whole)]
    assert weights[0] == weights[1]
    assert record(found) == record(whole)
    assert points(found) == points(whole)


def chosen(count: int, share: float, everything: bool) -> list[int]:
    """Operations to fail at: all of them, or some spread over the run; another share for each fault."""
    if everything:
        return list(range(1, count + 1))
    return [1 + round((index + share) * (count - 1) / SAMPLE) for index in range(SAMPLE)]


def check_stop(child: Child, fault: str) -> None:
    """What the user sees at the fault."""
    if fault == "exit":
        assert child.status == 9
        return
    assert "Traceback" not in child.printed
    if child.status == 0:  # Ctrl-C during the very last operation has nothing left to stop
        return
    last = child.printed.strip().splitlines()[-1]
    assert child.status == (2 if fault == "full" else 130), child.printed
    assert last.startswith("error: " if fault == "full" else "interrupted"), last


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("job", list(ARGUMENTS))
def test_a_run_stopped_at_a_disk_operation_goes_on(
    job: str, fault: str, bench: Bench, request: pytest.FixtureRequest
) -> None:
    whole, count = bench.uninterrupted(job)
    assert count > 30
    resumed = 0
    everything = bool(request.config.getoption("--every-disk-operation"))
    operations = chosen(count, (FAULTS.index(fault) + 0.5) / len(FAULTS), everything)
    for at in operations:
        check_stop(bench.begin(job, f"{job}-{fault}-{at}", fault, at), fault)
    for at in operations:
        runs = list((bench.place.root / f"{job}-{fault}-{at}").glob("SQuAD2/*/*"))
        if not any((run / "checkpoint" / "latest.json").exists() for run in runs):
            if runs:
                again = bench.resume(job, runs[0])
                assert again.status == 2, again.printed
                assert again.printed.strip().splitlines()[-1].startswith("error: ")
            continue
        (run,) = runs
        again = bench.resume(job, run)
        assert again.status == 0, (at, again.printed)
        assert_same_run(run, whole)
        resumed += 1
    assert resumed >= 2
