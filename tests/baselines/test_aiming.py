"""Settings that come near a speed-up, of systems whose speed rises in steps."""

from __future__ import annotations

import warnings

import pytest

from baselines.aiming import factor_for, nearest_factor


def steps(kept: float) -> float:
    """Early exit on a few texts: four times as fast, 2.5 times, or not at all."""
    return 4.0 if kept < 0.3 else 2.5 if kept < 0.7 else 1.0


@pytest.mark.parametrize(("wanted", "reached"), [(3.5, 4.0), (3.0, 2.5), (1.4, 1.0), (9.0, 4.0)])
def test_what_was_trained_is_not_lost_for_a_speed_up_between_two_steps(wanted: float, reached: float) -> None:
    with pytest.warns(UserWarning, match=rf"^exit comes to {reached:.2f}x and not to {wanted:g}x on the texts"):
        assert steps(nearest_factor(wanted, steps, (0.0, 1.0), "exit")) == reached
    with pytest.raises(ValueError, match=rf"exit has speed-ups of 1.00 to 4.00 on these texts, not {wanted:g}"):
        factor_for(wanted, steps, (0.0, 1.0), "exit")


def test_nothing_is_said_where_a_step_lies_near() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert steps(nearest_factor(2.6, steps, (0.0, 1.0), "exit")) == 2.5
        assert nearest_factor(2.0, lambda kept: 1.0 / kept, (0.1, 1.0), "half") == pytest.approx(0.5)
