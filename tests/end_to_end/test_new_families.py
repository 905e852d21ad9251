"""Encoders that are not of BERT's layers, each with its own kind of tokenizer, from a folder to a shipped model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForQuestionAnswering, AutoTokenizer, PreTrainedTokenizerBase

import trbert_env  # noqa: F401  the auto classes then know its models
from runners import evaluate, train_policy
from runners.cli.run import run

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "max_position_embeddings": 400,
    "initializer_range": 0.1,
}
PARTICULAR: dict[str, dict[str, Any]] = {
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8}
    | {"position_biased_input": False, "norm_rel_ebd": "layer_norm", "share_att_key": True, "type_vocab_size": 0},
    "modernbert": {"local_attention": 16},
    "mpnet": {},
}
SMALL = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2"]


@pytest.fixture(params=list(PARTICULAR))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def encoder(family: str, data: Any, make_tokenizer: Callable[..., PreTrainedTokenizerBase], tmp_path: Path) -> str:
    """The folder of a tiny encoder as its makers would publish it, without a task head."""
    texts = [row[column] for row in data.rows("train", 24) for column in ("context", "question")]
    tokenizer = make_tokenizer(family, texts)
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "cls_token_id", "sep_token_id")}
    values = {**SIZES, **PARTICULAR[family], **special, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(family, **values)).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder")


@pytest.mark.filterwarnings("ignore:backbone:UserWarning")
def test_from_a_folder_to_a_model_that_loads_anywhere(encoder: str, in_process: Any, tmp_path: Path) -> None:
    common = ["--data-dir", str(in_process.data), "--output-dir", str(tmp_path / "runs"), "--dtype", "float32"]
    run(train_policy.main, train_policy.TrainPolicyOptions, ["--backbone", encoder, *SMALL, *common])
    (folder,) = (tmp_path / "runs").glob("SQuAD2/policy-*/*")
    trained = json.loads((folder / "metrics.json").read_text())
    assert trained["flops_speedup"] > 1
    run(evaluate.main, evaluate.EvaluateOptions, ["--model", str(folder), *common])
    (again,) = (tmp_path / "runs").glob("SQuAD2/evaluate-*/*")
    assert json.loads((again / "metrics.json").read_text())["f1"] == trained["f1"]

    model: Any = AutoModelForQuestionAnswering.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    context = "Anna moved to Bern last year . Boris likes the sea and never travels ."
    with torch.no_grad():
        answer = model.answer(question="Where did Anna move ?", context=context, tokenizer=tokenizer)
    assert answer.text == context[answer.start : answer.end]
