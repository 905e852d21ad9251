"""TokenReducedModel refuses at once what could only fail later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from trbert_env.deploy.config import TokenReducedConfig
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.decision import DecisionRule


def config(**values: Any) -> TokenReducedConfig:
    sizes = {"hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 8}
    backbone = BertConfig(vocab_size=20, max_position_embeddings=16, **sizes).to_dict() | {"model_type": "bert"}
    return TokenReducedConfig(backbone=backbone, policy_size=4, **values)


@pytest.fixture(scope="module")
def model() -> TokenReducedModel:
    torch.manual_seed(0)
    made = TokenReducedModel(config())
    made.eval()
    return made


NAN, INF = float("nan"), float("inf")
BAD_FRACTIONS = [(), (0.5,), (0.5, 0.4, 0.3), (0.2, 0.5), (0.5, 0.0), (5.0, 0.5), (-0.1, -0.2), (NAN, 0.2), (0.5, NAN)]
BAD_FRACTIONS += [(INF, 0.5)]
BAD_THRESHOLDS = [-0.1, 1.1, 5.0, NAN, INF, -INF]


@pytest.mark.parametrize("fractions", BAD_FRACTIONS)
def test_keep_fractions_that_do_not_fit(fractions: tuple[float, ...], model: TokenReducedModel) -> None:
    before = model.decision
    with pytest.raises(ValueError, match="keep_fractions"):
        model.set_decision(DecisionRule(keep_fractions=fractions))
    assert model.decision == before
    with pytest.raises(ValueError, match="keep_fractions"):
        TokenReducedModel(config(keep_fractions=list(fractions)))


@pytest.mark.parametrize("threshold", BAD_THRESHOLDS)
def test_thresholds_that_are_no_probabilities(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"threshold {threshold}"):
        DecisionRule(threshold=threshold)
    with pytest.raises(ValueError, match=f"threshold {threshold}"):
        TokenReducedModel(config(threshold=threshold))


def test_a_decision_that_fits_is_taken(model: TokenReducedModel) -> None:
    for decision in (DecisionRule(keep_fractions=(0.5, 0.5)), DecisionRule(threshold=0.0), DecisionRule(threshold=0.5)):
        model.set_decision(decision)
        assert model.decision == decision


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (5,), (1, 2, 3, 4)])
def test_a_batch_without_texts(shape: tuple[int, ...], model: TokenReducedModel) -> None:
    ids = torch.zeros(shape, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"input_ids have the shape .*give \(num_texts, width\)"):
        model(input_ids=ids)


def test_a_text_without_tokens(model: TokenReducedModel) -> None:
    ids = torch.ones(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="row 1 of input_ids has no tokens"):
        model(input_ids=ids, attention_mask=torch.tensor([[1, 1, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="holds no text"):
        TextBatch.from_texts([])


def test_names_of_classes_are_those_of_the_encoder(tmp_path: Path) -> None:
    names = {0: "no", 1: "perhaps", 2: "yes"}
    numbers = {name: index for index, name in names.items()}
    backbone = config().backbone | {"id2label": names, "label2id": numbers}
    TokenReducedConfig(backbone=backbone).save_pretrained(tmp_path)
    found = TokenReducedConfig.from_pretrained(tmp_path)
    assert (found.id2label, found.label2id, found.num_labels) == (names, numbers, 3)


def test_a_tokenizer_beside_it_loads_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, "[UNK]")))
    tokenizer.save_pretrained(tmp_path)
    config().save_pretrained(tmp_path)
    logging.get_logger("transformers").addHandler(caplog.handler)
    try:
        found = AutoTokenizer.from_pretrained(tmp_path)
    finally:
        logging.get_logger("transformers").removeHandler(caplog.handler)
    assert found.get_vocab() == tokenizer.get_vocab()
    assert not caplog.records
