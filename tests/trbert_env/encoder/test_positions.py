from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

from trbert_env.encoder.positions import LONGEST, extend_positions, first_position, longest_sequence, position_table

BEHIND_PADDING = ("mpnet", "roberta", "xlm-roberta")


def test_how_far_an_encoder_reaches(make_model: Callable[..., PreTrainedModel], family: str) -> None:
    model = make_model(family)
    assert first_position(model) == first_position(model.base_model) == (2 if family in BEHIND_PADDING else 0)
    assert longest_sequence(model) == longest_sequence(model.base_model) == (398 if family in BEHIND_PADDING else 400)


@pytest.mark.parametrize("length", [1, 200, 398])
def test_what_fits_is_left_alone(make_model: Callable[..., PreTrainedModel], family: str, length: int) -> None:
    model = make_model(family)
    table = position_table(model)
    assert not extend_positions(model, length, "it")
    assert position_table(model) is table
    assert model.config.max_position_embeddings == 400


def test_new_positions_are_copies_in_their_order(make_model: Callable[..., PreTrainedModel], family: str) -> None:
    model = make_model(family)
    if position_table(model) is None:
        pytest.skip("it has no table of positions: see the tests below, and those of longer sequences")
    before, offset, known = position_table(model).weight.clone(), first_position(model), longest_sequence(model)
    assert extend_positions(model, 1000, "it")
    table = position_table(model)
    assert table.weight.shape == (1000 + offset, before.shape[1])
    assert torch.equal(table.weight[: len(before)], before)
    assert torch.equal(table.weight[offset + known : offset + 2 * known], before[offset:])
    assert torch.equal(table.weight[offset + 2 * known :], before[offset : offset + 1000 - 2 * known])
    assert table.weight.requires_grad
    assert table.padding_idx == (1 if family in BEHIND_PADDING else None)
    # Each is trained by itself: none shares memory with the one that it is a copy of.
    with torch.no_grad():
        table.weight[offset + known] += 1
    assert torch.equal(table.weight[: len(before)], before)


def test_too_many_are_refused(make_model: Callable[..., PreTrainedModel]) -> None:
    with pytest.raises(ValueError, match=rf"^it cannot be extended to 10000000 positions: .* at most {LONGEST}$"):
        extend_positions(make_model("bert"), 10_000_000, "it")


def test_rotary_positions_reach_as_far_as_they_say() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = AutoConfig.for_model("modernbert", vocab_size=60, max_position_embeddings=800, pad_token_id=0, **sizes)
    model = AutoModel.from_config(config)
    assert longest_sequence(model) == 800
    before = {name: values.clone() for name, values in model.state_dict().items()}
    assert not extend_positions(model, 800, "it")
    with pytest.raises(ValueError, match=r"^it has no position embeddings to extend, and reaches 800 .* not 801$"):
        extend_positions(model, 801, "it")
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
