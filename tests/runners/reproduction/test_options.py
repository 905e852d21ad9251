"""What compared systems learn by in a reproduction: as ours does, but for what one of them does not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents.learning import LearningOptions
from baselines.registry import SYSTEMS
from runners.cli.flags import check_options
from runners.cli.options import RunOptions
from runners.reproduction.alike import trained_alike
from runners.reproduction.field import tell_unread
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.table2 import notes
from runners.training.options.baseline import BaselineTrainingOptions
from runners.training.options.joint import measured_defaults


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_compared_systems_learn_as_ours_does(device: str) -> None:
    joint = measured_defaults(device, has_policy=True)
    found = trained_alike(joint, device)
    assert found.learning.encoder_rate == {"cpu": 1e-4, "cuda": 6e-4}[device]  # few texts too, to learn more from
    for name in ("distillation", "temperature", "warmup", "max_encoder_norm"):
        assert getattr(found.learning, name) == getattr(joint.joint, name), name
    assert found.training.texts_per_step == joint.training.texts_per_step
    options = ReproduceOptions(table=2, joint=joint, baseline=found)
    (told,) = [line for line in notes(options, ()) if "learn by" in line]
    rate = found.learning.encoder_rate
    assert told == f"Compared systems learn by --baseline.encoder-rate {rate:g} (ours by its number of texts)."
    alike = replace(joint, joint=replace(joint.joint, encoder_rate=rate))
    assert not any("learn by" in line for line in notes(replace(options, joint=alike), ()))


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_a_run_has_no_option_that_its_system_refuses(system: str, tmp_path: Path) -> None:
    learning = LearningOptions(encoder_rate=3e-4, distillation=1.0, temperature=2.0, max_encoder_norm=2.0)
    stage = replace(
        ReproduceOptions().baseline,
        learning=learning,
        training=BaselineTrainingOptions(teacher="teacher", remember_teacher=True),
    )
    run = ReproduceOptions(table=2, baseline=stage).compared("IMDB", system, None, RunOptions(output_dir=tmp_path), 9)
    check_options(run)
    unread = ReproduceOptions().unread_by(system)
    given = {"encoder_rate": 3e-4, "distillation": 1.0, "temperature": 2.0, "max_encoder_norm": 2.0}
    for name, value in given.items():
        assert (getattr(run.learning, name) == value) == (name not in unread), name
    assert (run.training.teacher == "teacher") == ("teacher" not in unread)


def test_the_table_says_what_differs() -> None:
    learning = replace(ReproduceOptions().baseline.learning, distillation=1.0)
    training = BaselineTrainingOptions(total_texts=4_000)
    stage = replace(ReproduceOptions().baseline, learning=learning, training=training)
    told = " ".join(notes(ReproduceOptions(table=2, baseline=stage), ()))
    assert "compared systems are trained on 4,000 texts" in told
    by = "--baseline.encoder-rate 0.0001 (ours by its number of texts), --baseline.distillation 1 (ours 0.5)"
    assert f"Compared systems learn by {by}." in told
    assert "states" not in told
    joint = ReproduceOptions().joint
    told = " ".join(
        notes(ReproduceOptions(table=2, joint=replace(joint, joint=replace(joint.joint, states_weight=2.0))), ())
    )
    assert "Ours learns the teacher's states too, by --joint.states-weight 2." in told


def test_the_table_tells_of_the_systems_that_it_has_alone() -> None:
    told = " ".join(notes(ReproduceOptions(table=2), ("ours", "early-exit", "random", "residual")))
    assert "early-exit: half of the texts" in told
    assert "Heuristics (random, residual) skip tokens of the start, untrained; residual sees the gold answer." in told
    assert "deformer" not in told
    few = " ".join(notes(ReproduceOptions(table=2), ("ours", "attention")))
    assert "Heuristics (attention) skip tokens of the start, untrained." in few


def test_options_that_a_system_does_not_read_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    learning = replace(ReproduceOptions().baseline.learning, distillation=1.0)
    options = ReproduceOptions(table=2, baseline=replace(ReproduceOptions().baseline, learning=learning))
    for name in ("deformer", "pooled", "ours"):
        tell_unread(options, name)
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "deformer weighs its losses by options of its own: --baseline.distillation is not for it" in told
    assert "pooled" not in told


def test_cuts_serve_the_fastest_of_ours() -> None:
    assert ReproduceOptions(table=2, target_speedup=2.5, speedups=(1.5, 4.0)).fastest("IMDB") == 2.5
    assert ReproduceOptions(figure=3, speedups=(1.5, 4.0, 2.0)).fastest("IMDB") == 4.0
