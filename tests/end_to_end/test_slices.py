"""``--task-options max_slices=2`` through all stages, on embedded corpora."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runners import benchmark, evaluate, joint_finetune, train_policy
from runners.cli.run import run
from trbert_env.deploy.model import TokenReducedModel

STEPS = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2"]
SMALL = [*STEPS, "--reduction-layers", "2", "3", "--max-train-texts", "24"]
SLICES = ["--max-length", "64", "--task-options", "max_slices=2"]


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path]) -> Path:
    """A tiny encoder of 64 positions without a head, with a real tokenizer."""
    return save_encoder(max_position_embeddings=64)


@pytest.fixture
def start(in_process: Any, tmp_path: Path) -> Any:
    """Run a runner; returns its run folder."""

    def to_end(module: Any, *arguments: str) -> Path:
        job = module.__name__.rpartition(".")[2]
        options = getattr(module, "".join(part.title() for part in job.split("_")) + "Options")
        sizes = [] if job == "benchmark" else ["--max-eval-texts", "6"]
        run(module.main, options, ["--output-dir", str(tmp_path / job), "--dtype", "float32", *sizes, *arguments])
        # Stage 2 fine-tunes an encoder without a head first, in a run of its own.
        return next(path for path in (tmp_path / job).glob("*/*/*") if not path.parent.name.startswith("finetune"))

    return to_end


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "options"), [("Hyperpartisan", []), ("NewsQA", ["stride=16", "max_question_tokens=24"])]
)
def test_all_stages(name: str, options: list[str], encoder: Path, start: Any) -> None:
    source = ["--env", name, "--data-source", "embedded", "--backbone", str(encoder)]
    policy = start(train_policy, *source, *SLICES, *options, *SMALL)
    assert metrics(policy)["num_texts"] == 6  # one text a record
    joint = start(joint_finetune, "--policy", str(policy), *STEPS, "--max-train-texts", "24", "--holdout-texts", "2")
    model = TokenReducedModel.from_pretrained(joint / "model")
    assert (model.task.settings["max_slices"], model.task.max_text_tokens) == (2, 128)
    main_metric = model.task.metric_names[0]
    assert metrics(start(evaluate, "--model", str(joint)))[main_metric] == pytest.approx(metrics(joint)[main_metric])
    start(benchmark, "--model", str(policy), "--num-texts", "3", "--rounds", "1", "--no-training")
    # The tokenizer's own padded tensors, of texts with two slices and with one.
    ids = torch.full((2, 2, 64), 1000)
    ids[..., 0] = 101
    mask = torch.ones_like(ids)
    mask[1, 1] = 0
    output: Any = model(ids, attention_mask=mask)
    shown = output.start_logits if name == "NewsQA" else output.logits
    assert shown.shape == ((2, 2, 64) if name == "NewsQA" else (2, model.task.num_logits))


def test_pairs_are_refused_in_one_line(encoder: Path, start: Any, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "pairs.csv"
    rows = [f"r{number},one {number},two,{'ab'[number % 2]}\n" for number in range(40)]
    file.write_text("id,sentence1,sentence2,label\n" + "".join(rows))
    with pytest.raises(SystemExit):
        start(
            train_policy, "--env", "TextClassification", "--train-file", str(file), "--backbone", str(encoder), *SLICES
        )
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: record 'r")
    assert "is a pair of texts, and max_slices is 2: pairs are not sliced, so set max_slices to 1" in line
