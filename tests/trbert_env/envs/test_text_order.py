from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trbert_env.envs.text_order import TextOrder


def draws(order: TextOrder, generator: np.random.Generator, count: int, times: int) -> list[int]:
    return [int(index) for _ in range(times) for index in order.draw(count, generator)[0]]


@pytest.mark.parametrize("count", [1, 3, 5, 7, 12])
def test_every_epoch_is_a_permutation_whatever_the_batch(count: int) -> None:
    drawn = draws(TextOrder(5, "shuffle"), np.random.default_rng(0), count, 20)
    epochs = [drawn[start : start + 5] for start in range(0, len(drawn) - 4, 5)]
    for number, epoch in enumerate(epochs):  # a text is drawn with the number of the pass
        assert sorted(epoch) == [5 * number + index for index in range(5)]
    assert len({tuple(drawn % 5 for drawn in epoch) for epoch in epochs}) > 1


def test_the_batch_does_not_change_the_order() -> None:
    orders = [draws(TextOrder(5, "shuffle"), np.random.default_rng(3), count, 12 // count) for count in (1, 2, 4, 6)]
    assert all(order == orders[0] for order in orders)


def test_shuffled_texts_are_always_valid() -> None:
    _, valid = TextOrder(2, "shuffle").draw(5, np.random.default_rng(0))
    assert valid.tolist() == [True] * 5


def test_one_pass_then_nothing_valid() -> None:
    order = TextOrder(5, "once")
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    batches = [order.draw(2, generator) for _ in range(4)]
    assert [indices.tolist() for indices, _ in batches] == [[0, 1], [2, 3], [4, 0], [0, 0]]
    assert [valid.tolist() for _, valid in batches] == [[True, True], [True, True], [True, False], [False, False]]
    assert generator.bit_generator.state == before
    order.restart()
    assert order.draw(2, generator)[0].tolist() == [0, 1]


def test_a_restarted_shuffle_begins_a_new_epoch() -> None:
    order, generator = TextOrder(6, "shuffle"), np.random.default_rng(1)
    order.draw(4, generator)
    order.restart()
    assert sorted(order.draw(6, generator)[0].tolist()) == list(range(6))


@pytest.mark.parametrize("kind", ["shuffle", "once"])
@pytest.mark.parametrize("drawn", [0, 1, 3])
def test_state_and_back(kind: str, drawn: int) -> None:
    order, generator = TextOrder(5, kind), np.random.default_rng(2)  # type: ignore[arg-type]
    draws(order, generator, 2, drawn)
    state, place = order.state_dict(), generator.bit_generator.state
    rest = [order.draw(2, generator) for _ in range(4)]
    resumed, again = TextOrder(5, kind), np.random.default_rng(9)  # type: ignore[arg-type]
    resumed.load_state_dict(state)
    again.bit_generator.state = place
    for indices, valid in rest:
        ours = resumed.draw(2, again)
        assert ours[0].tolist() == indices.tolist()
        assert ours[1].tolist() == valid.tolist()


def test_errors() -> None:
    with pytest.raises(ValueError, match="order 'sorted' is unknown: use one of 'shuffle', 'once'"):
        TextOrder(5, "sorted")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the split holds no text"):
        TextOrder(0, "once")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "the saved order of texts lacks passes, queue, started"),
        (None, "the saved order of texts lacks passes, queue, started"),
        ({"queue": [0]}, "the saved order of texts lacks passes, started"),
        ({"queue": [5], "started": True, "passes": 1}, "a queue of other texts: there are 5"),
        ({"queue": [-1], "started": True, "passes": 1}, "a queue of other texts: there are 5"),
        ({"queue": [0.5], "started": True, "passes": 1}, "a queue of other texts: there are 5"),
        ({"queue": [[0]], "started": True, "passes": 1}, "a queue of other texts: there are 5"),
        ({"queue": 0, "started": True, "passes": 1}, "a queue of other texts: there are 5"),
        ({"queue": [0], "started": 1, "passes": 1}, "started 1: give True or False"),
        ({"queue": [0], "started": True, "passes": -1}, "passes -1: give a number from 0"),
        ({"queue": [0], "started": True, "passes": True}, "passes True: give a number from 0"),
    ],
)
def test_a_state_that_is_none_changes_nothing(state: Any, message: str) -> None:
    orders = [TextOrder(5, "shuffle") for _ in range(2)]
    generators = [np.random.default_rng(0) for _ in orders]
    for order, generator in zip(orders, generators, strict=True):
        order.draw(2, generator)
    with pytest.raises(ValueError, match=message):
        orders[0].load_state_dict(state)
    drawn = [draws(order, generator, 3, 4) for order, generator in zip(orders, generators, strict=True)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("number", "passes"), [(-1, 1), (5, 0), (5, 1), (15, 3), (5, True), (5, "two"), (5, None)])
def test_texts_of_passes_to_come_were_not_drawn(number: int, passes: Any) -> None:
    with pytest.raises(ValueError, match=r"^the saved environment has indices .*: there are 5 texts, from 0 on$"):
        TextOrder(5, "shuffle").check_drawn(np.array([0, number]), {"passes": passes})


@pytest.mark.parametrize("state", [{"passes": 3}, {"passes": np.int64(3)}])
def test_texts_of_earlier_passes_were_drawn(state: Any) -> None:
    TextOrder(5, "shuffle").check_drawn(np.array([0, 14]), state)
    TextOrder(5, "once").check_drawn(np.array([4, 0]), None)
