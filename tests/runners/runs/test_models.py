"""A folder without a model says what is the matter with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runners.runs.models import load_model


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("policy-reinforce", "by python runners/train_policy.py --resume"),
        ("joint-reinforce", "by python runners/joint_finetune.py --resume"),
        ("copies", "by the runner that began it, with --resume"),
    ],
)
def test_a_run_that_has_not_ended(stage: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / stage / "20260101-000000-0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"options": {}}))
    with pytest.raises(FileNotFoundError, match="holds no model yet: the run has not ended; wait for it") as caught:
        load_model(folder, "cpu")
    assert f"{said} {folder}" in str(caught.value)
    (folder / "metrics.json").write_text("{}")  # such as that of an agent that ends in no model
    with pytest.raises(FileNotFoundError, match="holds no model: give a run's folder"):
        load_model(folder, "cpu")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no model: give a run's folder"):
        load_model(tmp_path, "cpu")
