"""A run stops at the first loss, gradient or weight that is no number, and its last good checkpoint stays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from runners.cli.run import UserError
from runners.finetune import FinetuneOptions
from runners.runs.checkpoint import load_state
from runners.runs.run_folder import RunFolder
from runners.runs.tracking import Tracker, read_curve
from runners.training.loop import train


class Counting:
    """Six updates of one text; at one of them something goes wrong."""

    total_texts = 6

    def __init__(self, at: int = 0, figure: tuple[str, float] | None = None, weight: float = 0.0) -> None:
        self.updates, self._at, self._figure, self._weight = 0, at, figure, weight
        self.weight = torch.zeros(3)

    @property
    def texts_seen(self) -> int:
        return self.updates

    def step(self) -> dict[str, float]:
        self.updates += 1
        figures = {"losses/task_loss": 1.0, "charts/learning_rate": 0.1}
        if self.updates == self._at:
            self.weight[1] = self._weight
            figures |= dict([self._figure] if self._figure else [])
        return figures

    def watch(self, tracker: Tracker) -> None:
        pass

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        return [("policy.bias", self.weight)]

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates, self.weight = state["updates"], state["weight"]


def new_folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path, "SQuAD2", "policy", "reinforce", 0)
    folder.write_config(FinetuneOptions())
    return folder


def go(training: Counting, folder: RunFolder, checkpoint_every: int = 1, state: Any = None) -> None:
    train(training, folder, label="", checkpoint_every=checkpoint_every, state=state, shown={})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name",
    [
        "losses/task_loss",
        "losses/policy_loss",
        "losses/gradient_norm",
        "losses/encoder_gradient_norm",
        "losses/entropy",
        "charts/episodic_return",
        "charts/log_likelihood",
    ],
)
def test_a_loss_or_gradient_that_is_not_finite(tmp_path: Path, name: str, value: float) -> None:
    folder = new_folder(tmp_path)
    with pytest.raises(UserError, match=f"{name} is {value} at update 4, after 4 texts.*last good checkpoint is kept"):
        go(Counting(4, (name, value)), folder)
    assert load_state(folder.checkpoint_dir, folder.run_id)["updates"] == 3
    assert [step for step, _ in read_curve(folder.events_dir, "losses/task_loss")] == [1, 2, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_takes_the_place_of_no_checkpoint(tmp_path: Path, value: float) -> None:
    folder = new_folder(tmp_path)
    with pytest.raises(UserError, match=r"weights policy\.bias are not finite at update 4"):
        go(Counting(3, weight=value), folder, checkpoint_every=2)
    assert load_state(folder.checkpoint_dir, folder.run_id)["updates"] == 2


def test_nothing_was_kept_yet(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    with pytest.raises(UserError, match="no checkpoint was written yet"):
        go(Counting(1, ("losses/task_loss", math.nan)), folder)


def test_what_is_finite_goes_through(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    go(Counting(4, ("charts/texts_per_second", math.inf)), folder)
    assert load_state(folder.checkpoint_dir, folder.run_id)["updates"] == 6


@pytest.mark.parametrize("state", [{}, [], None, 3, {"updates": 1}, {"other": 1}])
def test_a_state_of_another_version_is_one_line(tmp_path: Path, state: Any) -> None:
    folder = new_folder(tmp_path)
    with pytest.raises(ValueError, match="holds the state of another version"):
        go(Counting(), folder, state={"wrapped": state} if state is None else state)
