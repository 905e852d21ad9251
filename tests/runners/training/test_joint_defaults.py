"""Defaults of stage 3 that follow from the device and from what the run starts from."""

from __future__ import annotations

import pytest
import torch

from runners.cli.flags import changed_options
from runners.cli.run import read_options
from runners.sweep import SweepOptions
from runners.training.options.joint import JointFinetuneOptions, JointStageOptions, measured_defaults


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
