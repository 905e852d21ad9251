"""The trade-off between quality and speed is an attribute of the model, checked and saved with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trbert_env import TokenReducedModel
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.speed_table import SpeedTable

TABLE = SpeedTable(speedups=(1.1, 1.5, 3.0), thresholds=(0.1, 0.4, 0.9))


@pytest.fixture
def model(shipped: Callable[..., Any]) -> Any:
    found = shipped("classes")
    found.speed_table = TABLE
    return found


def reloaded(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return TokenReducedModel.from_pretrained(folder)


@pytest.mark.parametrize("speedup", [1.1, 1.3, 1.5, 2.0, 3.0])
def test_a_speedup_sets_the_threshold_of_the_table(model: Any, speedup: float, tmp_path: Path) -> None:
    model.keep_fractions = (0.5, 0.2)
    assert model.speedup is None
    model.speedup = speedup
    for each in (model, reloaded(model, tmp_path)):
        assert each.threshold == pytest.approx(TABLE.threshold(speedup))
        assert each.speedup == pytest.approx(speedup)
        assert each.keep_fractions is None


def test_a_speedup_that_was_set_is_read_as_it_was(model: Any) -> None:
    model.speed_table = SpeedTable(speedups=(1.1234567, 1.5, 3.9876543), thresholds=(0.1, 0.4, 0.9))
    for speedup in (1.5, 2.0, 2.5):
        model.speedup = speedup
        assert model.speedup == speedup
    for end in (1.1234567, 3.9876543):
        model.speedup = end
        model.speedup = model.speedup  # what is read can be set


@pytest.mark.parametrize("speedup", [0.5, 1.0, 3.1, float("nan"), float("inf")])
def test_a_speedup_that_was_not_measured(model: Any, speedup: float) -> None:
    before = model.decision
    with pytest.raises(ValueError, match=f"speed-up {speedup} is not among those .*: 1.10 to 3.00$"):
        model.speedup = speedup
    assert model.decision == before


def test_a_model_without_a_table(shipped: Callable[..., Any]) -> None:
    model = shipped("classes")
    assert model.speedup is None
    with pytest.raises(ValueError, match=r"the model has no speed table, .*: set its threshold or keep_fractions"):
        model.speedup = 2.0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("speedup", "fast", "speedup is 'fast': give a number"),
        ("speedup", None, "speedup is None: give a number"),
        ("speedup", True, "speedup is True: give a number"),
        ("threshold", "0.5", "threshold is '0.5': give a number"),
        ("keep_fractions", 0.5, "keep_fractions is 0.5: give 2 numbers"),
        ("keep_fractions", "0.5 0.2", "keep_fractions is '0.5 0.2': give 2 numbers"),
        ("keep_fractions", ("0.5", 0.2), "a keep fraction is '0.5': give a number"),
    ],
)
def test_what_is_no_number_is_named(model: Any, name: str, value: object, message: str) -> None:
    before = model.decision
    with pytest.raises(TypeError) as caught:
        setattr(model, name, value)
    assert str(caught.value) == message
    assert model.decision == before


def test_threshold_and_fractions_take_turns(model: Any, padded: Callable[..., Any], tmp_path: Path) -> None:
    model.threshold = 0.7
    assert model.decision == DecisionRule(0.7)
    model.keep_fractions = [0.5, 0.25]
    assert model.decision == DecisionRule(0.7, (0.5, 0.25))
    loaded = reloaded(model, tmp_path)
    assert (loaded.threshold, loaded.keep_fractions) == (0.7, (0.5, 0.25))
    inputs = padded("classes")
    with torch.no_grad():
        assert loaded(**inputs).logits.equal(model(**inputs).logits)
    model.keep_fractions = None
    assert model.decision == DecisionRule(0.7)
    model.keep_fractions = (1.0, 1.0)
    model.threshold = 0.3
    assert model.decision == DecisionRule(0.3)
    assert TABLE.speedups[0] < model.speedup < TABLE.speedups[1]


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_thresholds_that_are_no_probabilities(model: Any, threshold: float) -> None:
    with pytest.raises(ValueError, match=f"threshold {threshold}: it is a probability, so give 0 to 1"):
        model.threshold = threshold
    assert model.threshold == 0.5


@pytest.mark.parametrize("fractions", [(0.5,), (0.2, 0.5), (0.5, 0.0), (2.0, 0.5)])
def test_fractions_that_do_not_fit(model: Any, fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="keep_fractions"):
        model.keep_fractions = fractions
    assert model.keep_fractions is None


def test_the_speedup_of_a_threshold() -> None:
    assert SpeedTable((), ()).speedup(0.5) is None
    assert TABLE.speedup(0.05) is None
    flat = SpeedTable(speedups=(1.0, 1.2, 2.0), thresholds=(0.2, 0.2, 0.8))
    assert flat.speedup(0.2) == pytest.approx(1.2)
    assert flat.speedup(0.5) == pytest.approx((1.2 * 2.0) ** 0.5)  # half-way in log-odds
