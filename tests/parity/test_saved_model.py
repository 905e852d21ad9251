"""A saved TokenReducedModel comes back as it was: weights, decision, results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, PreTrainedModel

from trbert_env.data.backbones import move
from trbert_env.deploy.config import TokenReducedConfig
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.tasks import SpanQA


def reduced(model: PreTrainedModel, **decision: Any) -> TokenReducedModel:
    torch.manual_seed(0)
    policy = TokenPolicy(48, 2, 8)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    offsets = ExitOffsets(2, 2, model.config.hidden_size)
    torch.nn.init.normal_(offsets.offsets)
    rule = DecisionRule(**decision)
    return TokenReducedModel.from_parts(
        model,
        policy,
        env="SQuAD2",
        task=SpanQA(),
        reduction_layers=(2, 4),
        decision=rule,
        exit_offsets=offsets,
    )


@torch.no_grad()
@pytest.mark.parametrize("decision", [{"threshold": 0.35}, {"keep_fractions": (0.7, 0.3)}])
def test_round_trip(model: PreTrainedModel, texts: list[EncodedText], tmp_path: Path, decision: dict[str, Any]) -> None:
    saved = reduced(model, **decision)
    saved.save_pretrained(tmp_path)
    loaded = TokenReducedModel.from_pretrained(tmp_path)
    assert not loaded.training
    assert loaded.decision == DecisionRule(**decision)
    assert loaded.encoder.reduction_layers == (2, 4)
    assert loaded.cost == saved.cost
    weights, again = saved.state_dict(), loaded.state_dict()
    assert weights.keys() == again.keys()
    assert all(again[name].equal(tensor) for name, tensor in weights.items())
    batch = TextBatch.from_texts(texts)
    ours, theirs = saved.forward_packed(batch), loaded.forward_packed(batch)
    assert ours.logits.equal(theirs.logits)
    assert all(one.equal(other) for one, other in zip(ours.keep_masks, theirs.keep_masks, strict=True))
    assert ours.layouts[-1].total_tokens < ours.layouts[0].total_tokens, "nothing was skipped, nothing tested"


@torch.no_grad()
def test_keeping_all_is_the_unreduced_model_whatever_the_exit_offsets(
    model: PreTrainedModel, texts: list[EncodedText]
) -> None:
    ours = reduced(model)
    batch = TextBatch.from_texts(texts)
    masks = [torch.ones(batch.layout.total_tokens, dtype=torch.bool)] * 2
    shifted = ours.forward_packed(batch, masks).logits
    ours.calibration.offsets.zero_()
    assert shifted.equal(ours.forward_packed(batch, masks).logits)


def test_what_lies_on_disk_is_safetensors_and_plain_json(model: PreTrainedModel, tmp_path: Path) -> None:
    reduced(model).save_pretrained(tmp_path)
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".safetensors"]
    text = (tmp_path / "config.json").read_text()
    # The name of our attention function in there would keep stock transformers from loading it.
    assert "trbert_packed" not in text
    config = json.loads(text)
    assert config["model_type"] == "trbert"
    assert config["backbone"]["model_type"] == model.config.model_type


def test_its_weights_are_copies(model: PreTrainedModel) -> None:
    ours = reduced(model)
    before = {name: tensor.clone() for name, tensor in ours.backbone.state_dict().items()}
    for parameter in model.parameters():
        parameter.data.zero_()
    assert all(tensor.equal(before[name]) for name, tensor in ours.backbone.state_dict().items())


@pytest.mark.parametrize("said_in_config", [False, True])
def test_it_is_float32_whatever_it_is_made_from(model: PreTrainedModel, tmp_path: Path, said_in_config: bool) -> None:
    rounded = move(model, "cpu", torch.bfloat16)
    if said_in_config:
        rounded.config.dtype = torch.bfloat16
    made = reduced(rounded)
    made.save_pretrained(tmp_path)
    for each in (made, TokenReducedModel.from_pretrained(tmp_path)):
        assert {parameter.dtype for parameter in each.parameters()} == {torch.float32}
    asked = TokenReducedModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in asked.parameters()} == {torch.bfloat16}


def test_a_touched_backbone_saves_and_loads_as_stock(
    model: PreTrainedModel, texts: list[EncodedText], tmp_path: Path
) -> None:
    ours = reduced(model)
    ours.backbone.save_pretrained(tmp_path)
    stock = AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    assert stock.config._attn_implementation == ("sdpa" if type(stock)._supports_sdpa else "eager")
    ids = torch.from_numpy(texts[0].input_ids).long()[None]
    touched: Any = ours.backbone
    with torch.no_grad():
        torch.testing.assert_close(stock(ids).start_logits, touched(ids).start_logits, rtol=0, atol=1e-5)


def test_gradients_reach_encoder_and_head_but_not_through_the_decision(
    model: PreTrainedModel, texts: list[EncodedText]
) -> None:
    ours: Any = reduced(model, keep_fractions=(0.7, 0.3))
    output = ours.forward_packed(TextBatch.from_texts(texts))
    output.logits.square().sum().backward()
    assert ours.backbone.base_model.get_input_embeddings().weight.grad.abs().sum() > 0
    head = ours.backbone.get_submodule(ours.encoder.family.span_module)
    assert head.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in ours.policy.parameters())
    assert all(logits.requires_grad for logits in output.policy_logits)


def test_a_model_of_an_unknown_environment_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="unknown environment name 'SQuAD3'"):
        TokenReducedModel(TokenReducedConfig(env="SQuAD3"))
