from __future__ import annotations

import dataclasses

import pytest

from trbert_env.presets import PRESETS, get_preset, penalty_from_alpha
from trbert_env.tasks import SpanQA, make_task


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_sound(name: str) -> None:
    preset = get_preset(name)
    assert preset.name == name
    task = make_task(preset)
    assert task.settings.items() >= preset.settings.items()
    if isinstance(task, SpanQA):
        # A window must hold the question, three special tokens, and more text than it shares with the next.
        assert task.max_question_tokens + 3 + task.stride < task.max_tokens
    assert 0 <= preset.warmup < 1
    assert preset.imitation_fraction == (0.5 if preset.task == "classification" else 0.2)
    assert preset.epochs > 0
    assert preset.policy_epochs > 0
    assert preset.batch_size > 0
    assert 0 < preset.learning_rate < 1e-3
    assert preset.length_penalty >= 0
    assert preset.joint_length_penalty >= 0


def test_squad2_holds_the_published_values() -> None:
    preset = get_preset("SQuAD2")
    assert (preset.dataset, preset.task) == ("squad_v2", "span_qa")
    assert preset.settings == {"max_tokens": 384, "stride": 128, "max_question_tokens": 64}
    assert (preset.epochs, preset.policy_epochs, preset.batch_size) == (2, 2, 32)
    assert preset.length_penalty == pytest.approx(6.51e-3, rel=1e-3)
    assert preset.joint_length_penalty == pytest.approx(3.255e-3, rel=1e-3)


def test_the_price_equals_the_released_charge() -> None:
    # alpha x mean over the reductions of (kept / padded length), for kept counts of 100 and 40.
    alpha, padded, kept = 5.0, 384, (100, 40)
    released = alpha * sum(count / padded for count in kept) / len(kept)
    assert penalty_from_alpha(alpha, padded, len(kept)) * sum(kept) == pytest.approx(released)
    # With three reductions the mean is over three.
    assert penalty_from_alpha(alpha, padded, 3) * 3 == pytest.approx(penalty_from_alpha(alpha, padded, 1))


@pytest.mark.parametrize(
    ("name", "epochs", "rate", "prices"),  # the paper's table 5, and the released alphas as nats per kept token
    [
        ("NewsQA", 5, 3e-5, (2.9e-3, 4.9e-3 / 2)),
        ("NaturalQA", 5, 3e-5, (2.0e-3, 2.0e-3 / 2)),
        ("RACE", 5, 5e-5, (4.9e-4, 9.8e-5)),
        ("IMDB", 5, 3e-5, (9.8e-4, 9.8e-4)),
        ("YELP.F", 3, 3e-5, (2.0e-3, 4.9e-4)),
        ("20NewsGroups", 5, 3e-5, (9.8e-4, 9.8e-4)),
        ("Hyperpartisan", 15, 3e-5, (9.8e-6, 9.8e-6)),  # alpha 0.01 at 512 tokens; at the paper's 1,024 half of it
    ],
)
def test_the_others_hold_the_published_values(name: str, epochs: int, rate: float, prices: tuple[float, float]) -> None:
    preset = get_preset(name)
    assert (preset.epochs, preset.learning_rate, preset.warmup, preset.batch_size) == (epochs, rate, 0.1, 32)
    assert preset.length_penalty == pytest.approx(prices[0], rel=0.03)
    assert preset.joint_length_penalty == pytest.approx(prices[1], rel=0.03)
    assert preset.settings["max_tokens"] == 512


@pytest.mark.parametrize(
    ("name", "epochs", "rate", "warmup", "prices"),
    [
        ("HotpotQA", 6, 5e-5, 0.073, (4.9e-5, 2.0e-3 / 2)),
        ("TriviaQA", 5, 3e-5, 0.106, (2.4e-4, 4.9e-4 / 2)),
        ("WikiHop", 15, 3e-5, 0.01, (2.4e-4, 4.9e-4)),  # the prices are not published
    ],
)
def test_long_texts_hold_the_published_values(
    name: str, epochs: int, rate: float, warmup: float, prices: tuple[float, float]
) -> None:
    preset = get_preset(name)
    assert (preset.epochs, preset.learning_rate, preset.warmup, preset.batch_size) == (epochs, rate, warmup, 32)
    assert (preset.length_penalty, preset.joint_length_penalty) == pytest.approx(prices, rel=0.03)
    assert preset.has_published_price == (name != "WikiHop")
    assert make_task(preset).max_text_tokens == 1024


@pytest.mark.parametrize(("epochs", "expected"), [(1, 1), (2, 2), (3, 2), (5, 3), (6, 4), (15, 8)])
def test_policy_epochs_round_half_up(epochs: int, expected: int) -> None:
    preset = dataclasses.replace(get_preset("SQuAD2"), epochs=epochs)
    assert preset.policy_epochs == expected


@pytest.mark.parametrize("name", ["squad2", "SQuAD", "SQaUD2", "SQuAD2.0"])
def test_an_unknown_name_suggests_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match=r"did you mean 'SQuAD2'\? known names: .*SQuAD2") as caught:
        get_preset(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_like_no_other_lists_all() -> None:
    with pytest.raises(ValueError, match="'zzz'; known names: ") as caught:
        get_preset("zzz")
    assert "did you mean" not in str(caught.value)
    assert all(name in str(caught.value) for name in PRESETS)


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_preset("SQuAD2").epochs = 3  # type: ignore[misc]
