"""finetune -> train_policy -> evaluate -> benchmark, and what each leaves on the disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoTokenizer

import runners.evaluate
import runners.training.layers
from runners.benchmark import BenchmarkOptions
from runners.benchmark import main as benchmark
from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.evaluation.evaluations import evaluate_heuristic
from runners.evaluation.layer_probe import LayerProbe
from runners.joint_finetune import JointFinetuneOptions
from runners.joint_finetune import main as joint_finetune
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy
from trbert_env.deploy.model import TokenReducedModel

QUALITY = {"f1", "exact_match", "has_answer_f1", "no_answer_f1"}
SAVINGS = {"flops_speedup", "kept_fraction_1", "kept_fraction_2"}
CLOCK = {"wall_speedup_stock", "wall_speedup_packed"}
FACTS = {"env", "split", "data_source", "backbone", "num_texts"}


def record_in(folder: Path) -> dict[str, Any]:
    """``metrics.json``, which must be flat."""
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    assert all(isinstance(value, (str, int, float)) for value in record.values()), record
    return record


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of every TensorBoard curve of a run."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {key: [(event.step, event.value) for event in events.Scalars(key)] for key in events.Tags()["scalars"]}


@pytest.fixture(scope="module")
def tuned(place: Any) -> Path:
    """The run folder of stage 1."""
    schedule = ["--epochs", "10", "--batch-size", "8", "--learning-rate", "1e-3"]
    said = place.command("finetune", "--backbone", str(place.pretrained), *place.common("tuned"), *schedule, anew=True)
    folder: Path = place.only_run("tuned")
    assert f"make it faster: python runners/make_faster.py --model {folder} --target-speedup 2" in said
    return folder


@pytest.fixture(scope="module")
def trained(place: Any, tuned: Path) -> Path:
    """The run folder of stage 2, on the backbone that stage 1 left where it is found."""
    sizes = ["--total-texts", "120", "--texts-per-step", "4", "--samples-per-text", "4"]
    place.command("train_policy", "--backbone", str(place.pretrained), *place.common("trained"), *sizes, anew=True)
    folder: Path = place.only_run("trained")
    return folder


# -- stage 1 -----------------------------------------------------------------------------------------------------


def test_finetune_learns_and_reports(tuned: Path) -> None:
    record = record_in(tuned)
    assert record.keys() >= FACTS | QUALITY
    assert (record["env"], record["split"], record["data_source"]) == ("SQuAD2", "validation", "local")
    assert (tuned / "model" / "model.safetensors").exists()
    points = curves(tuned)
    losses = [value for _, value in points["losses/task_loss"]]
    assert len(losses) == len(points["charts/texts_per_second"]) == 30
    assert points["eval/f1"] == [(241, pytest.approx(record["f1"], rel=1e-6))]  # behind the last step
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


# -- stage 2 -----------------------------------------------------------------------------------------------------


def test_train_policy_takes_the_backbone_that_finetune_left(place: Any, tuned: Path, trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert str(config["facts"]["backbone"]).startswith(str(place.root / "cache"))
    assert config["facts"]["data_source"] == "local"
    assert config["options"]["total_texts"] == 120
    assert {"torch", "transformers", "python"} <= config["versions"].keys()
    assert not list((place.root / "trained").glob("SQuAD2/finetune*"))  # stage 1 did not run again
    full = {name: value for name, value in record_in(trained).items() if name.startswith("full_")}
    stage1 = record_in(tuned)
    assert {name: full[f"full_{name}"] for name in QUALITY} == {name: stage1[name] for name in QUALITY}


def test_train_policy_record(trained: Path) -> None:
    record = record_in(trained)
    assert record.keys() >= FACTS | QUALITY | {f"full_{name}" for name in QUALITY} | SAVINGS | CLOCK
    # The threshold that costs on training texts what the budget of 0.5 and 0.2 does.
    model = TokenReducedModel.from_pretrained(trained / "model")
    table = model.speed_table
    assert list(table.speedups) == sorted(table.speedups)
    assert table.threshold(record["flops_speedup"]) == pytest.approx(model.config.threshold, abs=0.05)
    assert record["flops_speedup"] > 1.2


def test_the_budget_can_be_had_exactly(in_process: Any, trained: Path) -> None:
    arguments = ["--model", str(trained / "model"), "--keep-fractions", "0.5", "0.2"]
    run(evaluate, EvaluateOptions, [*arguments, *in_process.common("exactly")])
    record = record_in(in_process.only_run("exactly"))
    # But for rounding in texts of about 25 tokens.
    assert record["kept_fraction_1"] == pytest.approx(0.5, abs=0.03)
    assert record["kept_fraction_2"] == pytest.approx(0.2, abs=0.03)


def test_train_policy_curves(trained: Path) -> None:
    points = curves(trained)
    steps = [4 * (update + 1) for update in range(30)]
    for key in (
        "charts/episodic_return",
        "charts/log_likelihood",
        "charts/kept_fraction_1",
        "charts/kept_fraction_2",
        "charts/flops_speedup",
        "charts/texts_per_second",
        "losses/policy_loss",
        "losses/entropy",
    ):
        assert [step for step, _ in points[key]] == steps, key
    record = record_in(trained)
    for key in QUALITY | SAVINGS | CLOCK:
        ((step, value),) = points[f"eval/{key}"]
        assert step == 121  # behind the last step: dropped and logged anew where the run is resumed
        assert value == pytest.approx(record[key], rel=1e-6), key


def test_a_text_is_shown_a_few_times(trained: Path) -> None:
    events = EventAccumulator(str(trained))
    events.Reload()
    shown = events.Tensors("sample/text/text_summary")
    assert [event.step for event in shown] == [0, 32, 60, 88, 120]
    for event in shown:
        text = event.tensor_proto.string_val[0].decode()
        assert text.count("**Reduction ") == 2
        assert text.count("**[CLS]**") == 2  # it goes on at each
        assert "\u0336" in text  # something is struck out


def test_the_model_loads_and_answers(trained: Path) -> None:
    model = TokenReducedModel.from_pretrained(trained / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(trained / "model")
    inputs = tokenizer(["Where did Anna move ?"], ["Anna moved to Bern last year ."], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    assert outputs.start_logits.shape == inputs["input_ids"].shape
    assert bool(outputs.start_logits.isfinite().all())
    assert model.config.trained_fractions == [0.5, 0.2]


def test_an_untuned_backbone_is_tuned_first_and_said_so(in_process: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The preset's schedule on a backbone of another name, so that nothing is found in the cache."""
    other = in_process.root / "other"
    shutil.copytree(in_process.pretrained, other)
    sizes = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2"]
    run(train_policy, TrainPolicyOptions, ["--backbone", str(other), *in_process.common("untuned"), *sizes])
    assert "stage 1 runs first" in " ".join(capsys.readouterr().err.split())
    assert len(list((in_process.root / "untuned" / "SQuAD2").iterdir())) == 2
    policy = in_process.only_run("untuned", "policy-*")
    assert (policy / "metrics.json").exists()


# -- evaluation --------------------------------------------------------------------------------------------------


def test_evaluate_gives_what_training_ended_with(place: Any, trained: Path) -> None:
    place.command("evaluate", "--model", str(trained), *place.common("again"), anew=True)
    again, record = record_in(place.only_run("again")), record_in(trained)
    assert again.keys() >= FACTS | QUALITY | {f"full_{name}" for name in QUALITY} | SAVINGS | CLOCK
    for name in QUALITY | SAVINGS | {f"full_{name}" for name in QUALITY}:
        assert again[name] == pytest.approx(record[name], abs=1e-6), name


def test_a_threshold_keeps_what_it_admits(in_process: Any, trained: Path) -> None:
    for threshold, check in ((0.0, lambda kept: kept == 1.0), (1.0, lambda kept: kept < 0.1)):
        output = f"threshold-{threshold}"
        arguments = ["--model", str(trained / "model"), "--threshold", str(threshold)]
        run(evaluate, EvaluateOptions, [*arguments, *in_process.common(output)])
        record = record_in(in_process.only_run(output))
        assert check(record["kept_fraction_1"]), threshold
        assert check(record["kept_fraction_2"]), threshold
        if threshold == 0.0:  # keep-all, and the policy on top of it
            assert {name: record[name] for name in QUALITY} == {name: record[f"full_{name}"] for name in QUALITY}
            assert 0.7 < record["flops_speedup"] < 1.0


def test_keep_all_gives_the_figures_of_the_plain_transformers_forward(in_process: Any, tuned: Path) -> None:
    backbone = ["--backbone", str(tuned / "model"), *in_process.common("stock"), "--dtype", "float32"]
    run(evaluate, EvaluateOptions, ["--agent", "stock", *backbone])
    record = record_in(in_process.only_run("stock"))
    assert record["agent"] == "stock"
    assert record["flops_speedup"] == 1.0
    for name in QUALITY:
        assert record[name] == record[f"full_{name}"]
    assert record["log_likelihood"] == pytest.approx(record["full_log_likelihood"], abs=1e-5)


def test_evaluate_on_the_training_split(in_process: Any, trained: Path) -> None:
    arguments = ["--model", str(trained), "--split", "train", "--max-eval-texts", "8", "--no-clock"]
    run(evaluate, EvaluateOptions, [*arguments, *in_process.common("on-train")])
    record = record_in(in_process.only_run("on-train"))
    assert (record["split"], record["num_texts"]) == ("train", 8)
    assert not any(name.startswith(("wall_", "cpu_")) for name in record)
    assert record["loss_half_width"] > 0


def test_intervals_and_conditions_of_the_clock_are_recorded(trained: Path) -> None:
    record = record_in(trained)
    for name in ("wall_speedup_stock", "wall_speedup_packed", "cpu_speedup_stock", "cpu_speedup_packed"):
        assert record[f"{name}_least"] <= record[name] <= record[f"{name}_most"]
    assert record["flops_speedup_half_width"] > 0
    assert record["processors"] == os.cpu_count()


def test_no_clock_goes_with_a_model(in_process: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(evaluate, EvaluateOptions, ["--agent", "stock", "--no-clock", *in_process.common("no-clock")])
    assert "--agent reads no clock: leave --no-clock out" in capsys.readouterr().err


@pytest.mark.parametrize("agent", ["random", "attention", "residual"])
def test_a_heuristic_at_equal_flops(agent: str, in_process: Any, trained: Path) -> None:
    backbone = ["--backbone", str(in_process.pretrained)]
    arguments = ["--agent", agent, "--match", str(trained), *backbone, *in_process.common(f"matched-{agent}")]
    run(evaluate, EvaluateOptions, arguments)
    record, wanted = record_in(in_process.only_run(f"matched-{agent}")), record_in(trained)
    assert record["flops_speedup"] == pytest.approx(wanted["flops_speedup"], rel=0.03)
    assert record.keys() >= FACTS | QUALITY | SAVINGS
    for name in QUALITY:
        assert record[f"full_{name}"] == pytest.approx(wanted[f"full_{name}"], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--env", "SQuAD"], "--match is a run on SQuAD2, and --env is SQuAD: leave --env out"),
        (
            ["--max-length", "48"],
            "--match read its texts with max_tokens 384 and not 48, stride 128 and not 16, max_question_tokens 64 "
            "and not 24: give --max-length and",
        ),
    ],
)
def test_a_heuristic_is_matched_on_the_texts_of_the_run(
    options: list[str], told: str, in_process: Any, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = EvaluateOptions(agent="random", match=trained).defaults().data
    assert (given.env, given.data_dir) == ("SQuAD2", in_process.data)
    arguments = ["--agent", "random", "--match", str(trained), "--backbone", str(in_process.pretrained), *options]
    with pytest.raises(SystemExit):
        run(evaluate, EvaluateOptions, [*arguments, *in_process.common("not-matched")])
    assert told in capsys.readouterr().err


def test_a_heuristic_takes_the_measured_cuts_of_the_run_that_it_matches(
    in_process: Any, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["--backbone", str(in_process.pretrained)]
    late = LayerProbe((2.0, 2.0, 2.0, 0.0), prior=2.0)  # cuts before layers 2 and 4, not the encoder's own 2 and 3
    monkeypatch.setattr(runners.training.layers, "remembered_probe", lambda *_: late)
    sizes = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2", "--keep-fractions", "0.6", "0.3"]
    sizes += ["--policy-size", "1"]  # which costs next to nothing
    run(train_policy, TrainPolicyOptions, [*common, *sizes, *in_process.common("auto")])
    matched = in_process.only_run("auto")
    config = json.loads((matched / "config.json").read_text())
    assert (config["options"]["reduction_layers"], config["facts"]["reduction_layers"]) == ("auto", [2, 4])

    def measured_again(*_: Any) -> Any:
        pytest.fail("the cuts were measured, not taken from the run")

    asked: dict[str, Any] = {}

    def noted(agent: str, fractions: Any, workload: Any, dtype: Any, device: Any, layers: Any, *rest: Any) -> Any:
        asked.update(layers=layers, fractions=fractions)
        return evaluate_heuristic(agent, fractions, workload, dtype, device, layers, *rest)

    monkeypatch.setattr(runners.training.layers, "remembered_probe", measured_again)
    monkeypatch.setattr(runners.evaluate, "evaluate_heuristic", noted)
    arguments = ["--agent", "random", "--match", str(matched), *common, *in_process.common("auto-matched")]
    run(evaluate, EvaluateOptions, arguments)
    record, wanted = record_in(in_process.only_run("auto-matched")), record_in(matched)
    assert asked["layers"] == (2, 4)
    kept = [wanted["kept_fraction_1"], wanted["kept_fraction_2"]]
    factors = [asked_for / run_kept for asked_for, run_kept in zip(asked["fractions"], kept, strict=True)]
    assert factors[0] == pytest.approx(factors[1], rel=1e-6)
    assert factors[0] == pytest.approx(1.0, abs=0.15)  # no policy runs, so a little more is kept
    # Whole tokens are kept: one more of every short text moves the speed-up by some per cent.
    assert record["flops_speedup"] == pytest.approx(wanted["flops_speedup"], rel=0.05)
    # A run that records no cuts has those of the model that it evaluated.
    run(evaluate, EvaluateOptions, ["--model", str(matched), "--no-clock", *in_process.common("auto-evaluated")])
    arguments = ["--match", str(in_process.only_run("auto-evaluated")), *common, *in_process.common("auto-again")]
    asked.clear()
    run(evaluate, EvaluateOptions, ["--agent", "random", *arguments])
    assert asked["layers"] == (2, 4)


def test_keep_all_is_the_full_model(in_process: Any, tuned: Path) -> None:
    backbone = ["--backbone", str(in_process.pretrained)]
    run(evaluate, EvaluateOptions, ["--agent", "keep-all", *backbone, *in_process.common("keep-all")])
    record = record_in(in_process.only_run("keep-all"))
    assert record["flops_speedup"] == 1.0
    assert {name: record[name] for name in QUALITY} == {name: record_in(tuned)[name] for name in QUALITY}


# -- benchmark ---------------------------------------------------------------------------------------------------


def test_benchmark(place: Any, trained: Path) -> None:
    sizes = ["--num-texts", "16", "--batch-size", "4", "--rounds", "2"]
    out = place.command("benchmark", "--backbone", str(place.pretrained), *place.common("clock"), *sizes, anew=True)
    record = record_in(place.only_run("clock"))
    ratios = {"wall_speedup_stock", "wall_speedup_packed", "training_speedup", "joint_over_finetuning"}
    ratios |= {"sb3_over_native", "sb3_buffer_megabytes_float16"}
    assert record.keys() >= ratios | {"flops_speedup", "outside_layers_share", "training_texts_per_second"}
    assert all(record[name] > 0 for name in ratios)
    assert 0 < record["outside_layers_share"] < 1
    assert 0 < record["packed_outside_layers_share"] < 1
    assert record["wall_speedup_stock"] == pytest.approx(record["stock_seconds"] / record["reduced_seconds"])
    assert record["sb3_over_native"] == pytest.approx(
        record["sb3_seconds_per_step"] / record["native_seconds_per_step"]
    )
    assert 0.5 < record["sb3_buffer_megabytes_float16"] / record["sb3_buffer_megabytes_float32"] < 0.8  # states halve
    assert record["joint_over_finetuning"] == pytest.approx(record["joint_seconds"] / record["finetuning_seconds"])
    assert "metrics.json" in out


def test_benchmark_of_a_model(in_process: Any, trained: Path) -> None:
    sizes = ["--num-texts", "12", "--rounds", "1", "--no-training"]
    run(benchmark, BenchmarkOptions, ["--model", str(trained), *in_process.common("clock-model"), *sizes])
    record = record_in(in_process.only_run("clock-model"))
    # All texts, so the very figure that training ended with.
    assert record["flops_speedup"] == pytest.approx(record_in(trained)["flops_speedup"], rel=1e-6)
    assert "training_speedup" not in record


@pytest.mark.parametrize("job", [(evaluate, EvaluateOptions), (benchmark, BenchmarkOptions)])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--backbone", "elsewhere"], "--backbone has no meaning here: --model has its own encoder"),
        (["--env", "SQuAD"], "--env is SQuAD, but the model was trained for SQuAD2"),
    ],
)
def test_what_a_model_settles_is_refused(
    job: Any, options: list[str], named: str, in_process: Any, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*job, ["--model", str(trained), *in_process.common("settled"), *options])
    assert caught.value.code == 2
    assert named in capsys.readouterr().err
    assert not (in_process.root / "settled").exists()


@pytest.mark.parametrize(
    ("job", "speed", "cuts"),
    [
        ("train_policy", ["--target-speedup", "1.3"], [2, 4]),
        ("train_policy", ["--target-speedup", "2.6"], [1.5, 3.5]),
        ("joint_finetune", ["--target-speedup", "2.6"], [1.5, 3.5]),
        ("joint_finetune", ["--speedup-range", "1.2", "1.3"], [2, 4]),
        ("joint_finetune", ["--speedup-range", "1.2", "2.6"], [1.5, 3.5]),
    ],
)
def test_measured_cuts_serve_the_speed_that_is_asked_for(
    in_process: Any, tuned: Path, monkeypatch: pytest.MonkeyPatch, job: str, speed: list[str], cuts: list[float]
) -> None:
    main, options = {
        "train_policy": (train_policy, TrainPolicyOptions),
        "joint_finetune": (joint_finetune, JointFinetuneOptions),
    }[job]
    late = LayerProbe((2.0, 2.0, 2.0, 0.0), prior=2.0)
    monkeypatch.setattr(runners.training.layers, "remembered_probe", lambda *_: late)
    output = f"cuts-{job}{''.join(speed)}"
    sizes = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2", "--policy-size", "1"]
    more = ["--holdout-texts", "4"] if job == "joint_finetune" else []
    common = ["--backbone", str(tuned / "model"), *in_process.common(output)]
    run(main, options, [*common, *sizes, *more, *speed])
    found = json.loads((in_process.only_run(output) / "config.json").read_text())["facts"]["reduction_layers"]
    assert found == cuts
