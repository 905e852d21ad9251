"""The command that stage 1 tells at its end reads the texts as stage 1 did."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from runners.cli.options import DataOptions
from runners.cli.run import read_options
from runners.finetune import FinetuneOptions, read_alike
from runners.make_faster import MakeFasterOptions
from runners.runs.run_folder import RunFolder


@pytest.mark.parametrize(
    "data",
    [
        DataOptions(env="IMDB", data_source="embedded"),
        DataOptions(env="Hyperpartisan", data_source="embedded", task_options=("max_slices=4",), max_length=64),
        DataOptions(env="HotpotQA", reader_options=("level=hard",), task_options=("support_weight=0.5",)),
        DataOptions(env="TextClassification", task_options=("ranking=true", "truncation=head+tail"), max_length=96),
    ],
)
def test_texts_are_read_as_stage_1_read_them(data: DataOptions, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, data.env, "finetune", "default", 0)
    folder.write_config(FinetuneOptions(data=data), {"data_source": "embedded"})
    offered = read_options(MakeFasterOptions, ["--model", str(folder.path), *shlex.split(read_alike(folder))]).data
    for name in ("env", "data_source", "reader_options", "task_options", "max_length"):
        assert getattr(offered, name) == getattr(data, name), name
