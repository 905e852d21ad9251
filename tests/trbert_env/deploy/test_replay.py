"""Passes of fixed shapes: the same answers as eager ones, whatever the batch; what does not fit runs eagerly."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trbert_env.deploy.fixed_pass import FixedInputs, Room, run_fixed
from trbert_env.deploy.replay import ReplayedSystem
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.decision import DecisionRule
from trbert_env.system import ReducedSystem, SystemOutput

RULES = {"threshold": DecisionRule(0.5), "fractions": DecisionRule(keep_fractions=(0.6, 0.3))}


def random_texts(random: np.random.Generator, count: int, longest: int, sequences: int = 1) -> list[EncodedText]:
    found = []
    for number in range(count):
        lengths = tuple(int(length) for length in random.integers(3, longest, sequences))
        total = sum(lengths)
        ids = random.integers(5, 300, total).astype(np.int32)
        types = np.zeros(total, dtype=np.int32)
        found.append(EncodedText(str(number), ids, types, lengths, np.zeros((1, 2), dtype=np.int64)))
    return found


def same(found: SystemOutput, expected: SystemOutput, flops: torch.Tensor | None = None) -> None:
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-5)
    assert found.flops.tolist() == (expected.flops if flops is None else flops).tolist()
    assert found.full_flops.tolist() == expected.full_flops.tolist()
    for one, other in zip(found.layouts, expected.layouts, strict=True):
        assert one.positions.tolist() == other.positions.tolist()
        assert one.text_index.tolist() == other.text_index.tolist()
        assert one.sequence_lengths.tolist() == other.sequence_lengths.tolist()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("kind", "sequences", "cuts"),
    [("questions", 1, (2, 4)), ("classes", 1, (2, 4)), ("classes", 1, (1.5, 3.5)), ("choice", 3, (2, 4))],
)
def test_a_replayed_pass_answers_as_an_eager_one(
    shipped: Any, kind: str, sequences: int, cuts: tuple[float, ...], rule: str
) -> None:
    random = np.random.default_rng(0)
    model = shipped(kind, cuts=cuts)
    eager, replayed = ReducedSystem(model, RULES[rule]), ReplayedSystem(model, RULES[rule])
    with torch.no_grad():
        for _ in range(30):
            texts = random_texts(random, int(random.integers(1, 6)), 60, sequences)
            batch = TextBatch.from_texts(texts)
            before = replayed.replays
            found, expected = replayed.run(batch), eager.run(batch)
            # Passes of fixed shapes compute all tokens of the last layer, and count them.
            whole = replace(model.cost, first_tokens_only=False).reduced(expected.layouts)
            same(found, expected, whole if replayed.replays > before else None)
    assert replayed.replays + replayed.overflows == 29  # the first batch says how much room there must be
    assert replayed.replays > 20
    assert replayed.recorded < 30


def test_a_thousand_batches_share_few_recorded_passes(shipped: Any) -> None:
    random = np.random.default_rng(1)
    model = shipped("questions")
    rule = DecisionRule(0.5)
    eager, replayed = ReducedSystem(model, rule), ReplayedSystem(model, rule)
    with torch.no_grad():
        for _ in range(1000):
            batch = TextBatch.from_texts(random_texts(random, int(random.integers(1, 5)), 50))
            found, expected = replayed.run(batch), eager.run(batch)
            torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-5)
            assert found.kept_tokens.tolist() == expected.kept_tokens.tolist()
    assert replayed.replays + replayed.overflows == 999
    assert replayed.overflows > 0
    assert replayed.recorded < 60


def test_passes_that_were_used_longest_ago_are_given_up(shipped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, random = shipped("questions"), np.random.default_rng(5)
    rule = DecisionRule(keep_fractions=(0.5, 0.2))
    eager, replayed = ReducedSystem(model, rule), ReplayedSystem(model, rule, most_recorded=2)
    made: list[weakref.ref[Any]] = []
    record = replayed._record

    def watched(inputs: FixedInputs, room: Room) -> Any:
        found = record(inputs, room)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(replayed, "_record", watched)
    batches = [TextBatch.from_texts(random_texts(random, count, 60)) for count in (1, 3, 9)]
    rooms = []
    with torch.no_grad():
        replayed.run(batches[0])
        for number in (0, 1, 0, 2, 0, 1):  # the second is given up for the third, and the third for the second
            same(replayed.run(batches[number]), eager.run(batches[number]))
            rooms.append(list(replayed._recorded))
    assert replayed.overflows == 0
    first, second, third = rooms[0][0], rooms[1][1], rooms[3][1]
    assert rooms == [[first], [first, second], [second, first], [first, third], [third, first], [first, second]]
    assert [own() is not None for own in made] == [True, False, False, True], "nothing else holds them"
    with pytest.raises(ValueError, match="most_recorded is 0: give at least 1"):
        ReplayedSystem(model, rule, most_recorded=0)


def test_what_keeps_more_than_there_is_room_for_is_counted_and_exact(shipped: Any) -> None:
    model = shipped("questions")
    random = np.random.default_rng(2)
    few, many = DecisionRule(1.0), DecisionRule(0.0)  # nothing but first tokens, and everything
    replayed, eager = ReplayedSystem(model, few), ReducedSystem(model, many)
    batches = [TextBatch.from_texts(random_texts(random, 4, 60)) for _ in range(3)]
    replayed.run(batches[0])
    replayed._rule, replayed._eager = many, eager  # a policy that changes its mind
    for batch in batches:
        same(replayed.run(batch), eager.run(batch))
    assert replayed.overflows == 1  # the room is larger after the first
    assert replayed.replays == 2


def run_room(model: Any, texts: Sequence[EncodedText], room: Room, fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    batch = TextBatch.from_texts(texts)
    inputs = FixedInputs.of(batch, model.staged.overlap(batch), room)
    total = batch.layout.total_tokens
    for values in (inputs.input_ids, inputs.sequence_positions, inputs.text_index, inputs.positions):
        values[total:] = fill
    inputs.overlap[total:] = torch.nan
    result = run_fixed(model, inputs, room, DecisionRule(0.5))
    return result.states[:total], result.counts


def test_what_lies_in_the_padding_does_not_matter(shipped: Any) -> None:
    model = shipped("questions")
    texts = random_texts(np.random.default_rng(3), 3, 40)
    rooms = [Room((128, 128, 128), 4, 64, 64), Room((256, 192, 128), 16, 128, 128)]
    with torch.no_grad():
        expected, counts = run_room(model, texts, rooms[0], 0)
        for room in rooms:
            for fill in (0, 3):
                states, found = run_room(model, texts, room, fill)
                torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)
                assert found[:, :3].tolist() == counts[:, :3].tolist()
                assert found[:, 3:-1].sum() == 0  # sequences that are not there keep nothing
                assert found[:, -1].tolist() == counts[:, -1].tolist()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_graphs_on_a_gpu_answer_as_eager_passes_do(shipped: Any) -> None:
    random = np.random.default_rng(4)
    model = shipped("questions").to("cuda", torch.bfloat16)
    rule = DecisionRule(keep_fractions=(0.6, 0.3))
    eager, replayed = ReducedSystem(model, rule), ReplayedSystem(model, rule)
    with torch.no_grad():
        for _ in range(1000):
            batch = TextBatch.from_texts(random_texts(random, int(random.integers(1, 9)), 60), "cuda")
            found, expected = replayed.run(batch), eager.run(batch)
            assert torch.isfinite(found.logits).all()
            torch.testing.assert_close(found.logits, expected.logits, rtol=0.05, atol=0.05)
    assert replayed.replays > 900
