"""A text's result does not depend on how it comes: alone, padded on either side, or packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trbert_env.encoder.texts import TextBatch

MakeShipped = Callable[..., Any]
MakeInputs = Callable[..., dict[str, Tensor]]
TOLERANCE = {"rtol": 0.0, "atol": 1e-5}


def of_tokens(values: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Values of each token, or of what a row stands for."""
    mask = inputs["attention_mask"].bool()
    return values[mask] if values.shape[: mask.dim()] == mask.shape else values


@torch.no_grad()
def test_single_left_right_and_packed_agree(kind: str, family: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    model = shipped(kind, family)
    right, left = padded(kind, family), padded(kind, family, side="left")
    packed = model.forward_packed(TextBatch.from_padded(**right))
    assert packed.layouts[-1].total_tokens < packed.layouts[0].total_tokens, "nothing was skipped, nothing tested"
    ours, theirs = model(**right), model(**left)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        torch.testing.assert_close(of_tokens(values, right), of_tokens(theirs[name], left), **TOLERANCE)
        shape = right["input_ids"].shape
        assert values.shape[0] == shape[0]
        for row in range(len(values)):
            alone = {key: value[row : row + 1] for key, value in right.items()}
            torch.testing.assert_close(model(**alone)[name], values[row : row + 1], **TOLERANCE)
    again = model.forward_packed(TextBatch.from_padded(**left))
    torch.testing.assert_close(again.logits, packed.logits, rtol=0, atol=0)


@torch.no_grad()
def test_rows_may_be_padded_on_different_sides(shipped: MakeShipped, padded: MakeInputs) -> None:
    model = shipped("questions")
    right, left = padded("questions"), padded("questions", side="left")
    mixed = {name: torch.cat([right[name][:2], left[name][2:]]) for name in right}
    expected = torch.cat([model(**right).start_logits[:2], model(**left).start_logits[2:]])
    torch.testing.assert_close(model(**mixed).start_logits, expected, **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("beyond", [0, 7, -1])
def test_a_token_that_the_encoder_does_not_embed_is_named(
    beyond: int, kind: str, family: str, shipped: MakeShipped, padded: MakeInputs
) -> None:
    model, inputs = shipped(kind, family), padded(kind, family)
    known = model.backbone.config.vocab_size
    wrong = beyond if beyond < 0 else known + beyond
    inputs["input_ids"] = inputs["input_ids"].masked_fill(~inputs["attention_mask"].bool(), wrong)
    model(**inputs)  # on padding it may be anything
    inputs["input_ids"].view(-1)[1] = wrong
    with pytest.raises(
        ValueError, match=f"have the token id {wrong}, and the encoder has {known}, from 0 to {known - 1}"
    ):
        model(**inputs)
    model.resize_token_embeddings(known + 8)
    if beyond >= 0:
        model(**inputs)


@torch.no_grad()
def test_hidden_states_are_the_last_of_each_token(kind: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = shipped(kind), padded(kind, side="left")
    mask = inputs["attention_mask"].bool()
    output = model(**inputs, output_hidden_states=True)
    (states,) = output.hidden_states
    assert states.shape == (*mask.shape, 32)
    assert not states[~mask].any()
    assert states[mask].equal(model.forward_packed(TextBatch.from_padded(**inputs), all_states=True).states)
    model.config.output_hidden_states = True
    assert model(**inputs).hidden_states[0].equal(states)
    assert "hidden_states" not in model(**inputs, output_hidden_states=False)


@torch.no_grad()
def test_with_nothing_skipped_hidden_states_are_those_of_the_stock_encoder(
    family: str, shipped: MakeShipped, padded: MakeInputs
) -> None:
    model, inputs = shipped("classes", family, threshold=0.0), padded("classes", family)
    (states,) = model(**inputs, output_hidden_states=True).hidden_states
    stock = model.backbone.base_model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(states[mask], stock[mask], **TOLERANCE)


@torch.no_grad()
def test_a_tuple_has_the_values_of_the_dictionary(kind: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = shipped(kind), padded(kind)
    named = model(**inputs, output_hidden_states=True)
    plain = model(**inputs, output_hidden_states=True, return_dict=False)
    assert isinstance(plain, tuple)
    for value, other in zip(plain, named.to_tuple(), strict=True):
        assert value[0].equal(other[0]) if isinstance(value, tuple) else value.equal(other)
    model.config.return_dict = False
    assert isinstance(model(**inputs), tuple)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_that_the_encoder_reads_are_accepted(
    family: str, side: str, shipped: MakeShipped, padded: MakeInputs
) -> None:
    model, inputs = shipped("questions", family), padded("questions", family, side=side)
    # Families of the RoBERTa kind count from behind the id of their padding.
    first = model.backbone.config.pad_token_id + 1 if "roberta" in family or family == "mpnet" else 0
    places = inputs["attention_mask"].cumsum(1) - 1 + first
    assert model(**inputs, position_ids=places).start_logits.equal(model(**inputs).start_logits)
    with pytest.raises(ValueError, match="position_ids of row 0 are not supported: each row's tokens must count from"):
        model(**inputs, position_ids=places + 1)
    with pytest.raises(ValueError, match=r"position_ids have the shape \(4, 3\): give \(4, 14\)"):
        model(**inputs, position_ids=places[:, :3])


@torch.no_grad()
def test_positions_of_one_row_serve_all(shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = shipped("questions"), padded("questions")
    places = torch.arange(inputs["input_ids"].shape[1])[None]
    assert model(**inputs, position_ids=places).start_logits.equal(model(**inputs).start_logits)


REFUSED = [
    ("inputs_embeds", "TokenReducedForSequenceClassification does not support inputs_embeds .*: give input_ids"),
    ("head_mask", "does not support head_mask .*: leave it out"),
    ("output_attentions", "does not support output_attentions .*: leave it out"),
    ("past_key_values", "does not support past_key_values"),
    ("use_cache", "does not support use_cache"),
    ("start_positions", "does not support start_positions .*: give labels"),
]


@pytest.mark.parametrize(("name", "message"), REFUSED)
def test_what_cannot_be_supported_is_refused_by_name(
    name: str, message: str, shipped: MakeShipped, padded: MakeInputs
) -> None:
    model, inputs = shipped("classes"), padded("classes")
    expected = model(**inputs).logits
    for nothing in (None, False):
        assert model(**inputs, **{name: nothing}).logits.equal(expected)
    with pytest.raises(ValueError, match=message):
        model(**inputs, **{name: True})


def test_options_come_together(shipped: MakeShipped, padded: MakeInputs) -> None:
    """As a tokenizer gives them, each option would be a text, with a budget and an answer of its own."""
    model, inputs = shipped("choice"), padded("choice")
    alone = {name: values[0] for name, values in inputs.items()}
    with pytest.raises(ValueError, match=r"give \(texts, options, width\), which is input_ids\[None\]"):
        model(**alone)


def test_other_refusals(shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = shipped("questions"), padded("questions")
    with pytest.raises(ValueError, match=r"does not support labels .*: give start_positions and end_positions"):
        model(**inputs, labels=torch.zeros(4))
    with pytest.raises(ValueError, match="one of start_positions and end_positions is missing: give both"):
        model(**inputs, start_positions=torch.zeros(4))
    with pytest.raises(TypeError, match="TokenReducedForQuestionAnswering knows no input 'input_id': leave it out"):
        model(**inputs, input_id=torch.zeros(4))
    with pytest.raises(ValueError, match="input_ids are missing: give token ids"):
        model(attention_mask=inputs["attention_mask"])
    with pytest.raises(ValueError, match=r"token_type_ids has the shape \(4, 2\), and input_ids"):
        model(**{**inputs, "token_type_ids": inputs["token_type_ids"][:, :2]})


def test_attention_is_its_own(shipped: MakeShipped, padded: MakeInputs, folder_of: Any) -> None:
    model, inputs = shipped("classes"), padded("classes")
    expected = model(**inputs).logits
    model.set_attn_implementation("sdpa")
    message = "attn_implementation 'eager' is not supported: a token-reduced model attends within packed texts"
    with pytest.raises(ValueError, match=message):
        model.set_attn_implementation("eager")
    assert model(**inputs).logits.equal(expected)
    with pytest.raises(ValueError, match=f"^{message}"):
        type(model).from_pretrained(folder_of("classes"), attn_implementation="eager")
    model.backbone.set_attn_implementation("eager")
    with pytest.raises(ValueError, match=message):
        model(**inputs)


@torch.no_grad()
def test_word_embeddings_are_those_of_the_encoder(shipped: MakeShipped, padded: MakeInputs, tmp_path: Any) -> None:
    model, inputs = shipped("classes"), padded("classes")
    table = model.get_input_embeddings()
    assert table is model.backbone.get_input_embeddings()
    before = model(**inputs).logits
    model.set_input_embeddings(torch.nn.Embedding.from_pretrained(table.weight.flip(0), padding_idx=table.padding_idx))
    flipped = {**inputs, "input_ids": table.num_embeddings - 1 - inputs["input_ids"]}
    torch.testing.assert_close(model(**flipped).logits, before, **TOLERANCE)
    model.set_input_embeddings(table)
    assert model.resize_token_embeddings(30_530).num_embeddings == 30_530
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.get_input_embeddings().num_embeddings == 30_530
    assert loaded(**inputs).logits.equal(before)
