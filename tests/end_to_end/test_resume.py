"""Invariant 7, through the command line: killed and resumed == uninterrupted, bit for bit."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runners.evaluation.record import CLOCK_KEYS

#: Small steps with a checkpoint after each: 4 of cloning, then 80, of which the first 40 imitate. Many, so that a
#: busy machine sees the first checkpoint long before the last.
POLICY = [
    *("--total-texts", "320", "--texts-per-step", "4", "--samples-per-text", "4", "--checkpoint-every", "1"),
    *("--cloning-texts", "16", "--imitation-fraction", "0.5", "--budgeted-share", "0.75", "--penalty-rise", "0.5"),
]
FINETUNE = [
    *("--epochs", "14", "--batch-size", "8", "--learning-rate", "1e-3", "--checkpoint-every", "1"),
    *("--dropout", "0.1"),
]


def only_run(root: Path) -> Path | None:
    return next(iter(root.glob("SQuAD2/*/*")), None)


def curve(folder: Path, key: str) -> list[tuple[int, float]]:
    """A run's curve, without what was logged after the last checkpoint of a killed run."""
    events = EventAccumulator(str(folder), purge_orphaned_data=True)
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(key)]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def record(folder: Path) -> dict[str, Any]:
    """The final figures that are not clock times."""
    figures = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in figures.items() if name not in CLOCK_KEYS}


def test_a_killed_policy_run_goes_on_bit_for_bit(place: Any) -> None:
    backbone = ["--backbone", str(place.fine_tuned)]
    place.command("train_policy", *backbone, *place.common("whole"), *POLICY)
    whole = only_run(place.root / "whole")
    assert whole is not None

    # Ctrl-C while cloning: exit status 130, and a checkpoint to go on from.
    root = place.root / "broken"
    process = place.start("train_policy", *backbone, *place.common("broken"), *POLICY)
    status, err = place.stop(process, "broken", 1, signal.SIGINT)
    assert status == 130, err
    assert err.splitlines()[-1].startswith("interrupted; go on")
    assert "Traceback" not in err
    broken = only_run(root)
    assert broken is not None
    stopped_at = place.checkpoints_written("broken")
    assert 1 <= stopped_at < 84

    # SIGKILL while imitating.
    process = place.start("train_policy", "--resume", str(broken))
    status, _ = place.stop(process, "broken", max(stopped_at + 2, 8))
    assert status == -signal.SIGKILL
    assert place.checkpoints_written("broken") < 84
    assert not (broken / "model").exists()

    place.command("train_policy", "--resume", str(broken))
    assert only_run(root) == broken  # it went on in place
    assert weights(broken) == weights(whole)
    assert record(broken) == record(whole)
    for key in ("charts/episodic_return", "charts/length_penalty"):
        assert curve(broken, key) == curve(whole, key)


@pytest.mark.parametrize("agent", [["rloo"], ["grpo", "--agent-options", "clip=0.1", "steps_per_rollout=3"]])
def test_other_agents_go_on_bit_for_bit(agent: list[str], place: Any) -> None:
    name = agent[0]
    options = ["--backbone", str(place.fine_tuned), "--agent", *agent, *POLICY]
    options[options.index("320")] = "160"
    place.command("train_policy", *options, *place.common(f"whole-{name}"))
    whole, root = only_run(place.root / f"whole-{name}"), place.root / f"broken-{name}"
    assert whole is not None
    assert whole.parent.name == f"policy-{name}"
    process = place.start("train_policy", *options, *place.common(f"broken-{name}"))
    status, _ = place.stop(process, f"broken-{name}", 6)
    assert status == -signal.SIGKILL
    broken = only_run(root)
    assert broken is not None
    place.command("train_policy", "--resume", str(broken))
    assert weights(broken) == weights(whole)


def test_a_killed_finetuning_goes_on_bit_for_bit(place: Any) -> None:
    backbone = ["--backbone", str(place.pretrained), "--seed", "3"]
    place.command("finetune", *backbone, *place.common("whole-tuned"), *FINETUNE)
    whole = only_run(place.root / "whole-tuned")
    assert whole is not None

    root = place.root / "broken-tuned"
    process = place.start("finetune", *backbone, *place.common("broken-tuned"), *FINETUNE)
    status, _ = place.stop(process, "broken-tuned", 5)
    assert status == -signal.SIGKILL
    broken = only_run(root)
    assert broken is not None
    assert not (broken / "model").exists()

    place.command("finetune", "--resume", str(broken))
    assert weights(broken) == weights(whole)
    assert record(broken) == record(whole)
    assert curve(broken, "losses/task_loss") == curve(whole, "losses/task_loss")


DIVERGING = {
    "finetune": ["--epochs", "3", "--batch-size", "8", "--checkpoint-every", "1", "--learning-rate", "1e30"],
    "train_policy": [*("--total-texts", "64", "--texts-per-step", "4"), "--learning-rate", "1e30"],
    "joint_finetune": [
        *("--total-texts", "64", "--texts-per-step", "4", "--holdout-texts", "4", "--encoder-rate", "1e30"),
    ],
}


@pytest.mark.parametrize("job", list(DIVERGING))
def test_a_run_that_diverges_ships_no_model(job: str, place: Any) -> None:
    output = f"diverging-{job}"
    process = place.start(job, "--backbone", str(place.fine_tuned), *place.common(output), *DIVERGING[job])
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: the run diverges: ")
    assert " at update " in last
    run = place.only_run(output)
    assert not (run / "model").exists()
    assert not (run / "metrics.json").exists()


def test_a_run_that_still_goes_is_not_resumed(place: Any) -> None:
    process = place.start("train_policy", "--backbone", str(place.fine_tuned), *place.common("going"), *POLICY)
    while not place.checkpoints_written("going"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    second = place.start("train_policy", "--resume", str(place.only_run("going")))
    process.send_signal(signal.SIGSTOP)  # it goes on, however long the other takes
    _, err = second.communicate(timeout=120)
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate()
    assert second.returncode == 2, err
    assert f"is still going (process {process.pid} on " in err.splitlines()[-1]
