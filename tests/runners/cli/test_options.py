from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
import tyro

from runners.cli.flags import (
    changed_options,
    check_options,
    option_paths,
    option_values,
    options_from_json,
    options_to_json,
    refuse_unused,
)
from runners.cli.items import named_columns, named_values, spelled_columns, spelled_out
from runners.cli.options import DataOptions, EncoderOptions, Group, OwnDataOptions, Part, RunOptions, resolve_device
from runners.sweep import SweepOptions
from runners.training.options.policy import TrainPolicyOptions
from trbert_env.ranges import Range


@dataclass(frozen=True)
class InnerOptions:
    """Numbers."""

    fractions: tuple[float, ...] = (0.65, 0.25)
    """Numbers."""

    pair: tuple[Annotated[float, Range(0)], float] = (0.5, 0.2)
    """Two of them."""


@dataclass(frozen=True)
class StageOptions:
    """A stage."""

    inner: Part[InnerOptions] = field(default_factory=InnerOptions)
    pace: Annotated[int, Range(1)] = 1
    """A pace."""


@dataclass(frozen=True)
class JobOptions:
    resume: Path | None = None
    """A run to go on with."""

    rate: float = 1e-3
    """A rate."""

    loud: bool = False
    """A switch."""

    agent: Literal["one", "two"] = "one"
    """A choice."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    numbers: Group[InnerOptions] = field(default_factory=InnerOptions)
    stage: StageOptions = field(default_factory=StageOptions)

    def check(self) -> None:
        refuse_unused(self, reduction_layers="give --pair")


FULL = [
    *("--env", "X", "--data-source", "local", "--data-dir", "some/where", "--backbone", "a/b", "--device", "cpu"),
    *("--seed", "7", "--output-dir", "out", "--max-train-texts", "20", "--max-eval-texts", "10"),
    *("--dtype", "bfloat16", "--rate", "0.1", "--loud", "--agent", "two", "--resume", "runs/a"),
    *("--fractions", "0.1", "0.3", "--stage.pace", "3", "--stage.pair", "1", "2"),
]


def test_the_command_line_reaches_every_group() -> None:
    options = tyro.cli(JobOptions, args=FULL)
    assert options == JobOptions(
        resume=Path("runs/a"),
        rate=0.1,
        loud=True,
        agent="two",
        data=DataOptions("X", "local", Path("some/where"), 20, 10),
        encoder=EncoderOptions("a/b"),
        run=RunOptions("cpu", "bfloat16", 7, Path("out")),
        numbers=InnerOptions(fractions=(0.1, 0.3)),
        stage=StageOptions(InnerOptions(pair=(1.0, 2.0)), pace=3),
    )


def test_names_are_those_of_the_command_line() -> None:
    paths = option_paths(JobOptions)
    assert paths["output_dir"] == ("run", "output_dir")
    assert paths["pair"] == ("numbers", "pair")
    assert paths["stage.pair"] == ("stage", "inner", "pair")
    assert paths["stage.pace"] == ("stage", "pace")
    assert "stage" not in paths
    assert option_values(JobOptions(rate=2.0))["rate"] == 2.0


def test_two_options_of_one_name_are_a_defect() -> None:
    @dataclass(frozen=True)
    class Twice:
        seed: int = 0
        run: Any = None

    Twice.__annotations__["run"] = Group[RunOptions]
    with pytest.raises(TypeError, match="two options 'seed'"):
        option_paths(Twice)


def test_help_describes_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tyro.cli(JobOptions, args=["--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        "--reduction-layers",
        "--max-eval-texts",
        "--data-source",
        "Seed of every random choice",
        "A rate.",
        "data options",
        "run options",
        "stage options",
        "The texts.",
    ):
        assert text in shown


@pytest.mark.parametrize("arguments", [[], FULL])
def test_json_restores_every_option(arguments: list[str]) -> None:
    options = tyro.cli(JobOptions, args=arguments)
    text = json.dumps(options_to_json(options))
    assert options_from_json(JobOptions, json.loads(text)) == options


def test_a_whole_number_restores_as_a_float() -> None:
    values = options_to_json(JobOptions()) | {"rate": 1}
    assert type(options_from_json(JobOptions, values).rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sead": 1}, r"unknown saved options \['sead'\]"),
        ({"seed": "1"}, "saved option seed is '1'"),
        ({"seed": True}, "saved option seed is True"),
        ({"seed": None}, "saved option seed is None"),
        ({"device": "tpu"}, "saved option device is 'tpu'"),
        ({"reduction_layers": [2, "x"]}, "saved option reduction_layers is 'x'"),
        ({"reduction_layers": [2, 4]}, "--reduction-layers has no meaning here: give --pair"),
        ({"pair": [1.0]}, "saved option pair is"),
        ({"stage.pace": 1.5}, "saved option stage.pace is 1.5"),
        ({"stage.pace": 0}, "--stage.pace is 0"),
        ({"stage.pair": [-1.0, 0.0]}, "--stage.pair is -1.0 0.0"),
        ({"stage": {"pace": 1}}, r"unknown saved options \['stage'\]"),
        ({"loud": 1}, "saved option loud is 1"),
        ({"data_dir": 3}, "saved option data_dir is 3"),
        ({"max_train_texts": 0}, "--max-train-texts is 0"),
    ],
)
def test_wrong_saved_options_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        options_from_json(JobOptions, options_to_json(JobOptions()) | change)
    assert "\n" not in str(caught.value)


def test_a_missing_saved_option_is_refused() -> None:
    values = options_to_json(JobOptions())
    del values["seed"]
    with pytest.raises(ValueError, match=r"missing saved options \['seed'\]"):
        options_from_json(JobOptions, values)


def test_options_of_runs_that_began_before_them_are_known() -> None:
    values = options_to_json(TrainPolicyOptions())
    for name in ("unlabelled_file", "unlabelled_columns", "reward_temperature", "cloning_scores"):
        del values[name]
    found = options_from_json(TrainPolicyOptions, values)
    assert (found.training.unlabelled_file, found.training.reward_temperature) == ((), 1.0)
    nested = options_to_json(SweepOptions())
    del nested["policy.reward_temperature"]
    assert options_from_json(SweepOptions, nested).policy.training.reward_temperature == 1.0


def test_values_that_fail_later_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="--seed is -1; it must lie in 0 to"):
        check_options(JobOptions(run=RunOptions(seed=-1)))
    with pytest.raises(ValueError, match="--max-eval-texts is 0; it must be at least 1"):
        check_options(JobOptions(data=DataOptions(max_eval_texts=0)))
    with pytest.raises(ValueError, match="--reduction-layers has no meaning here: give --pair"):
        check_options(JobOptions(encoder=EncoderOptions(reduction_layers=(2,))))
    check_options(JobOptions(data=DataOptions(max_eval_texts=1)))


def test_changed_options_are_those_not_at_their_default() -> None:
    assert changed_options(JobOptions()) == []
    stage = StageOptions(pace=2)
    options = JobOptions(rate=2.0, run=RunOptions(seed=3), data=DataOptions(data_dir=Path("x")), stage=stage)
    assert changed_options(options) == ["--rate", "--data-dir", "--seed", "--stage.pace"]


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"--device is cuda, .* use --device cpu"):
        resolve_device("cuda")
    with pytest.raises(ValueError, match="--device is 'tpu'"):
        resolve_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cpu") == torch.device("cpu")


def test_named_values_from_a_file_and_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "ppo.yaml"
    file.write_text("n_epochs: 4\nclip_range: 1e-1  # a string to YAML 1.1\nnormalize_advantage: false\n")
    found = named_values("--agent-options", [str(file), "n_epochs=2", "name=sum"])
    assert found == {"n_epochs": 2, "clip_range": 0.1, "normalize_advantage": False, "name": "sum"}
    file.unlink()  # what is spelled out needs no file
    items = ("n_epochs=2", "clip_range=0.1", "normalize_advantage=false", 'name="sum"')
    assert spelled_out("--agent-options", items) == items
    assert named_values("--agent-options", items) == found


def test_columns_are_texts_and_may_be_none(tmp_path: Path) -> None:
    file = tmp_path / "names.yaml"
    file.write_text("label: '2024.10'\ntext: 7\nid:\n")
    items = [str(file), "text_pair=", "answer=true", "group=a=b"]
    found = {"label": "2024.10", "text": "7", "id": "", "text_pair": "", "answer": "true", "group": "a=b"}
    assert named_columns("--columns", items) == found
    spelled = spelled_columns("--columns", items)
    file.unlink()  # what is spelled out needs no file
    assert named_columns("--columns", spelled) == found
    assert named_columns("--columns", ['text="body"', "label='a\"b"]) == {
        "text": "body",
        "label": "'a\"b",
    }
    assert DataOptions("SpanQA", own=OwnDataOptions(Path("a.csv"), columns=("id=",))).request().columns == {"id": ""}
    with pytest.raises(ValueError, match="--columns has 'body': give name=value"):
        named_columns("--columns", ["body"])


@pytest.mark.parametrize(
    ("text", "named"),
    [(None, "no such file"), ("- 1\n- 2\n", "name: value"), ("a: [1\n", "no YAML"), ("1: 2\n", "name: value")],
)
def test_files_of_values_that_cannot_be_read(tmp_path: Path, text: str | None, named: str) -> None:
    file = tmp_path / "options.yml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=named) as caught:
        named_values("--agent-options", [str(file)])
    assert "options.yml" in str(caught.value)
    assert "\n" not in str(caught.value)
