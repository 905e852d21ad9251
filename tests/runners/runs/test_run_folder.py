from __future__ import annotations

import dataclasses
import json
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runners.cli.items import named_columns, named_values
from runners.cli.options import DataOptions, EncoderOptions, Group, OwnDataOptions, RunOptions
from runners.cli.run import read_options
from runners.finetune import FinetuneOptions
from runners.reproduction.options import ReproduceOptions
from runners.runs.checkpoint import FORMAT
from runners.runs.earlier import data_of_run
from runners.runs.run_folder import RunFolder, reopen
from runners.training.options.baseline import TrainBaselineOptions
from runners.training.options.policy import TrainPolicyOptions
from runners.training.options.pretraining import PlainTextOptions, PretrainOptions


@dataclass(frozen=True)
class JobOptions:
    resume: Path | None = None
    rate: float = 1e-3
    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Nothing ties these options."""


def make_run(tmp_path: Path, options: JobOptions) -> RunFolder:
    run = RunFolder.create(tmp_path, options.data.env, "policy", "reinforce", options.run.seed)
    run.write_config(options, {"data_source": "embedded"})
    return run


def test_the_folder_says_what_ran(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "SQuAD2", "policy", "my.agents:Agent", seed=3)
    env, job, when = run.path.relative_to(tmp_path).parts
    assert (env, job) == ("SQuAD2", "policy-my.agents_Agent")
    assert re.fullmatch(r"\d{8}-\d{6}-3", when)
    inside = (run.config_path, run.metrics_path, run.model_dir, run.checkpoint_dir)
    assert [path.name for path in inside] == ["config.json", "metrics.json", "model", "checkpoint"]
    assert all(path.parent == run.path for path in inside)


def test_runs_of_the_same_second_do_not_share_a_folder(tmp_path: Path) -> None:
    runs = [RunFolder.create(tmp_path, "SQuAD2", "policy", "reinforce", seed=0) for _ in range(4)]
    assert len({run.path for run in runs}) == 4
    assert all(re.fullmatch(r"\d{8}-\d{6}-0", run.path.name) for run in runs)


def test_the_config_holds_options_facts_and_versions(tmp_path: Path) -> None:
    options = JobOptions(
        rate=0.5,
        data=DataOptions(data_dir=Path("some/where")),
        encoder=EncoderOptions(reduction_layers=(2, 4)),
        run=RunOptions(seed=5),
    )
    run = make_run(tmp_path, options)
    record = json.loads(run.config_path.read_text())
    assert record["options"]["data_dir"] == str(Path("some/where").absolute())
    assert record["options"]["reduction_layers"] == [2, 4]
    assert record["facts"] == {"data_source": "embedded"}
    assert record["versions"]["python"] == platform.python_version()
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"transformers", "gymnasium", "stable-baselines3", "trbert-env"} <= record["versions"].keys()
    assert record["git_commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", record["git_commit"])
    there = dataclasses.replace(options, data=DataOptions(data_dir=Path("some/where").absolute()))
    assert RunFolder.open(run.path).read_options(JobOptions) == there


def test_facts_that_earlier_versions_do_not_know_are_not_missed(tmp_path: Path) -> None:
    earlier = make_run(tmp_path, JobOptions())
    earlier.check_facts({"data_source": "embedded", "budget_scope": "batch"})
    with pytest.raises(ValueError, match="began with length None, now it is 3"):
        earlier.check_facts({"length": 3})
    run = RunFolder.create(tmp_path, "SQuAD2", "policy", "reinforce", 1)
    run.write_config(JobOptions(), {"budget_scope": None})
    with pytest.raises(ValueError, match="began with budget_scope None, now it is 'batch'"):
        run.check_facts({"budget_scope": "batch"})


def test_places_mean_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here/encoder", "there"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "here" / "order.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "here")
    data = DataOptions(data_dir=Path("data"), reader_options=("ranking=order.json", "config=fullwiki"))
    run = make_run(tmp_path, JobOptions(data=data, encoder=EncoderOptions("encoder")))
    monkeypatch.chdir(tmp_path / "there")
    found = run.read_options(JobOptions)
    assert found.data.data_dir == tmp_path / "here" / "data"
    assert found.data.reader_options == (f"ranking={tmp_path}/here/order.json", "config=fullwiki")
    assert found.encoder.backbone == str(tmp_path / "here" / "encoder")
    assert data_of_run(run.path, DataOptions()).data_dir == tmp_path / "here" / "data"
    monkeypatch.chdir(tmp_path / "here")  # where the same name is the same place
    assert data_of_run(run.path, data).reader_options == found.data.reader_options


def test_lists_of_files_mean_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder.create(tmp_path, "text", "pretrain", "mlm", 0)
    run.write_config(PretrainOptions(data=PlainTextOptions(train_file=(Path("docs"), Path("a.txt")))), {})
    found = run.read_options(PretrainOptions)
    assert found.data.train_file == (tmp_path / "docs", tmp_path / "a.txt")


def test_a_file_of_items_is_not_needed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("task.yaml").write_text("max_slices: 3")
    Path("names.yml").write_text("text: body")
    own = OwnDataOptions(columns=("names.yml", "label=stars"))
    options = JobOptions(data=DataOptions(task_options=("task.yaml", "stride=64"), own=own))
    run = make_run(tmp_path, options)
    Path("task.yaml").unlink()
    Path("names.yml").unlink()
    data = run.read_options(JobOptions).data
    assert named_values("", data.task_options) == {"max_slices": 3, "stride": 64}
    assert named_columns("", data.own.columns) == {"text": "body", "label": "stars"}


@pytest.mark.parametrize("prefix", ["", "policy."])
def test_a_file_of_an_agents_options_is_not_needed_again(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run of stage 2 as of what is made of such runs."""
    monkeypatch.chdir(tmp_path)
    Path("agent.yaml").write_text("n_epochs: 4")
    given = [f"--{prefix}agent", "ppo", f"--{prefix}agent-options", "agent.yaml"]
    options: Any = (
        read_options(ReproduceOptions, ["--table", "2", *given]) if prefix else read_options(TrainPolicyOptions, given)
    )
    run = RunFolder.create(tmp_path, "SQuAD2", "any", "ppo", 0)
    run.write_config(options, {})
    Path("agent.yaml").unlink()
    found = run.read_options(type(options))
    algorithm = found.policy.algorithm if prefix else found.algorithm
    assert named_values("", algorithm.agent_options) == {"n_epochs": 4}


def test_a_file_of_a_systems_options_is_not_needed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("system.yaml").write_text("layers: [1, 3]")
    run = RunFolder.create(tmp_path, "SQuAD2", "baseline", "distilled", 0)
    run.write_config(TrainBaselineOptions(system_options=("system.yaml",)), {})
    Path("system.yaml").unlink()
    found = run.read_options(TrainBaselineOptions)
    assert named_values("", found.system_options) == {"layers": [1, 3]}


@pytest.mark.parametrize("name", ["embedded", "google-bert/bert-base-uncased"])
def test_names_that_are_no_folders_stay(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, JobOptions(encoder=EncoderOptions(name)))
    assert run.read_options(JobOptions).encoder.backbone == name


def test_a_resume_restores_every_option(tmp_path: Path) -> None:
    options = JobOptions(data=DataOptions(max_eval_texts=9), run=RunOptions(seed=5))
    run = make_run(tmp_path, options)
    assert reopen(JobOptions(resume=run.path), run.path) == (options, run)
    with pytest.raises(ValueError, match="leave out --rate --seed"):
        reopen(JobOptions(resume=run.path, run=RunOptions(seed=6), rate=3.0), run.path)


def test_options_of_another_runner_are_refused_by_file(tmp_path: Path) -> None:
    run = make_run(tmp_path, JobOptions())
    with pytest.raises(ValueError, match=r"config\.json: unknown saved options \['rate'\]"):
        run.read_options(FinetuneOptions)


def test_what_is_not_a_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no run folder .*nowhere; give a folder like"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="not a run folder: it has no config"):
        RunFolder.open(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError, match="is a file, not a run folder"):
        RunFolder.open(file)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "has no options")])
def test_a_damaged_config_is_named(tmp_path: Path, text: str, message: str) -> None:
    run = make_run(tmp_path, JobOptions())
    run.config_path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        run.read_options(JobOptions)
    assert str(run.config_path) in str(caught.value)


def test_metrics_are_one_flat_record(tmp_path: Path) -> None:
    run = make_run(tmp_path, JobOptions())
    metrics = {
        "env": "SQuAD2",
        "f1": 56.3,
        "num_texts": np.int64(3),
        "x": np.float32(0.5),
        "wall": float("nan"),
    }
    run.write_metrics(metrics)
    expected = {"env": "SQuAD2", "f1": 56.3, "num_texts": 3, "x": 0.5, "wall": None}
    assert json.loads(run.metrics_path.read_text()) == expected
    with pytest.raises(TypeError, match="metric 'nested' is a dict"):
        run.write_metrics({"nested": {}})
    assert json.loads(run.metrics_path.read_text()) == expected


def test_a_run_folder_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunFolder(tmp_path).path = tmp_path  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 7), ("rate", 0.01), ("reduction_layers", [2, 4]), ("dtype", "float32")]
)
def test_options_that_were_edited_are_refused(tmp_path: Path, name: str, value: object) -> None:
    run = make_run(tmp_path, JobOptions())
    record = json.loads(run.config_path.read_text())
    record["options"][name] = value
    run.config_path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="has other options than the run began with: restore them"):
        run.read_options(JobOptions)


def test_a_run_can_be_told_where_its_data_are_now(tmp_path: Path) -> None:
    run = make_run(tmp_path, JobOptions(data=DataOptions(data_dir=Path("there"))))
    record = json.loads(run.config_path.read_text())
    record["options"]["data_dir"] = "here"
    run.config_path.write_text(json.dumps(record))
    assert run.read_options(JobOptions) == JobOptions(data=DataOptions(data_dir=Path("here")))


@pytest.mark.parametrize("form", [None, FORMAT - 1, FORMAT + 1, "3"])
def test_options_of_another_format_are_refused_in_one_line(tmp_path: Path, form: object) -> None:
    run = make_run(tmp_path, JobOptions())
    record = json.loads(run.config_path.read_text())
    record["format"] = form
    if form is None:  # as runs were left before options had a format
        del record["format"]
    run.config_path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"this version reads {FORMAT}: finish the run with the version") as caught:
        run.read_options(JobOptions)
    assert "\n" not in str(caught.value)
