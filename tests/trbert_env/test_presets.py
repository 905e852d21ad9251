from __future__ import annotations

import dataclasses

import pytest

from trbert_env.presets import PRESETS, get_preset, penalty_from_alpha


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_sound(name: str) -> None:
    preset = get_preset(name)
    assert preset.name == name
    # A window must hold the question, three special tokens, and more text than it shares with the next.
    assert preset.max_question_tokens + 3 + preset.stride < preset.max_tokens
    assert 0 <= preset.warmup < 1
    assert 0 <= preset.imitation_fraction <= 1
    assert preset.epochs > 0
    assert preset.policy_epochs > 0
    assert preset.batch_size > 0
    assert 0 < preset.learning_rate < 1e-3
    assert preset.length_penalty >= 0
    assert preset.joint_length_penalty >= 0


def test_squad2_holds_the_published_values() -> None:
    preset = get_preset("SQuAD2")
    assert (preset.dataset, preset.task) == ("squad_v2", "span_qa")
    assert (preset.max_tokens, preset.stride, preset.max_question_tokens) == (384, 128, 64)
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
