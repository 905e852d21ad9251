"""Ctrl-C or SIGTERM at any moment of the training loop ends the run where its state is whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from runners.finetune import FinetuneOptions
from runners.runs.checkpoint import has_state, load_state
from runners.runs.run_folder import RunFolder
from runners.runs.tracking import Tracker
from runners.training.loop import train


class Interrupted:
    """Four updates of one text; Ctrl-C comes at a moment that has a name."""

    total_texts = 4

    def __init__(self, moment: str, times: int = 1, signum: int = signal.SIGINT) -> None:
        self.updates, self._moment, self._times, self._signum = 0, moment, times, signum

    @property
    def texts_seen(self) -> int:
        return self.updates

    def _at(self, moment: str) -> None:
        if moment == self._moment:
            for _ in range(self._times):
                os.kill(os.getpid(), self._signum)

    def step(self) -> dict[str, float]:
        self.updates += 1
        self._at(f"step {self.updates}")
        return {"losses/task_loss": 1.0}

    def watch(self, tracker: Tracker) -> None:
        self._at(f"watch {self.updates}")

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        return []

    def state_dict(self) -> dict[str, Any]:
        self._at(f"state {self.updates}")
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path, "SQuAD2", "policy", "reinforce", 0)
    made.write_config(FinetuneOptions())
    return made


def go(training: Interrupted, folder: RunFolder, state: Any = None) -> None:
    train(training, folder, label="", checkpoint_every=2, state=state, shown={})


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("moment", "saved"),
    [("watch 0", 1), ("step 1", 1), ("step 2", 2), ("state 2", 2), ("step 3", 3), ("step 4", 4), ("state 4", 4)],
)
def test_one_signal_saves_and_stops(moment: str, saved: int, signum: int, folder: RunFolder) -> None:
    handler = signal.getsignal(signum)
    with pytest.raises(KeyboardInterrupt):
        go(Interrupted(moment, signum=signum), folder)
    assert signal.getsignal(signum) is handler
    state = load_state(folder.checkpoint_dir, folder.run_id)
    assert state == {"updates": saved}
    later = Interrupted("never")
    go(later, folder, state)
    assert later.updates == 4


def test_a_second_sigterm_changes_nothing(folder: RunFolder) -> None:
    """The command ``timeout`` sends two at a time."""
    with pytest.raises(KeyboardInterrupt):
        go(Interrupted("step 3", times=2, signum=signal.SIGTERM), folder)
    assert load_state(folder.checkpoint_dir, folder.run_id) == {"updates": 3}


@pytest.mark.parametrize(("moment", "saved"), [("step 1", 0), ("step 3", 2), ("state 2", 0), ("state 4", 2)])
def test_a_second_one_stops_at_once(moment: str, saved: int, folder: RunFolder) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(Interrupted(moment, times=2), folder)
    assert has_state(folder.checkpoint_dir) == bool(saved)
    if saved:
        assert load_state(folder.checkpoint_dir, folder.run_id) == {"updates": saved}
