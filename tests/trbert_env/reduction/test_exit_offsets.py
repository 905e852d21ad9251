"""ExitOffsets: offsets by where a token stopped, and none where nothing was skipped."""

from __future__ import annotations

import torch

from trbert_env.encoder.packing import Layout
from trbert_env.reduction.exit_offsets import ExitOffsets, PooledExitOffsets


def exit_offsets(*rows: tuple[float, float]) -> ExitOffsets:
    made = ExitOffsets(len(rows) - 1, 2, 4)
    made.offsets.data.copy_(torch.tensor(rows))
    return made


def test_it_starts_as_nothing() -> None:
    layout = Layout.from_lengths([3, 2], [1, 1])
    assert not ExitOffsets(2, 2, 4).shift(torch.randn(5, 4), torch.tensor([2, 0, 1, 2, 0]), layout).any()


def test_offsets_by_hand() -> None:
    # Two texts, the second of two sequences; the reduction that each token stopped at, 2 for none.
    layout = Layout.from_lengths([4, 2, 3], [1, 2])
    stops = torch.tensor([2, 0, 1, 2, 2, 2, 2, 2, 1])
    shift = exit_offsets((-4.0, -3.0), (-2.0, -1.0), (0.5, 1.0)).shift(torch.randn(9, 4), stops, layout)
    # Half of the first text and a fifth of the second were skipped.
    expected = [[0.25, 0.5], [-4, -3], [-2, -1], [0, 0], [0.1, 0.2], [0, 0], [0.1, 0.2], [0, 0], [-2, -1]]
    torch.testing.assert_close(shift, torch.tensor(expected))


def test_a_text_of_which_nothing_is_skipped_is_left_alone() -> None:
    layout = Layout.from_lengths([4, 3], [1, 1])
    made = exit_offsets((-4.0, -3.0), (0.5, 1.0))
    made.weights.data.normal_()
    shift = made.shift(torch.randn(7, 4), torch.tensor([1, 1, 1, 1, 1, 0, 1]), layout)
    assert not shift[:4].any()
    assert shift[4:6].any(1).all()


def test_what_a_state_says_is_read_by_the_depth_that_it_stopped_at() -> None:
    made = exit_offsets((-1.0, -2.0), (0.0, 0.0), (0.0, 0.0))
    made.weights.data[0, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    made.weights.data[1, 1] = torch.tensor([0.0, 0.0, 0.0, 2.0])
    # Normalised: (3, -1, -1, -1) / sqrt(3), whatever the scale.
    states = torch.tensor([[5.0, 1.0, 1.0, 1.0]]).repeat(4, 1)
    states[2] = torch.tensor([-1.0, -1.0, -1.0, 3.0])
    shift = made.shift(states, torch.tensor([2, 0, 1, 2]), Layout.from_lengths([4], [1]))
    expected = [[0.0, 0.0], [3 / 3**0.5 - 1, -2.0], [0.0, 2 * 3 / 3**0.5], [0.0, 0.0]]
    torch.testing.assert_close(shift, torch.tensor(expected), atol=1e-4, rtol=0)


def test_gradients_reach_every_parameter() -> None:
    made = exit_offsets((-4.0, -3.0), (-2.0, -1.0), (0.5, 1.0))
    states = torch.tensor([[1.0, -1.0, 1.0, -1.0]]).repeat(3, 1)
    made.shift(states, torch.tensor([2, 0, 1]), Layout.from_lengths([3], [1])).sum().backward()
    assert made.offsets.grad is not None
    assert made.weights.grad is not None
    torch.testing.assert_close(made.offsets.grad, torch.tensor([[1.0, 1.0], [1.0, 1.0], [2 / 3, 2 / 3]]))
    torch.testing.assert_close(made.weights.grad, states[0].expand(2, 2, 4), atol=1e-4, rtol=0)


def test_learning_rates_leave_both_parts_the_same_reach() -> None:
    made = exit_offsets((0.0, 0.0), (0.0, 0.0))
    (offsets, rate), (weights, less) = made.learning_rates(0.1)
    assert offsets is made.offsets
    assert weights is made.weights
    assert (rate, less) == (0.1, 0.05)


def pooled(*rows: tuple[float, float]) -> PooledExitOffsets:
    made = PooledExitOffsets(len(rows) - 1, 2, 4)
    made.offsets.data.copy_(torch.tensor(rows))
    return made


def test_pooled_offsets_by_hand() -> None:
    # Three sequences of two texts; of the last, nothing is skipped.
    layout = Layout.from_lengths([4, 2, 3], [2, 1])
    made = pooled((-4.0, -3.0), (-2.0, -1.0), (1.0, 0.0))
    made.weights.data[0, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    states = torch.tensor([[5.0, 1.0, 1.0, 1.0]]).repeat(9, 1)  # normalised: (3, -1, -1, -1) / sqrt(3)
    shift = made.shift(states, torch.tensor([2, 0, 0, 1, 2, 1, 2, 2, 2]), layout)
    first = (2 * (-4.0 + 3 / 3**0.5) - 2.0 + 3 * 1.0) / 4
    expected = [[first, (-3.0 - 3.0 - 1.0) / 4], [(-2.0 + 1.0) / 2, -1.0 / 2], [0.0, 0.0]]
    torch.testing.assert_close(shift, torch.tensor(expected), atol=1e-4, rtol=0)


def test_pooling_is_the_mean_over_a_sequence_of_what_each_token_would_have() -> None:
    layout, stops = Layout.from_lengths([5, 7, 3], [2, 1]), torch.randint(0, 3, (15,))
    states = torch.randn(15, 4)
    made = pooled((-4.0, -3.0), (-2.0, -1.0), (0.0, 0.0))
    made.weights.data.normal_()
    of_tokens = exit_offsets((-4.0, -3.0), (-2.0, -1.0), (0.0, 0.0))
    of_tokens.load_state_dict(made.state_dict())
    expected = torch.stack([part.mean(0) for part in of_tokens.shift(states, stops, layout).split([5, 7, 3])])
    torch.testing.assert_close(made.shift(states, stops, layout), expected)


def test_gradients_reach_pooled_states_and_every_parameter() -> None:
    made = pooled((-4.0, -3.0), (0.5, 1.0))
    made.weights.data.normal_()
    states = torch.randn(3, 4, requires_grad=True)
    made.shift(states, torch.tensor([1, 0, 0]), Layout.from_lengths([3], [1])).sum().backward()
    assert states.grad is not None
    assert states.grad.any(1).tolist() == [False, True, True]
    assert made.offsets.grad is not None
    torch.testing.assert_close(made.offsets.grad, torch.full((2, 2), 2 / 3))
    assert made.weights.grad is not None
    assert made.weights.grad.any(2).all()
