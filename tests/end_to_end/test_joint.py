"""Stage 3 through the command line: from a policy's run, its control, its budgets, and going on after a kill."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoTokenizer, BertConfig, BertForQuestionAnswering

from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.joint_finetune import JointFinetuneOptions
from runners.joint_finetune import main as joint_finetune
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy
from runners.training.options import joint as stage3
from trbert_env.deploy.model import TokenReducedModel

SMALL = [
    *("--total-texts", "48", "--texts-per-step", "8", "--encoder-rate", "1e-3"),
    *("--holdout-texts", "8", "--watch", "2", "--checkpoint-every", "1"),
]
#: Of a run that skips tokens.
SAMPLES = ["--samples-per-text", "4"]


def record_in(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return record


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), purge_orphaned_data=True)
    events.Reload()
    return {key: [(event.step, event.value) for event in events.Scalars(key)] for key in events.Tags()["scalars"]}


@pytest.fixture(scope="module")
def policy(place: Any) -> Path:
    """A run of stage 2."""
    sizes = ["--total-texts", "32", "--texts-per-step", "4", "--samples-per-text", "4"]
    place.command("train_policy", "--backbone", str(place.fine_tuned), *place.common("policy"), *sizes)
    folder: Path = place.only_run("policy")
    return folder


@pytest.fixture
def joint(in_process: Any, policy: Path) -> Any:
    """Run stage 3 in this process: ``joint("folder", "--option", ...)``."""

    def start(output: str, *options: str, start: tuple[str, ...] = ("--policy", str(policy))) -> Path:
        small = SMALL if "--unreduced" in options else [*SMALL, *SAMPLES]
        run(joint_finetune, JointFinetuneOptions, [*start, *in_process.common(output), *small, *options])
        folder: Path = in_process.only_run(output, "joint-*")
        return folder

    return start


def test_what_a_run_leaves(joint: Any, policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = joint("joint")
    shown = capsys.readouterr()
    assert "8 of 24 training texts are withheld" in " ".join(shown.err.replace("│", " ").split())
    watched = [line for line in shown.out.splitlines() if line.startswith("held out, after ")]
    assert len(watched) == 3
    for line in watched:
        assert re.fullmatch(r"held out, after [\d,]+ texts: (\w+ -?\d+\.\d\d( {2}|$))+", line), line
    record = record_in(folder)
    stage2 = record_in(policy)
    assert {name: record[name] for name in stage2 if name.startswith("full_")} == {
        name: value for name, value in stage2.items() if name.startswith("full_")
    }
    assert record.keys() >= {"f1", "flops_speedup", "keep_all_f1", "wall_speedup_stock", "kept_fraction_2"}
    points = curves(folder)
    for key in (
        "losses/task_loss",
        "losses/distillation_loss",
        "losses/policy_loss",
        "charts/flops_speedup",
        "charts/learning_rate",
        "charts/episodic_return",
    ):
        assert [step for step, _ in points[key]] == [8, 16, 24, 32, 40, 48], key
    assert [step for step, _ in points["holdout/keep_all_f1"]] == [0, 24, 48]
    assert [step for step, _ in points["holdout/f1"]] == [0, 24, 48]
    # Everything that can be trained has moved: encoder, task head, policy and exit offsets.
    before, after = (load_file(path / "model" / "model.safetensors") for path in (policy, folder))
    for part in ("backbone.bert.embeddings.word", "backbone.bert.encoder.layer.3", "backbone.qa_outputs", "policy"):
        changed = [not before[name].equal(after[name]) for name in before if name.startswith(part)]
        assert any(changed), part
    assert not before["calibration.offsets"].equal(after["calibration.offsets"])


def test_the_number_of_texts_and_the_rate_are_settled_when_a_run_begins(
    in_process: Any, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume on a GPU, where the defaults are others, then finds them among the options."""
    monkeypatch.setitem(stage3.DEFAULT_TEXTS, "cpu", 16)
    monkeypatch.setitem(stage3.ENCODER_RATES, "cpu", 3e-4)
    run_options = [*(one for one in SMALL[2:] if one not in ("--encoder-rate", "1e-3")), *SAMPLES, "--watch", "0"]
    run(joint_finetune, JointFinetuneOptions, ["--policy", str(policy), *in_process.common("settled"), *run_options])
    folder = in_process.only_run("settled", "joint-*")
    options = json.loads((folder / "config.json").read_text())["options"]
    assert (options["total_texts"], options["encoder_rate"]) == (16, 3e-4)
    rates = [value for _, value in curves(folder)["charts/learning_rate"]]
    assert max(rates) == pytest.approx(3e-4)


def test_its_model_is_compared_with_the_encoder_that_it_began_with(joint: Any, in_process: Any) -> None:
    folder = joint("own")
    run(evaluate, EvaluateOptions, ["--model", str(folder), *in_process.common("own-evaluated")])
    again, record = record_in(in_process.only_run("own-evaluated")), record_in(folder)
    for name in ("f1", "flops_speedup", "log_likelihood"):
        assert again[name] == pytest.approx(record[name], abs=1e-5), name
        if name != "flops_speedup":
            assert again[f"full_{name}"] == pytest.approx(record[f"full_{name}"], abs=1e-5), name
            assert again[f"keep_all_{name}"] == pytest.approx(record[f"keep_all_{name}"], abs=1e-5), name
    assert record["full_log_likelihood"] != record["keep_all_log_likelihood"]
    for name in ("backbone", "encoder_fingerprint", "tokenizer_fingerprint", "texts_fingerprint"):
        assert again[name] == record[name], name


def test_an_original_that_is_gone_is_said_and_can_be_named(
    joint: Any, policy: Path, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = joint("moved")
    model = shutil.copytree(folder / "model", tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    assert Path(config["original_backbone"]) == (policy / "model").resolve()
    (model / "config.json").write_text(json.dumps(config | {"original_backbone": str(tmp_path / "gone")}))

    with pytest.warns(UserWarning, match="--original names its folder"):
        run(evaluate, EvaluateOptions, ["--model", str(model), *in_process.common("moved-alone")])
    alone, record = record_in(in_process.only_run("moved-alone")), record_in(folder)
    assert alone["full_log_likelihood"] == pytest.approx(record["keep_all_log_likelihood"], abs=1e-5)
    assert alone["backbone"].endswith(", joint")

    named = ["--original", str(in_process.fine_tuned)]
    run(evaluate, EvaluateOptions, ["--model", str(model), *named, *in_process.common("moved-named")])
    found = record_in(in_process.only_run("moved-named"))
    assert found["full_log_likelihood"] == pytest.approx(record["full_log_likelihood"], abs=1e-5)

    with pytest.raises(SystemExit) as caught:
        run(evaluate, EvaluateOptions, ["--model", str(model), "--original", str(folder), *in_process.common()])
    assert caught.value.code == 2
    assert "holds another encoder than training began with" in capsys.readouterr().err


def test_a_policy_can_be_trained_on_behind_it(joint: Any, in_process: Any) -> None:
    folder = joint("before")
    sizes = ["--total-texts", "16", "--texts-per-step", "4", "--samples-per-text", "4"]
    run(train_policy, TrainPolicyOptions, ["--policy", str(folder), *in_process.common("behind"), *sizes])
    behind = in_process.only_run("behind")
    first, second = (load_file(path / "model" / "model.safetensors") for path in (folder, behind))
    for name, values in first.items():
        same = values.equal(second[name])
        assert same if name.startswith("backbone") else not same or "prior" in name, name
    record, before = record_in(behind), record_in(folder)
    assert record["full_f1"] == before["keep_all_f1"]
    assert record["backbone"] == f"{before['backbone']}, joint"


def test_the_unreduced_control(joint: Any, policy: Path) -> None:
    folder = joint("control", "--unreduced")
    record = record_in(folder)
    assert record["kept_fraction_1"] == record["kept_fraction_2"] == 1.0
    assert record["f1"] == record["keep_all_f1"]
    assert {value for _, value in curves(folder)["charts/flops_speedup"]} == {1.0}  # no policy runs
    assert record["log_likelihood"] != record["full_log_likelihood"]  # it has learned something
    assert record["holdout_log_likelihood"] != record["log_likelihood"]
    assert record["holdout_log_likelihood"] == pytest.approx(curves(folder)["holdout/keep_all_log_likelihood"][-1][1])


def test_a_control_can_teach(joint: Any) -> None:
    control = joint("teacher", "--unreduced")
    folder = joint("taught", "--teacher", str(control), "--distillation", "1")
    losses = curves(folder)["losses/distillation_loss"]
    own = curves(joint("self-taught", "--distillation", "1"))["losses/distillation_loss"]
    assert losses[0][1] != own[0][1]


def test_without_stage_2(joint: Any, place: Any) -> None:
    folder = joint("alone", "--no-overlap", start=("--backbone", str(place.fine_tuned)))
    assert not TokenReducedModel.from_pretrained(folder / "model").config.weighted_overlap


def test_a_target_is_met(joint: Any) -> None:
    record = record_in(joint("target", "--target-speedup", "1.5"))
    assert record["flops_speedup"] == pytest.approx(1.5, rel=0.15)  # 12 texts of about 25 tokens


def test_a_multiplier_is_logged_once_bernoulli_begins(joint: Any) -> None:
    points = curves(joint("multiplier", "--target-speedup", "1.5", "--budgeted-share", "0.5"))
    assert [step for step, _ in points["charts/multiplier"]] == [32, 40, 48]


def test_the_papers_own_sampler(joint: Any) -> None:
    points = curves(joint("bernoulli", "--sampler", "bernoulli", "--length-penalty", "0.01"))
    assert len(points["losses/policy_loss"]) == 6


def test_behind_a_policy_without_a_budget_the_budget_is_what_it_keeps(
    joint: Any, in_process: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--total-texts", "16", "--texts-per-step", "4", "--samples-per-text", "4", "--sampler", "bernoulli"]
    given = ["--backbone", str(in_process.fine_tuned), *in_process.common("free-policy"), *small]
    run(train_policy, TrainPolicyOptions, [*given, "--length-penalty", "0.02"])
    policy = in_process.only_run("free-policy", "policy-*")
    kept = [record_in(policy)[f"kept_fraction_{number}"] for number in (1, 2)]
    folder = joint("behind-free-policy", start=("--policy", str(policy)))
    assert TokenReducedModel.from_pretrained(folder / "model").config.trained_fractions == pytest.approx(kept)
    again = joint("behind-free-model", start=("--policy", str(policy / "model")))
    assert TokenReducedModel.from_pretrained(again / "model").config.trained_fractions == pytest.approx(kept)
    capsys.readouterr()
    joint("beside-free-policy", "--unreduced", start=("--policy", str(policy)))
    assert "trained without a budget" not in capsys.readouterr().err
    aimed = joint("behind-free-policy-2", "--target-speedup", "1.5", start=("--policy", str(policy)))
    assert record_in(aimed)["flops_speedup"] == pytest.approx(1.5, rel=0.15)


def test_a_range_of_budgets(joint: Any) -> None:
    points = curves(folder := joint("range", "--speedup-range", "1.2", "1.9"))
    assert len({round(value, 2) for _, value in points["charts/flops_speedup"]}) > 2
    assert 1.1 < record_in(folder)["flops_speedup"] < 2.1  # 12 texts


def test_a_model_is_made_for_a_speed_of_the_range(joint: Any) -> None:
    """Its default shape is of another, which no update was trained at."""
    folder = joint("slow-range", "--speedup-range", "1.1", "1.2")
    assert record_in(folder)["flops_speedup"] == pytest.approx(1.2, rel=0.06)
    assert TokenReducedModel.from_pretrained(folder / "model").config.trained_fractions[0] > 0.6


def test_killed_and_resumed_is_the_same_bit_for_bit(place: Any, policy: Path, tmp_path: Path) -> None:
    options = ["--policy", str(policy), *SMALL, *SAMPLES, "--target-speedup", "1.5", "--budgeted-share", "0.5"]
    options[options.index("48")] = "640"  # so many that a busy machine sees the first checkpoints long before the last
    place.command("joint_finetune", *options, *place.common("joint-whole"))
    process = place.start("joint_finetune", *options, *place.common("joint-broken"))
    status, _ = place.stop(process, "joint-broken", 4)
    assert status == -signal.SIGKILL
    broken = place.only_run("joint-broken")
    assert not (broken / "model").exists()
    place.command("joint_finetune", "--resume", str(broken))
    whole = place.only_run("joint-whole")
    assert (broken / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    for key in ("losses/task_loss", "charts/episodic_return", "charts/multiplier", "holdout/f1"):
        assert curves(broken)[key] == curves(whole)[key], key


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--target-speedup", "1"], "--target-speedup is 1.0"),
        (["--target-speedup", "40"], "target speed-up 40.0 is out of reach"),
        (["--target-speedup", "2", "--length-penalty", "0"], "--length-penalty is 0"),
        (["--speedup-range", "3", "2"], "--speedup-range is 3.0 2.0"),
        (["--speedup-range", "1.5", "2", "--sampler", "bernoulli"], "--speedup-range draws budgets"),
        (["--distillation", "1.5"], "--distillation is 1.5"),
        (["--temperature", "0"], "--temperature is 0.0"),
        (["--accumulate", "3"], "must be a multiple of --accumulate 3"),
        (["--imitation-fraction", "0.2"], "no imitation in joint training"),
        (["--reduction-layers", "2", "3"], "leave --reduction-layers out"),
        (["--backbone", "elsewhere", "--no-overlap"], "leave --backbone --overlap out"),
        (["--exploration", "0", "1"], "--exploration is 0.0 1.0"),
        (["--unreduced", "--target-speedup", "2"], "--unreduced skips nothing"),
        (["--speedup-range", "1.2", "1.9", "--target-speedup", "2"], "leave one out"),
        (["--holdout-texts", "24"], "24 of 24 examples cannot be held out"),
        (["--teacher", "nowhere"], "'nowhere' could not be loaded"),
    ],
)
def test_bad_options(
    options: list[str], named: str, joint: Any, in_process: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        joint("failed", *options)
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert named in line
    assert not list((in_process.root / "failed").glob("*/*/*"))  # no work was begun


def test_figures_of_other_texts_are_refused_before_the_work(
    joint: Any, policy: Path, in_process: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        joint("other", "--max-eval-texts", "5", "--full-from", str(policy))
    assert "the earlier record has num_examples 12" in capsys.readouterr().err
    assert not list((in_process.root / "other").glob("*/*/*"))


def test_teachers_that_do_not_fit(joint: Any, data: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    folder = data.save_backbone(tmp_path / "teacher", BertForQuestionAnswering(config))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(SystemExit):
        joint("other-teacher", "--teacher", str(folder))
    assert "has another vocabulary" in capsys.readouterr().err
    config_file = folder / "config.json"
    config_file.write_text(config_file.read_text()[:-20])
    with pytest.raises(SystemExit):
        joint("other-teacher", "--teacher", str(folder))
    assert "is not valid JSON" in capsys.readouterr().err
