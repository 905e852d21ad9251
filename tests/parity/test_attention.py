"""The packed attention function: every way that it runs gives the same, and so do its by-products."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from trbert_env.data.backbones import move
from trbert_env.encoder.attention import LONG, _by_sequence, _padded, packed_attention
from trbert_env.encoder.batching import group_sizes, padded_rows
from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.kernels import ATTENTION_VARIABLE, attention_way
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.products import attend_in_products, attend_recomputed
from trbert_env.encoder.received import attention_received
from trbert_env.encoder.sequences import PackedSequences, PositionBias
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch

LENGTHS = [5, 1, 9, 4]
MakeMasks = Callable[..., list[Tensor]]
Play = Callable[[StagedForward, Sequence[Tensor]], StagedForward]


def random_heads(total: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 4, total, 6, generator=generator) for _ in range(3))
    return query, key, value


def by_block_mask(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scaling: float | None) -> Tensor:
    """One dense call, in which tokens of other sequences are masked out."""
    owner = torch.repeat_interleave(torch.tensor(lengths))
    mask = owner[:, None] == owner[None, :]
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling).transpose(1, 2)


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("tail", [0, 3])
@pytest.mark.parametrize("run", [_by_sequence, _padded])
def test_every_path_equals_one_dense_call_with_a_block_mask(
    run: Callable[..., Tensor], tail: int, scaling: float | None
) -> None:
    total = sum(LENGTHS)
    heads = random_heads(total + tail)
    output = run(*heads, LENGTHS, scaling)
    query, key, value = (tensor[:, :, :total] for tensor in heads)
    expected = by_block_mask(query, key, value, LENGTHS, scaling)
    assert output.shape == (1, total + tail, 4, 6)
    torch.testing.assert_close(output[:, :total], expected, rtol=0, atol=1e-6)
    assert not output[:, total:].any()


@pytest.mark.parametrize("heads_of_bias", [1, 4])
@pytest.mark.parametrize("run", [_by_sequence, _padded])
def test_a_bias_is_added_to_the_scores_of_each_sequence(run: Callable[..., Tensor], heads_of_bias: int) -> None:
    generator = torch.Generator().manual_seed(1)
    found = [torch.randn(heads_of_bias, n, n, generator=generator) for n in LENGTHS]
    for own in found:  # a window, as local layers have
        own.masked_fill_((torch.arange(len(own[0])) - torch.arange(len(own[0]))[:, None]).abs() > 2, -torch.inf)
    whole = torch.stack([torch.block_diag(*(own[head] for own in found)) for head in range(heads_of_bias)])
    owner = torch.repeat_interleave(torch.tensor(LENGTHS))
    whole = whole.masked_fill(owner[:, None] != owner[None, :], -torch.inf)
    outputs, gradients = [], []
    for ours in (True, False):
        query, key, value = heads = [tensor.requires_grad_() for tensor in random_heads(sum(LENGTHS))]
        if ours:
            output = run(query, key, value, LENGTHS, 0.3, PositionBias(found))
        else:
            output = scaled_dot_product_attention(query, key, value, attn_mask=whole, scale=0.3).transpose(1, 2)
        output.square().sum().backward()
        outputs.append(output.detach())
        gradients.append([tensor.grad for tensor in heads])
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)
    for own_gradient, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(own_gradient, expected, rtol=0, atol=1e-5)


def test_a_bias_is_the_same_without_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    bias = PositionBias([torch.randn(4, n, n, generator=generator) for n in LENGTHS])
    heads = random_heads(sum(LENGTHS))
    learning = [tensor.clone().requires_grad_() for tensor in heads]
    expected = _by_sequence(learning[0], learning[1], learning[2], LENGTHS, 0.3, bias).detach()
    torch.testing.assert_close(_by_sequence(*heads, LENGTHS, 0.3, bias), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_a_sequence_does_not_see_the_rows_behind_it(dtype: torch.dtype, tolerance: float) -> None:
    lengths = [47, 30, 2]
    heads = [tensor.to(dtype) for tensor in random_heads(sum(lengths))]
    output = _by_sequence(heads[0], heads[1], heads[2], lengths, None)
    others = [torch.cat([tensor[:, :, :47], 100 * tensor[:, :, 47:]], dim=2) for tensor in heads]
    assert torch.equal(_by_sequence(others[0], others[1], others[2], lengths, None)[:, :47], output[:, :47])
    alone = [tensor[:, :, :47] for tensor in heads]
    found = _by_sequence(alone[0], alone[1], alone[2], lengths[:1], None)
    torch.testing.assert_close(found, output[:, :47], rtol=0, atol=tolerance)


def test_gradients_of_all_sequences_are_put_together_at_once() -> None:
    """A slice's own gradient is as large as the whole batch: one for each sequence would be slow."""
    heads = [tensor.requires_grad_() for tensor in random_heads(sum(LENGTHS))]
    output = _by_sequence(heads[0], heads[1], heads[2], LENGTHS, None)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        output.sum().backward()
    assert "aten::slice_backward" not in {event.key for event in found.key_averages()}


def test_gradients_of_the_padded_path_equal_those_by_sequence() -> None:
    gradients = []
    for run in (_by_sequence, _padded):
        heads = random_heads(sum(LENGTHS))
        query, key, value = (tensor.requires_grad_() for tensor in heads)
        run(query, key, value, LENGTHS, None).square().sum().backward()
        gradients.append([tensor.grad for tensor in heads])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.2, 0.5])
def test_two_products_are_attention(scale: float) -> None:
    found, expected = [], []
    for attend, results in ((attend_in_products, found), (_fused, expected)):
        query, key, value = (tensor[0].requires_grad_() for tensor in random_heads(9))
        output = attend(query, key, value, scale)
        output.square().sum().backward()
        results.extend([output, query.grad, key.grad, value.grad])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [9, 600])  # all heads at once, and two after two
def test_probabilities_that_are_computed_anew_are_the_same(length: int) -> None:
    found, expected = [], []
    for attend, results in ((attend_recomputed, found), (attend_in_products, expected)):
        query, key, value = (tensor[0].requires_grad_() for tensor in random_heads(length))
        output = attend(query, key, value, 0.3)
        output.square().sum().backward()
        results.extend([output, query.grad, key.grad, value.grad])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shared", [0.0, 2.0])
def test_gradients_in_bfloat16_are_as_near_as_those_of_two_products(shared: float) -> None:
    """Keys and values of real encoders have much in common, which rounded sums of a row would add to the query's."""
    exact = [tensor[0].double().requires_grad_() for tensor in random_heads(LONG)]
    with torch.no_grad():
        exact[1] += shared
        exact[2] += shared
    upstream = random_heads(LONG)[0][0].flip(1).bfloat16()
    errors = []
    for attend in (attend_recomputed, attend_in_products):
        halves = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
        wanted = [tensor.detach().double().requires_grad_() for tensor in halves]
        attend(halves[0], halves[1], halves[2], 0.4).backward(upstream)
        attend_in_products(wanted[0], wanted[1], wanted[2], 0.4).backward(upstream.double())
        pairs = [(one.grad, other.grad) for one, other in zip(halves, wanted, strict=True)]
        errors.append([float((one - other).norm() / other.norm()) for one, other in pairs if one is not None])  # type: ignore[operator, union-attr]
    assert len(errors[0]) == 3
    for ours, theirs in zip(*errors, strict=True):
        assert ours < 1.2 * theirs + 1e-3


def test_long_sequences_learn_in_bfloat16_without_a_square_of_their_length() -> None:
    lengths, kept = [LONG, 7, LONG + 40], []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    halves = [tensor.bfloat16().requires_grad_() for tensor in random_heads(sum(lengths))]
    with torch.autograd.graph.saved_tensors_hooks(keep, Tensor.detach):
        output = _by_sequence(halves[0], halves[1], halves[2], lengths, None)
    output.float().square().sum().backward()
    assert max(kept) <= halves[0].numel()

    query, key, value = heads = [tensor.detach().float().requires_grad_() for tensor in halves]
    by_block_mask(query, key, value, lengths, None).square().sum().backward()
    for ours, theirs in zip(halves, heads, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert float((ours.grad.float() - theirs.grad).norm() / theirs.grad.norm()) < 0.01


def _fused(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return scaled_dot_product_attention(query[None], key[None], value[None], scale=scale)[0]


@pytest.fixture
def attend_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Choose how the CPU attends in bfloat16; later tests choose anew."""

    def choose(way: str) -> None:
        monkeypatch.setenv(ATTENTION_VARIABLE, way)
        attention_way.cache_clear()

    yield choose
    attention_way.cache_clear()


@pytest.mark.parametrize("lengths", [LENGTHS, [100, 3, 120]])
@pytest.mark.parametrize(("gradients", "way"), [(False, "fused"), (False, "products"), (True, "")])
def test_bfloat16_is_as_near_to_float32_as_its_numbers_allow(
    lengths: list[int], gradients: bool, way: str, attend_by: Callable[[str], None]
) -> None:
    attend_by(way)
    halves = [tensor.bfloat16().requires_grad_(gradients) for tensor in random_heads(sum(lengths))]
    packed = PackedSequences.of(torch.tensor(lengths))
    output, _ = packed_attention(torch.nn.Module(), halves[0], halves[1], halves[2], None, packed)
    query, key, value = (tensor.detach().float() for tensor in halves)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), by_block_mask(query, key, value, lengths, None), rtol=0, atol=3e-2)


def test_without_sequences_the_call_is_a_stock_one() -> None:
    query, key, value = random_heads(7)
    mask = torch.ones(1, 1, 7, 7, dtype=torch.bool).tril()
    module = torch.nn.Module()
    output, weights = packed_attention(module, query, key, value, mask)
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(output, expected)
    assert weights is None


def test_the_offsets_are_those_of_the_layout() -> None:
    layout = Layout.from_lengths([2, 3, 1], [2, 1])
    packed = PackedSequences.of(layout.select(torch.tensor([1, 0, 1, 1, 0, 1]).bool()).sequence_lengths)
    assert packed.lengths == [1, 2, 1]
    bounds = packed.bounds(torch.device("cpu"))
    assert bounds.tolist() == [0, 1, 3, 4]
    assert bounds.dtype == torch.int32
    assert packed.bounds(torch.device("cpu")) is bounds


def test_attention_received_sums_to_the_number_of_heads_and_queries() -> None:
    query, key, _ = random_heads(sum(LENGTHS))
    received = attention_received(query, key, LENGTHS, None)
    sums = torch.stack([part.sum() for part in received.split(LENGTHS)])
    torch.testing.assert_close(sums, 4.0 * torch.tensor(LENGTHS), rtol=0, atol=1e-4)


@torch.no_grad()
def test_attention_received_equals_the_stock_probabilities(
    model: PreTrainedModel, family: str, texts: list[EncodedText]
) -> None:
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    forward = StagedForward(StagedEncoder(model, (3,)), TextBatch.from_texts(texts), record_attention=True)
    assert forward.received is not None
    received = forward.received.split([len(text) for text in texts])
    for ours, text in zip(received, texts, strict=True):
        arguments = {"input_ids": torch.from_numpy(text.input_ids).long()[None]}
        if FAMILIES[family].reads_token_types:
            arguments["token_type_ids"] = torch.from_numpy(text.token_type_ids).long()[None]
        # The last layer before the reduction is the second: (1, heads, queries, keys).
        probabilities = eager.base_model(**arguments, output_attentions=True).attentions[1]
        torch.testing.assert_close(ours, probabilities[0].sum((0, 1)), rtol=0, atol=1e-4)


@torch.no_grad()
def test_attention_received_follows_the_tokens(
    model: PreTrainedModel, texts: list[EncodedText], make_masks: MakeMasks, play: Play
) -> None:
    batch = TextBatch.from_texts(texts)
    masks = make_masks([text for text in texts for _ in range(2)], 2)
    encoder = StagedEncoder(model, (2, 3))
    shared = StagedForward(encoder, batch, 2, record_attention=True)
    once = StagedForward(encoder, batch, record_attention=True)
    assert shared.received is not None
    assert once.received is not None
    copies = [part for part in once.received.split([len(text) for text in texts]) for _ in range(2)]
    assert shared.received.equal(torch.cat(copies))
    play(shared, masks[:1])
    assert shared.received.shape == (shared.tokens.layout.total_tokens,)
    heads = 4
    sums = shared.received.new_zeros(shared.tokens.layout.num_texts)
    sums.index_add_(0, shared.tokens.layout.text_index, shared.received)
    torch.testing.assert_close(sums, heads * shared.tokens.layout.token_counts.float(), rtol=0, atol=1e-4)


@torch.no_grad()
def test_rows_padded_for_bfloat16_change_nothing(
    model: PreTrainedModel,
    texts: list[EncodedText],
    make_masks: MakeMasks,
    play: Play,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, masks = TextBatch.from_texts(texts), make_masks(texts, 2)
    exact = play(StagedForward(StagedEncoder(model, (2, 3)), batch), masks).final_states()[0]
    encoder = StagedEncoder(move(model, "cpu", torch.bfloat16), (2, 3))
    rows = []
    # Any linear layer sees all rows.
    linear = next(module for module in encoder._layers[0].modules() if isinstance(module, torch.nn.Linear))
    handle = linear.register_forward_hook(lambda _, args, output: rows.append(output.shape[1]))
    padded = StagedForward(encoder, batch, record_attention=True)
    monkeypatch.setattr("trbert_env.encoder.staged.rows_to_run", len)
    plain = StagedForward(encoder, batch, record_attention=True)
    handle.remove()
    total = sum(len(text) for text in texts)
    assert rows == [padded_rows(total), total]
    assert padded_rows(total) > total
    assert padded.received is not None
    assert plain.received is not None
    torch.testing.assert_close(padded.received, plain.received, rtol=0.05, atol=0.05)
    play(plain, masks)
    monkeypatch.undo()
    play(padded, masks)
    assert padded.final_states()[0].dtype == torch.bfloat16
    # Kernels may differ with the number of rows, by roundings; what rounding does at all is larger.
    torch.testing.assert_close(padded.final_states()[0], plain.final_states()[0], rtol=0.05, atol=0.05)
    torch.testing.assert_close(padded.final_states()[0].float(), exact, rtol=0.1, atol=0.2)


@torch.no_grad()
def test_autocast_pads_rows_as_well(model: PreTrainedModel, texts: list[EncodedText]) -> None:
    batch = TextBatch.from_texts(texts)
    exact = StagedForward(StagedEncoder(model, (2,)), batch).tokens.states
    with torch.autocast("cpu", torch.bfloat16):
        rounded = StagedForward(StagedEncoder(model, (2,)), batch).tokens.states
    assert rounded.shape == exact.shape
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("most_bytes", [1, 2_000, 5_000])
def test_sequences_that_run_in_groups_give_the_same(
    model: PreTrainedModel,
    make_texts: Callable[..., list[EncodedText]],
    most_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = TextBatch.from_texts(make_texts((9,), (14, 5), (1,), (6,)))
    encoder = StagedEncoder(model, (3,))
    results = []
    for limit in (1 << 30, most_bytes):
        monkeypatch.setattr("trbert_env.encoder.staged.MOST_BYTES", limit)
        received: list[Tensor] = []
        states = encoder.run_layers(encoder.embed(batch), 0, 4, received).states
        (gradient,) = torch.autograd.grad(states.square().sum(), [next(encoder._layers.parameters())])
        results.append((states.detach(), gradient, received))
    (whole, gradient, (attention,)), (grouped, other, (parts,)) = results
    torch.testing.assert_close(grouped, whole, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(parts, attention, rtol=0, atol=1e-5)


def test_groups_hold_all_sequences_and_few_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    for most in (1, 100, 384, 1_000, 50_000):
        lengths = torch.randint(1, 385, (40,), generator=generator)
        sizes = group_sizes(lengths, most)
        assert sum(sizes) == 40
        assert min(sizes) > 0
        # A group ends with the sequence whose middle lies in it.
        assert all(int(group.sum()) <= most + 384 for group in lengths.split(sizes))
    assert group_sizes(torch.tensor([7]), 3) == [1]
