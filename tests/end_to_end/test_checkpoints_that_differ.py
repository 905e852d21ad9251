"""Encoders that differ from what a data set's settings expect: it works and says so, or is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from runners import evaluate, finetune, train_policy
from runners.cli.run import run
from trbert_env.deploy.model import TokenReducedModel

SMALL = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2", "--dtype", "float32"]
SIZES: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "initializer_range": 0.1,
}
#: Encoder -> what it has.
ENCODERS: dict[str, Any] = {
    "bert of 128 positions": lambda: BertForQuestionAnswering(BertConfig(**SIZES, max_position_embeddings=128)),
    "roberta of 130 positions": lambda: RobertaForQuestionAnswering(
        RobertaConfig(**SIZES, max_position_embeddings=130, pad_token_id=1, type_vocab_size=2)
    ),
    "3 labels": lambda: BertForSequenceClassification(BertConfig(**SIZES, num_labels=3)),
    "3 outputs": lambda: BertForQuestionAnswering(BertConfig(**SIZES, num_labels=3)),
    "1 layer": lambda: BertForQuestionAnswering(BertConfig(**SIZES | {"num_hidden_layers": 1})),
    "2 layers": lambda: BertForQuestionAnswering(BertConfig(**SIZES | {"num_hidden_layers": 2})),
    "3 layers": lambda: BertForQuestionAnswering(BertConfig(**SIZES | {"num_hidden_layers": 3})),
}


@pytest.fixture
def encoder(data: Any, tmp_path: Path) -> Any:
    def save(name: str) -> str:
        torch.manual_seed(0)
        return str(data.save_backbone(tmp_path / "encoder", ENCODERS[name]()))

    return save


@pytest.fixture
def start(in_process: Any, tmp_path: Path) -> Any:
    """Run a runner on questions about long passages or short ones; returns its run folder."""

    def to_end(module: Any, *arguments: str, folder: Path | None = None) -> Path:
        job = module.__name__.rpartition(".")[2]
        options = getattr(module, "".join(part.title() for part in job.split("_")) + "Options")
        common = ["--data-dir", str(folder or in_process.data), "--output-dir", str(tmp_path / job)]
        run(module.main, options, [*common, *arguments])
        return next((tmp_path / job).glob("SQuAD2/*/*"))

    return to_end


@pytest.fixture(scope="module")
def long_data(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions whose passages have some 200 tokens."""
    rows = {split: data.rows(split, count) for split, count in (("train", 8), ("validation", 4))}
    for row in [*rows["train"], *rows["validation"]]:
        row["context"] += " " + " ".join([row["context"]] * 12)
    return Path(data.write(tmp_path_factory.mktemp("long"), *rows.values()))


@pytest.mark.parametrize("name", ["bert of 128 positions", "roberta of 130 positions"])
def test_texts_are_read_in_windows_of_the_positions_that_there_are(
    name: str, encoder: Any, start: Any, long_data: Path
) -> None:
    said = "knows 128 positions, and SQuAD2 is read in sequences of 384 tokens: they are shortened to 128"
    with pytest.warns(UserWarning, match=said):
        folder = start(train_policy, "--backbone", encoder(name), *SMALL, folder=long_data)
    model = TokenReducedModel.from_pretrained(folder / "model")
    assert model.task.settings.items() >= {"max_tokens": 128, "stride": 42, "max_question_tokens": 64}.items()
    own = json.loads((folder / "metrics.json").read_text())
    again = json.loads((start(evaluate, "--model", str(folder), folder=long_data) / "metrics.json").read_text())
    assert again["f1"] == own["f1"]
    assert again["num_texts"] == own["num_texts"] > 4  # windows


def test_an_environment_has_windows_of_the_positions_that_there_are(encoder: Any, long_data: Path) -> None:
    options = {"data_dir": str(long_data), "backbone": encoder("bert of 128 positions")}
    with pytest.warns(UserWarning, match="knows 128 positions"):
        env: Any = gymnasium.make_vec("TRBERT/SQuAD2-v0", num_envs=2, **options)
    observation, _ = env.reset(seed=0)
    assert observation["token_mask"].shape == (2, 128)


@pytest.mark.parametrize(("name", "cuts", "fractions"), [("2 layers", [2], [0.5]), ("3 layers", [2, 3], [0.5, 0.2])])
def test_a_shallow_encoder_is_cut_where_it_can_be(
    name: str, cuts: list[int], fractions: list[float], encoder: Any, start: Any, capsys: Any
) -> None:
    folder = start(train_policy, "--backbone", encoder(name), *SMALL)
    model = TokenReducedModel.from_pretrained(folder / "model")
    assert list(model.encoder.reduction_layers) == cuts
    assert list(model.config.trained_fractions) == fractions
    told = "--keep-fractions 0.5 where no others are" in capsys.readouterr().err
    assert told == (len(cuts) == 1)


def test_cuts_that_are_measured_take_fractions_of_as_many(encoder: Any, start: Any) -> None:
    folder = start(train_policy, "--backbone", encoder("3 layers"), "--keep-fractions", "0.6", "0.3", *SMALL)
    assert TokenReducedModel.from_pretrained(folder / "model").config.trained_fractions == [0.6, 0.3]


def refused(start: Any, capsys: Any, tmp_path: Path, module: Any, *arguments: str) -> str:
    with pytest.raises(SystemExit):
        start(module, *arguments)
    assert not list(tmp_path.glob("*/SQuAD2"))
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return str(err.splitlines()[-1])


def test_an_encoder_of_one_layer_is_refused(encoder: Any, start: Any, capsys: Any, tmp_path: Path) -> None:
    line = refused(start, capsys, tmp_path, train_policy, "--backbone", encoder("1 layer"), *SMALL)
    assert line.startswith("error: the encoder has 1 layer, and the last layer is not cut within")


def test_a_classifier_gets_a_head_for_questions(encoder: Any, start: Any, capsys: Any) -> None:
    start(train_policy, "--backbone", encoder("3 labels"), *SMALL)
    notes = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "has no task head for SQuAD2: a new head is trained from random weights" in notes
    assert notes.count("training data:") == 1  # though stage 1 runs first


def test_a_head_of_other_outputs_is_trained_anew(encoder: Any, start: Any, capsys: Any, tmp_path: Path) -> None:
    name = encoder("3 outputs")
    line = refused(start, capsys, tmp_path, train_policy, "--backbone", name, *SMALL)
    assert "has a task head of 3 outputs, and the task needs 2" in line
    assert "runners/finetune.py" in line
    start(finetune, "--backbone", name, "--epochs", "1", "--dtype", "float32")
    start(train_policy, "--backbone", name, *SMALL)
