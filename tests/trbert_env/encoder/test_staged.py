from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoConfig, AutoModelForQuestionAnswering, PreTrainedModel

from trbert_env.encoder.batching import by_rows, padded_rows
from trbert_env.encoder.cuts import check_reduction_layers, default_reduction_layers
from trbert_env.encoder.kernels import Library, by_library
from trbert_env.encoder.packing import Layout, PackedTokens
from trbert_env.encoder.positions import longest_sequence
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch


@pytest.mark.parametrize(("depth", "layers"), [(12, (2, 7)), (6, (2, 4)), (24, (2, 13)), (4, (2, 3)), (2, (2,))])
def test_defaults_are_those_of_the_released_code(depth: int, layers: tuple[int, ...]) -> None:
    assert default_reduction_layers(depth) == layers
    assert check_reduction_layers(layers, depth) == layers


def test_stages_lie_between_the_cuts(make_model: Callable[..., PreTrainedModel], family: str) -> None:
    encoder = StagedEncoder(make_model(family, layers=6), [2, 3, 6])
    assert encoder.stage_bounds == ((0, 1), (1, 2), (2, 5), (5, 6))
    assert (encoder.num_layers, encoder.num_reductions) == (6, 3)
    assert (encoder.hidden_size, encoder.intermediate_size) == (48, 96)
    assert repr(encoder) == f"StagedEncoder({family}, layers=6, reduction_layers=(2, 3, 6))"


def test_cuts_within_layers(make_model: Callable[..., PreTrainedModel], family: str) -> None:
    encoder = StagedEncoder(make_model(family, layers=6), [1.5, 3.0, 5.5])
    assert encoder.reduction_layers == (1.5, 3, 5.5)
    assert encoder.stage_bounds == ((0, 0.5), (0.5, 2), (2, 4.5), (4.5, 6))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((2, 7), r"reduction_layers \(2, 7\): the encoder has 6 layers, so each must lie in 2..6"),
        ((1, 3), r"reduction_layers \(1, 3\): the encoder has 6 layers"),
        ((4, 2), "name 1 to 12 different layers in rising order"),
        ((2, 2), "name 1 to 12 different layers in rising order"),
        (tuple(range(2, 15)), "name 1 to 12 different layers in rising order"),
        ((), "name 1 to 12 different layers in rising order"),
        ((2.25,), r"reduction_layers \(2.25,\): 2 is before layer 2, 1.5 within layer 1, and nothing lies between"),
        ((2, 6.5), "the encoder has 6 layers, .* or be 1.5 to 5.5 for one within a layer"),
        ((1.5, 2), "tokens do not attend between 1.5 and 2: leave one of them out"),
    ],
)
def test_layers_that_do_not_fit(layers: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_reduction_layers(layers, 6)


def test_other_families_are_refused() -> None:
    config = AutoConfig.for_model(
        "albert", hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, vocab_size=8
    )
    model = AutoModelForQuestionAnswering.from_config(config)
    with pytest.raises(ValueError, match="backbone family 'albert' is not supported: use one of bert, camembert"):
        StagedEncoder(model)


def test_a_sequence_beyond_the_positions_is_refused(make_model: Callable[..., PreTrainedModel], family: str) -> None:
    model = make_model(family)
    encoder, known = StagedEncoder(model), longest_sequence(model)

    def batch(length: int) -> TextBatch:
        return TextBatch.from_padded(torch.full((1, length), 7))

    assert encoder.embed(batch(known)).states.shape[0] == known
    with pytest.raises(
        ValueError, match=rf"has {known + 1} tokens, .* {known} positions: truncate .* max_length={known}"
    ):
        encoder.embed(batch(known + 1))


def test_padded_rows_are_few_and_waste_little() -> None:
    found = [padded_rows(total) for total in range(1, 30_000)]
    assert all(rows >= total for total, rows in enumerate(found, 1))
    assert all(rows <= total * 1.125 for total, rows in enumerate(found, 1) if total >= 128)
    assert len(set(found)) < 110


@pytest.mark.parametrize(
    ("library", "dtype", "total", "rows"),
    [
        ("onednn", torch.float32, 100, [112]),
        ("onednn", torch.float32, 2000, [2000]),  # their products take longer than new kernels
        ("torch", torch.float32, 100, [100]),
        ("torch", torch.bfloat16, 100, [112]),
        ("torch", torch.bfloat16, 512, [512]),
        ("torch", torch.bfloat16, 2000, [480, 1536]),  # padding copies: only the last of many are padded
        ("torch", torch.bfloat16, 2048, [2048]),
    ],
)
def test_rows_are_padded_where_kernels_are_built_for_their_number(
    library: Library, dtype: torch.dtype, total: int, rows: list[int]
) -> None:
    states, weight = torch.randn(total, 8).to(dtype), torch.randn(3, 8).to(dtype)
    seen: list[int] = []

    def head(states: Tensor, factors: Tensor) -> Tensor:
        seen.append(len(states))
        return factors * linear(states, weight)

    factors = torch.randn(total, 1).to(dtype)
    with by_library(library):
        found = by_rows(head, states, factors)
    assert sorted(seen) == rows
    torch.testing.assert_close(found, factors * linear(states, weight), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
@pytest.mark.parametrize("learns", [False, True])
def test_what_pads_a_group_does_not_reach_it(
    make_model: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch, family: str, learns: bool
) -> None:
    encoder = StagedEncoder(make_model(family).eval(), (2,))
    layout = Layout.from_lengths([7, 30, 5, 41, 3], [1] * 5)
    states = torch.randn(layout.total_tokens, encoder.hidden_size, requires_grad=learns)
    whole = encoder.run_layers(PackedTokens(states, layout), 0, 2).states
    monkeypatch.setattr("trbert_env.encoder.staged.MOST_BYTES", 40 * 4 * encoder.intermediate_size)
    monkeypatch.setattr("trbert_env.encoder.staged.rows_to_run", lambda rows: len(rows) + 11)
    groups = encoder.run_layers(PackedTokens(states, layout), 0, 2).states
    torch.testing.assert_close(groups, whole, rtol=0, atol=1e-5)
    if learns:
        weights = torch.randn_like(whole)
        (expected,), (found,) = (torch.autograd.grad((run * weights).sum(), states) for run in (whole, groups))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("depth", "layers"), [(22, (4, 13)), (12, (4, 7)), (6, (2, 4)), (4, (2, 4)), (3, (2,))])
def test_default_cuts_of_modernbert_are_before_global_layers(
    make_model: Callable[..., PreTrainedModel], depth: int, layers: tuple[int, ...]
) -> None:
    model = make_model("modernbert", layers=depth)
    assert StagedEncoder(model).reduction_layers == layers
    assert StagedEncoder(model, (2, 3)).reduction_layers == (2, 3)


@torch.no_grad()
@pytest.mark.parametrize("first_tokens_only", [False, True])
def test_some_of_the_layers_are_an_encoder_that_shares_weights(
    make_model: Callable[..., PreTrainedModel], family: str, first_tokens_only: bool
) -> None:
    model = make_model(family, layers=4)
    whole = StagedEncoder(model, first_tokens_only=first_tokens_only)
    some, batch = whole.with_layers((0, 2)), TextBatch.from_padded(torch.randint(5, 40, (2, 9)))
    assert (some.num_layers, some.num_reductions, some.stage_bounds) == (2, 0, ((0, 2),))
    expected = whole.run_layers(whole.run_layers(whole.embed(batch), 0, 1), 2, 3).states
    found = some.run_layers(some.embed(batch), 0, 2).states
    read = batch.layout.first_tokens if first_tokens_only else torch.ones_like(batch.layout.first_tokens)
    torch.testing.assert_close(found[read], expected[read], rtol=1e-5, atol=1e-6)
    assert torch.equal(found, expected) != first_tokens_only  # its own last layer is the one that is short
    for parameter in model.parameters():
        parameter.zero_()
    assert not torch.equal(some.run_layers(some.embed(batch), 0, 2).states, found)
