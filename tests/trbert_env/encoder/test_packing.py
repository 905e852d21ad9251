from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
import torch
from torch import Tensor

from trbert_env.encoder.packing import Layout, PackedTokens, restore_text_order
from trbert_env.encoder.texts import TextBatch

#: Three texts: of two sequences, of one, of three.
LENGTHS, PER_TEXT = [3, 2, 4, 1, 1, 2], [2, 1, 3]
TOTAL = sum(LENGTHS)


def layout() -> Layout:
    return Layout.from_lengths(LENGTHS, PER_TEXT)


def owners() -> list[tuple[int, int, int]]:
    """(text, sequence, position in the text) of every token, by counting."""
    found = []
    ends = list(accumulate(PER_TEXT, initial=0))
    for text, (first, last) in enumerate(pairwise(ends)):
        position = 0
        for sequence in range(first, last):
            for _ in range(LENGTHS[sequence]):
                found.append((text, sequence, position))
                position += 1
    return found


def keep_mask(seed: int) -> Tensor:
    mask = torch.rand(TOTAL, generator=torch.Generator().manual_seed(seed)) < 0.5
    return mask | layout().first_tokens


def test_a_fresh_layout_counts_tokens() -> None:
    ours = layout()
    assert ours.text_index.tolist() == [text for text, _, _ in owners()]
    assert ours.positions.tolist() == [position for _, _, position in owners()]
    assert (ours.num_texts, ours.total_tokens) == (3, TOTAL)
    assert ours.text_lengths.tolist() == ours.token_counts.tolist() == [5, 4, 4]
    assert ours.sequence_starts.tolist() == [0, 3, 5, 9, 10, 11]
    assert ours.first_tokens.nonzero().flatten().tolist() == [0, 3, 5, 9, 10, 11]


@pytest.mark.parametrize("seed", range(5))
def test_select_keeps_order_and_origin(seed: int) -> None:
    keep = keep_mask(seed)
    ours = layout().select(keep)
    left = [owner for owner, kept in zip(owners(), keep.tolist(), strict=True) if kept]
    assert ours.text_index.tolist() == [text for text, _, _ in left]
    assert ours.positions.tolist() == [position for _, _, position in left]
    assert ours.sequence_lengths.tolist() == [sum(owner[1] == index for owner in left) for index in range(6)]
    assert ours.token_counts.tolist() == [sum(owner[0] == text for owner in left) for text in range(3)]
    # The whole text is remembered.
    assert ours.text_lengths.tolist() == [5, 4, 4]
    assert ours.sequences_per_text.tolist() == PER_TEXT
    firsts = [index for index, owner in enumerate(left) if index == 0 or owner[1] != left[index - 1][1]]
    assert ours.first_tokens.nonzero().flatten().tolist() == firsts


def test_select_twice_equals_select_once() -> None:
    first = keep_mask(0)
    second = keep_mask(1)
    twice = layout().select(first).select(second[first])
    once = layout().select(first & second)
    for name in ("text_index", "positions", "sequence_lengths"):
        assert getattr(twice, name).equal(getattr(once, name))


def test_what_stops_may_leave_sequences_empty() -> None:
    stopped = layout().select(~layout().first_tokens)
    assert stopped.sequence_lengths.tolist() == [2, 1, 3, 0, 0, 1]
    nothing = layout().select(torch.zeros(TOTAL, dtype=torch.bool))
    assert nothing.total_tokens == 0
    assert nothing.token_counts.tolist() == [0, 0, 0]


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_expand_repeats_texts_as_neighbours(samples: int) -> None:
    part = layout().select(keep_mask(2))
    ours, source = part.expand(samples)
    states = torch.arange(part.total_tokens)
    by_text = states.split(part.token_counts.tolist())
    assert source.tolist() == torch.cat([text for text in by_text for _ in range(samples)]).tolist()
    assert ours.positions.tolist() == part.positions[source].tolist()
    assert ours.text_index.tolist() == [
        row for row, count in enumerate(part.token_counts.repeat_interleave(samples).tolist()) for _ in range(count)
    ]
    assert ours.num_texts == 3 * samples
    assert ours.text_lengths.tolist() == part.text_lengths.repeat_interleave(samples).tolist()
    groups = part.sequence_lengths.split(PER_TEXT)
    assert ours.sequence_lengths.tolist() == torch.cat([group for group in groups for _ in range(samples)]).tolist()


def test_pad_puts_tokens_at_their_text_positions() -> None:
    keep = keep_mask(3)
    ours = layout().select(keep)
    values = torch.arange(1.0, TOTAL + 1)[keep]
    padded = ours.pad(values, 7)
    expected = torch.zeros(3, 7)
    for number, ((text, _, position), kept) in enumerate(zip(owners(), keep.tolist(), strict=True), start=1):
        if kept:
            expected[text, position] = number
    assert padded.equal(expected)
    assert ours.gather(padded).equal(values)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.int64, torch.bfloat16])
def test_pad_keeps_type_and_trailing_shape(dtype: torch.dtype) -> None:
    values = torch.ones(TOTAL, 2, 3, dtype=dtype)
    padded = layout().pad(values, 5)
    assert (padded.dtype, padded.shape) == (dtype, (3, 5, 2, 3))
    assert int(padded.sum()) == values.numel()


def test_gradients_flow_through_pad_and_gather() -> None:
    values = torch.randn(TOTAL, requires_grad=True)
    ours = layout()
    (ours.gather(ours.pad(values, 6)) * torch.arange(TOTAL)).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == list(range(TOTAL))


def test_restored_order_whatever_the_order_of_the_parts() -> None:
    states = torch.randn(TOTAL, 4)
    tokens = PackedTokens(states, layout())
    first, second = keep_mask(0), keep_mask(1)
    kept = tokens.select(first)
    stopped = [tokens.select(~first), kept.select(~second[first])]
    last = kept.select(second[first])
    for parts in ([*stopped, last], [last, *reversed(stopped)]):
        assert restore_text_order(parts)[0].equal(states)


def test_packed_tokens_carry_their_states_along() -> None:
    tokens = PackedTokens(torch.randn(TOTAL, 4), layout())
    keep = keep_mask(4)
    assert tokens.select(keep).states.equal(tokens.states[keep])
    expanded, source = tokens.expand(2)
    assert expanded.states.equal(tokens.states[source])
    assert expanded.states[:5].equal(tokens.states[:5])
    assert expanded.states[5:10].equal(tokens.states[:5])
    assert expanded.states.shape == (2 * TOTAL, 4)
    assert tokens.pad(5)[2, :4].equal(tokens.states[9:])


def test_padded_ids_of_any_memory_layout_are_read() -> None:
    ids = torch.arange(2, 26).view(2, 3, 4)
    other = ids.transpose(0, 2).contiguous().transpose(0, 2)
    assert not other.is_contiguous()
    expected, found = (TextBatch.from_padded(each) for each in (ids, other))
    assert found.input_ids.equal(expected.input_ids)
    assert found.layout.sequence_lengths.equal(expected.layout.sequence_lengths)
