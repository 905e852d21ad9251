"""Defaults of stage 3 that follow from the device and from what the run starts from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agents.joint import JointOptions
from runners.cli.flags import changed_options
from runners.cli.run import read_options
from runners.sweep import SweepOptions
from runners.training.options.joint import (
    JointFinetuneOptions,
    JointStageOptions,
    measured_defaults,
    settled_stage3,
)


def stage_of(options: JointFinetuneOptions) -> JointStageOptions:
    return JointStageOptions(options.joint, options.agent, options.training)


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_a_trained_policy_stays_as_it_is_on_a_cpu() -> None:
    untrained = read_options(JointFinetuneOptions, ["--device", "cpu"])
    trained = read_options(JointFinetuneOptions, ["--device", "cpu", "--policy", "run"])
    assert (untrained.training.samples_per_text, trained.training.samples_per_text) == (2, 1)
    assert (untrained.agent.exploration, trained.agent.exploration) == ((0.5, 0.2), (0.2, 0.1))
    assert changed_options(trained) == ["--policy", "--device"]


@pytest.mark.usefixtures("on_a_gpu")
def test_a_gpu_has_its_own() -> None:
    found = read_options(JointFinetuneOptions, ["--policy", "run"])
    assert stage_of(found) == measured_defaults("cuda", has_policy=True) != measured_defaults("cpu", has_policy=True)
    assert changed_options(found) == ["--policy"]
    assert stage_of(read_options(JointFinetuneOptions, ["--device", "cpu"])) == measured_defaults("cpu", False)
    assert read_options(SweepOptions, ["--stage", "joint"]).joint == measured_defaults("cuda", has_policy=True)


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize(
    ("device", "total_texts", "rate"),
    # 1e-4 for 20,000 texts and 6e-4 for 280,000, and its half for a quarter of them; longer runs have no more
    [
        *[("cpu", 20_000, 1e-4), ("cpu", 5_000, 5e-5), ("cpu", 1_600, 2.8284e-5), ("cpu", 90_000, 1e-4)],
        *[("cuda", 280_000, 6e-4), ("cuda", 70_000, 3e-4)],
    ],
)
def test_few_texts_have_a_low_rate_of_the_encoder(device: str, total_texts: int, rate: float) -> None:
    options = JointFinetuneOptions().defaults()
    options = replace(options, run=replace(options.run, device=device))
    options = replace(options, training=replace(options.training, total_texts=total_texts))
    settled = settled_stage3(options, split=1_000_000)
    assert settled.joint.encoder_rate == pytest.approx(rate, rel=1e-4)
    given = settled_stage3(replace(options, joint=JointOptions(encoder_rate=3e-3)), split=1_000_000)
    assert given.joint.encoder_rate == 3e-3


def test_the_rate_follows_the_number_of_texts_of_a_small_split() -> None:
    """Four passes over 5,000 texts are the default, 20,000; over 1,600 they are 6,400, and 0.32 of it."""
    options = read_options(JointFinetuneOptions, ["--device", "cpu"])
    found = [settled_stage3(options, split).joint.encoder_rate for split in (5_000, 1_600)]
    assert found == pytest.approx([1e-4, 1e-4 * 0.32**0.5])


@pytest.mark.usefixtures("on_a_gpu")
def test_what_is_given_counts_though_it_is_another_situations_default() -> None:
    given = [
        "--samples-per-text",
        "2",
        "--texts-per-step",
        "32",
        "--encoder-rate",
        "1e-4",
        "--exploration",
        "0.5",
        "0.2",
    ]
    found = read_options(JointFinetuneOptions, ["--policy", "run", *given])
    assert (found.training.samples_per_text, found.training.texts_per_step) == (2, 32)
    assert (found.joint.encoder_rate, found.agent.exploration) == (1e-4, (0.5, 0.2))
    assert {"--texts-per-step", "--encoder-rate", "--exploration"} <= set(changed_options(found))
