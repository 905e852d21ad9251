"""Compared systems through the command line: training, evaluation of what was saved, and going on after a kill."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForQuestionAnswering

from baselines.lesson import Lesson
from baselines.ltp import Ltp
from baselines.registry import SYSTEMS
from baselines.saving import load_system
from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.train_baseline import TrainBaselineOptions
from runners.train_baseline import main as train_baseline
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy
from trbert_env.tasks.classification import Classification

SMALL = [
    *("--total-texts", "48", "--texts-per-step", "8", "--encoder-rate", "1e-3"),
    *("--holdout-texts", "8", "--watch", "2", "--checkpoint-every", "1"),
]
#: Systems that no question answerer can be made of.
CLASSIFIERS = {"power-bert", "early-exit"}
READERS = sorted(SYSTEMS.keys() - CLASSIFIERS)


def record_in(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return record


@pytest.fixture
def trained(in_process: Any) -> Any:
    """Train a system in this process: ``trained("folder", "pooled", "--option", ...)``."""

    def start(name: str, system: str, *options: str) -> Path:
        output = f"baseline-{name}"  # all test modules share the place
        start = ["--system", system, "--backbone", str(in_process.fine_tuned), *in_process.common(output)]
        run(train_baseline, TrainBaselineOptions, [*start, *SMALL, *options])
        folder: Path = in_process.only_run(output, f"baseline-{system}")
        return folder

    return start


@pytest.mark.parametrize("system", READERS)
def test_a_system_is_trained_and_what_was_saved_is_what_was_measured(
    trained: Any, in_process: Any, system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(f"of-{system}", system)
    record = record_in(folder)
    assert record["agent"] == system
    told = re.search(r'use the model: baselines\.saving\.load_system\("(.*)"\), or', capsys.readouterr().out)
    assert told is not None
    assert load_system(told[1])[0].title == system
    assert record.keys() >= {
        "f1",
        "full_f1",
        "holdout_f1",
        "flops_speedup",
        "wall_speedup_stock",
        "wall_speedup_packed",
    }
    run(evaluate, EvaluateOptions, ["--model", str(folder), *in_process.common(f"baseline-again-{system}")])
    again = record_in(in_process.only_run(f"baseline-again-{system}"))
    for name in ("f1", "full_f1", "log_likelihood", "full_log_likelihood", "flops_speedup"):
        assert again[name] == pytest.approx(record[name], abs=1e-5), name
    for name in ("backbone", "encoder_fingerprint", "tokenizer_fingerprint", "texts_fingerprint"):
        assert again[name] == record[name], name
    # The weights load anywhere.
    AutoModelForQuestionAnswering.from_pretrained(folder / "model")
    before, after = (load_file(path / "model.safetensors") for path in (in_process.fine_tuned, folder / "model"))
    assert any(not before[name].equal(after[name]) for name in after if "layer.0" in name)


@pytest.mark.parametrize(
    ("system", "options"),
    [
        *((system, []) for system in READERS),
        # Killed behind the first scaling and before the last.
        *((system, ["--target-speedup", "1.3"]) for system in ("ltp", "length-adaptive", "power-bert-restored")),
    ],
)
def test_a_killed_run_goes_on_to_the_same_weights(
    trained: Any, in_process: Any, place: Any, system: str, options: list[str]
) -> None:
    name = f"{system}{len(options)}"
    whole = trained(f"whole-{name}", system, *options)
    output = f"baseline-killed-{name}"
    arguments = ["--system", system, "--backbone", str(place.fine_tuned), *place.common(output), *SMALL, *options]
    process = place.start("train_baseline", *arguments)
    place.stop(process, output, checkpoints=4)
    killed = place.only_run(output)
    run(train_baseline, TrainBaselineOptions, ["--resume", str(killed)])
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (whole, killed))
    assert expected.keys() == found.keys()
    assert [name for name in expected if not expected[name].equal(found[name])] == []
    assert (whole / "model" / "system.json").read_text() == (killed / "model" / "system.json").read_text()


@pytest.mark.parametrize("system", ["pooled", "length-adaptive"])
def test_the_dropout_of_a_checkpoint_is_left_out_as_in_our_own_training(
    trained: Any, in_process: Any, tmp_path: Path, system: str
) -> None:
    folder = shutil.copytree(in_process.fine_tuned, tmp_path / "dropping")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.5}))
    expected = load_file(trained(f"undropped-{system}", system) / "model" / "model.safetensors")
    output = f"baseline-dropping-{system}"
    start = ["--system", system, "--backbone", str(folder), *in_process.common(output), *SMALL]
    run(train_baseline, TrainBaselineOptions, start)
    found = load_file(in_process.only_run(output, f"baseline-{system}") / "model" / "model.safetensors")
    assert [name for name in expected if not expected[name].equal(found[name])] == []


def test_what_is_chosen_once_training_is_over_is_chosen_on_held_out_texts(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[int, int] = {}
    begin = Ltp.begin

    def counted(self: Ltp, phase: int, lessons: Iterator[Lesson]) -> None:
        found = list(lessons)
        shown[phase] = sum(lesson.batch.layout.num_texts for lesson in found)
        assert all(bool(lesson.teacher_logits.isfinite().all()) for lesson in found[:1])
        begin(self, phase, iter(found))

    monkeypatch.setattr(Ltp, "begin", counted)
    trained("chosen", "ltp", "--target-speedup", "1.3", "--remember-teacher")
    assert shown[0] == shown[1] > 8
    assert shown[2] == 8  # --holdout-texts; the teacher remembers none of them


def test_a_clock_without_the_cache_that_flops_count_on_is_told(
    trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trained("cached", "deformer", "--system-options", "cached=true")
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "the clock is read without a cache" in told


def test_a_target_speed_up_is_reached(trained: Any) -> None:
    record = record_in(trained("aimed", "pooled", "--target-speedup", "1.6"))
    assert record["flops_speedup"] == pytest.approx(1.6, rel=0.1)
    assert record_in(trained("half", "distilled", "--target-speedup", "2"))["flops_speedup"] == pytest.approx(2.0)


def test_our_reduction_runs_on_top_of_a_student(trained: Any, in_process: Any) -> None:
    student = trained("student", "distilled", "--layers", "1", "2", "4")
    sizes = ["--total-texts", "16", "--texts-per-step", "4", "--samples-per-text", "4", "--keep-fractions", "0.5"]
    cuts = ["--reduction-layers", "2", *in_process.common("baseline-on-top")]
    run(train_policy, TrainPolicyOptions, ["--backbone", str(student), *cuts, *sizes])
    record = record_in(in_process.only_run("baseline-on-top"))
    assert 1.0 < record["flops_speedup"] < 3.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["power-bert"], "give --system power-bert-restored"),
        (["pooled", "--layers", "1"], "--layers is of --system distilled"),
        (["distilled", "--layers", "9"], "the encoder has 4 layers"),
        (["distilled", "--system-options", "depth=2"], "has no option 'depth'"),
        (["pooled", "--system-options", "ratio=2"], "option 'ratio' of system 'pooled' is 2"),
        (["pooled", "--target-speedup", "40"], "give a --target-speedup in between"),
        (["pooled", "--target-speedup", "2", "--system-options", "ratio=0.9"], "ratio settles the speed-up"),
        (["ltp", "--system-options", "speedup=3"], "--system-options has speedup, which --target-speedup settles"),
        (
            ["ltp", "--system-options", "thresholds=[0,0,1,1]", "start=2", "soft_share=0.3"],
            "start and soft_share, but thresholds are given, and not learned: leave start soft_share out",
        ),
        (
            ["power-bert-restored", "--system-options", "lengths=[9,8,7,6]", "regularizer=1"],
            "regularizer, but lengths are given, and not searched for",
        ),
        (
            ["length-adaptive", "--system-options", "rounds=3"],
            "rounds, but without --target-speedup nothing is",
        ),
        (
            ["distilled", "--distillation", "0", "--teacher", "x"],
            "nothing is learned from a teacher: leave --teacher out",
        ),
        (
            ["deformer", "--system-options", "alpha=0", "beta=0", "--remember-teacher"],
            "nothing is learned from a teacher: leave --remember-teacher out",
        ),
        (["poled"], "system 'poled' is unknown"),
        (["distilled", "--reduction-layers", "2"], "have no reduction layers"),
        (["distilled", "--distillation", "0", "--temperature", "2"], "leave --temperature out"),
        (["deformer", "--distillation", "0.3"], "weighs its losses by options of its own: leave --distillation out"),
        (["early-exit", "--encoder-rate", "1e-3", "--remember-teacher"], "leave --encoder-rate --remember-teacher out"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    in_process: Any, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--backbone", str(in_process.fine_tuned), *in_process.common("baseline-refused")]
    with pytest.raises(SystemExit) as caught:
        run(train_baseline, TrainBaselineOptions, ["--system", *options, *start])
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not list((in_process.root / "baseline-refused").rglob("config.json"))


def test_another_encoder_than_it_began_with_is_refused(
    trained: Any, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained("moved", "pooled")
    model = shutil.copytree(folder / "model", tmp_path / "model")
    other = str(trained("other", "distilled", "--layers", "1", "2", "3", "4"))
    with pytest.raises(SystemExit):
        run(
            evaluate,
            EvaluateOptions,
            ["--model", str(model), "--original", other, *in_process.common("baseline-refused")],
        )
    assert "holds another encoder" in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize("system", sorted(CLASSIFIERS))
def test_a_system_of_classifiers(in_process: Any, place: Any, save_encoder: Any, system: str) -> None:
    encoder = save_encoder(Classification(max_tokens=48), intermediate_size=24, initializer_range=0.2)
    output = f"baseline-classes-{system}"
    data = ["--env", "IMDB", "--data-source", "embedded", "--max-train-texts", "32", "--max-eval-texts", "8"]
    common = ["--dtype", "float32", "--max-length", "48"]
    start = ["--system", system, "--backbone", str(encoder), "--target-speedup", "1.5"]
    small = [word for word in SMALL if word not in ("--encoder-rate", "1e-3")]  # early exit trains no encoder
    every = [*start, *data, *common, *small]
    run(train_baseline, TrainBaselineOptions, [*every, "--output-dir", str(in_process.root / output)])
    (folder,) = (in_process.root / output).glob("IMDB/baseline-*/*")
    record = record_in(folder)
    recorded = json.loads((folder / "config.json").read_text())["options"]["encoder_rate"]
    assert recorded == (None if system == "early-exit" else 1e-4)
    # A run that is killed goes on to the same weights, those of its own modules too.
    process = place.start("train_baseline", *every, "--output-dir", str(place.root / f"{output}-killed"))
    place.stop(process, f"{output}-killed", checkpoints=4)
    (killed,) = (place.root / f"{output}-killed").glob("IMDB/baseline-*/*")
    run(train_baseline, TrainBaselineOptions, ["--resume", str(killed)])
    for file in (folder / "model").glob("*.safetensors"):
        expected, found = load_file(file), load_file(killed / "model" / file.name)
        assert [name for name in expected if not expected[name].equal(found[name])] == [], file.name
    assert (folder / "model" / "system.json").read_text() == (killed / "model" / "system.json").read_text()
    assert record["flops_speedup"] == pytest.approx(1.5, rel=0.25)  # counted on other texts than it was aimed on
    again = ["--model", str(folder), "--data-source", "embedded", "--max-eval-texts", "8"]
    run(evaluate, EvaluateOptions, [*again, "--output-dir", str(in_process.root / f"{output}-again")])
    (evaluated,) = (in_process.root / f"{output}-again").glob("IMDB/*/*")
    for name in ("accuracy", "full_accuracy", "log_likelihood", "flops_speedup"):
        assert record_in(evaluated)[name] == pytest.approx(record[name], abs=1e-5), name
