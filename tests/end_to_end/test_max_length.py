"""``--max-length`` beyond what the encoder has learned, through all stages."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer

from runners import benchmark, evaluate, finetune, joint_finetune, pilot, probe, train_policy
from runners.cli.run import run
from trbert_env.data.backbones import load_backbone_from
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.tasks import SpanQA

SMALL = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2", "--reduction-layers", "2", "3"]
#: The encoder has learned 384 positions.
LENGTH = 500


@pytest.fixture(scope="module")
def long_data(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions whose passages have some 470 tokens."""
    splits = []
    for split, count in (("train", 8), ("validation", 4)):
        rows = data.rows(split, count)
        for row in rows:
            row["context"] += " " + " ".join([row["context"]] * 30)
        splits.append(rows)
    folder: Path = data.write(tmp_path_factory.mktemp("long"), *splits)
    return folder


@pytest.fixture
def start(in_process: Any, long_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a runner in a folder and a cache of the test's own; returns its run folder."""
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))

    def to_end(module: Any, *arguments: str) -> Path:
        job = module.__name__.rpartition(".")[2]
        output = tmp_path / job / str(len(list(tmp_path.glob(f"{job}/*"))))
        common = ["--data-dir", str(long_data), "--output-dir", str(output)]
        options = getattr(module, "".join(part.title() for part in job.split("_")) + "Options")
        run(module.main, options, [*common, *arguments])
        return next(output.glob("SQuAD2/*/*"))

    return to_end


def facts(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())["facts"]


def positions(folder: Path) -> int:
    (table,) = (
        values
        for name, values in load_file(folder / "model" / "model.safetensors").items()
        if name.endswith("position_embeddings.weight")
    )
    return len(table)


def test_all_stages_at_a_length_beyond_the_encoders(start: Any, in_process: Any) -> None:
    encoder = ["--backbone", str(in_process.pretrained), "--max-length", str(LENGTH)]
    with pytest.warns(UserWarning, match=f"has learned 384 positions, and is extended to {LENGTH} by copies of them"):
        stage1 = start(finetune, *encoder, "--epochs", "1", "--batch-size", "8", "--dtype", "float32")
    said = {"extended_from": 384, "extended_to": LENGTH}
    assert facts(stage1).items() >= said.items()
    assert json.loads((stage1 / "metrics.json").read_text())["extended_from"] == 384
    assert positions(stage1) == LENGTH

    # What stage 1 left is found at this length; a run of it is an encoder of that many positions.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stage2 = start(train_policy, *encoder, *SMALL, "--dtype", "float32")
    assert not any("extended" in str(warning.message) for warning in caught)
    assert "extended_from" not in facts(stage2)
    assert "cache" in facts(stage2)["backbone"]
    given = load_backbone_from(str(stage1 / "model"), SpanQA(), "x")
    assert given.model.config.max_position_embeddings == LENGTH

    stage3 = start(joint_finetune, "--policy", str(stage2), *SMALL[:-3], "--holdout-texts", "2", "--dtype", "float32")
    assert positions(stage3) == LENGTH
    model = TokenReducedModel.from_pretrained(stage3 / "model")
    assert model.task.max_tokens == LENGTH
    record = json.loads((start(evaluate, "--model", str(stage3)) / "metrics.json").read_text())
    assert record["num_texts"] == 4  # one window each


def test_runners_that_train_nothing_say_it_too(start: Any, in_process: Any) -> None:
    encoder = ["--backbone", str(in_process.fine_tuned), "--max-length", str(LENGTH)]
    for module, options in (
        (evaluate, ["--agent", "stock"]),
        (probe, ["--backbone", encoder[1]]),
        (pilot, ["--strategies", "random", "--proportions", "0.5"]),
        (benchmark, ["--num-texts", "2", "--rounds", "1", "--no-training"]),
        (benchmark, ["--num-texts", "2", "--rounds", "1", "--no-training", "--architecture", "bert-base"]),
    ):
        with pytest.warns(UserWarning, match=f"is extended to {LENGTH}"):
            folder = start(module, *encoder, *options)
        assert facts(folder).get("extended_from") == (None if "bert-base" in options else 384)


def test_the_encoder_that_joint_training_began_with_is_extended_alike(start: Any, in_process: Any) -> None:
    encoder = ["--backbone", str(in_process.fine_tuned), "--max-length", str(LENGTH)]
    joint = start(joint_finetune, *encoder, *SMALL, "--holdout-texts", "2", "--dtype", "float32")
    record = json.loads((start(evaluate, "--model", str(joint)) / "metrics.json").read_text())
    own = json.loads((joint / "metrics.json").read_text())
    assert record["extended_from"] == own["extended_from"] == 384
    assert record["full_log_likelihood"] == pytest.approx(own["full_log_likelihood"], abs=1e-5)


def test_the_tokenizer_beside_a_model_truncates_where_it_was_trained_to(start: Any, in_process: Any) -> None:
    encoder = ["--backbone", str(in_process.fine_tuned), "--max-length", "200"]
    stage2 = start(train_policy, *encoder, *SMALL, "--dtype", "float32")
    stage3 = start(joint_finetune, "--policy", str(stage2), *SMALL[:-3], "--holdout-texts", "2", "--dtype", "float32")
    for folder in (stage2, stage3):
        assert AutoTokenizer.from_pretrained(folder / "model").model_max_length == 200
    assert AutoTokenizer.from_pretrained(in_process.fine_tuned).model_max_length > 200


def test_a_shorter_teacher_is_refused(start: Any, in_process: Any, capsys: Any) -> None:
    encoder = ["--backbone", str(in_process.fine_tuned), "--max-length", str(LENGTH)]
    stage2 = start(train_policy, *encoder, *SMALL, "--dtype", "float32")
    with pytest.raises(SystemExit):
        start(joint_finetune, "--policy", str(stage2), "--teacher", encoder[1], "--holdout-texts", "2")
    assert "knows 384 positions" in capsys.readouterr().err.splitlines()[-1]


def test_a_length_beyond_what_can_be_is_refused(start: Any, in_process: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        start(finetune, "--backbone", str(in_process.pretrained), "--max-length", "100000")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: backbone '{in_process.pretrained}' cannot be extended to 100000 positions")


def test_an_environment_at_that_length(in_process: Any, long_data: Path) -> None:
    options = {"data_dir": str(long_data), "backbone": str(in_process.fine_tuned), "max_examples": 4}
    with pytest.warns(UserWarning, match=f"has learned 384 positions, and is extended to {LENGTH}"):
        env: Any = gymnasium.make_vec("TRBERT/SQuAD2-v0", num_envs=2, max_length=LENGTH, **options)
    assert json.loads(env.spec.to_json())["kwargs"]["max_length"] == LENGTH
    observation, _ = env.reset(seed=0)
    assert observation["token_mask"].shape == (2, LENGTH)
    assert observation["token_mask"].sum(1).max() > 384
