"""Bad input: one line that names the value and the fix, exit status 2, and no work begun."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForQuestionAnswering,
    BertForQuestionAnswering,
    GPT2Config,
    GPT2LMHeadModel,
)

from agents.reinforce import Reinforce
from runners.benchmark import BenchmarkOptions
from runners.benchmark import main as benchmark
from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.finetune import FinetuneOptions, Finetuner
from runners.finetune import main as finetune
from runners.joint_finetune import JointFinetuneOptions
from runners.joint_finetune import main as joint_finetune
from runners.runs.run_folder import RunFolder
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy
from trbert_env.envs.make import make_vector_env
from trbert_env.envs.vector_env import TokenReductionVectorEnv

JOBS: dict[str, tuple[Any, Any]] = {
    "benchmark": (benchmark, BenchmarkOptions),
    "evaluate": (evaluate, EvaluateOptions),
    "finetune": (finetune, FinetuneOptions),
    "joint_finetune": (joint_finetune, JointFinetuneOptions),
    "train_policy": (train_policy, TrainPolicyOptions),
}
HEURISTIC = ["--agent", "random", "--keep-fractions", "0.6", "0.3"]
OWN_OPTIONS = {"evaluate": HEURISTIC, "joint_finetune": ["--holdout-texts", "4"]}

Fail = Callable[..., str]


@pytest.fixture
def fail(in_process: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Run a job that must fail before any step of learning; its one line."""

    def no_work(*_: Any, **__: Any) -> Any:
        pytest.fail("work began before the error")

    monkeypatch.setattr(Reinforce, "learn", no_work)
    monkeypatch.setattr(Finetuner, "step", no_work)
    shutil.rmtree(in_process.root / "failed", ignore_errors=True)

    def one(job: str, *arguments: str) -> str:
        main, options = JOBS[job]
        capsys.readouterr()
        # What is given last counts.
        common = [*in_process.common("failed"), "--backbone", str(in_process.fine_tuned)]
        with pytest.raises(SystemExit) as caught:
            run(main, options, [*common, *OWN_OPTIONS.get(job, []), *arguments])
        err = capsys.readouterr().err
        last = err.splitlines()[-1]
        assert caught.value.code == 2, err
        assert last.startswith("error: "), err
        assert "Traceback" not in err
        assert len(last) < 600, last
        return last

    return one


EVERY_JOB = pytest.mark.parametrize("job", sorted(JOBS))
TRAINERS = pytest.mark.parametrize("job", ["finetune", "train_policy"])


@EVERY_JOB
def test_unknown_env(job: str, fail: Fail) -> None:
    line = fail(job, "--env", "SQAD2")
    assert "'SQAD2'" in line
    assert "did you mean 'SQuAD2'?" in line


@EVERY_JOB
def test_missing_data_folder(job: str, fail: Fail, tmp_path: Path) -> None:
    line = fail(job, "--data-dir", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in line
    assert "--data-dir" in line


@EVERY_JOB
def test_empty_data_folder(job: str, fail: Fail, tmp_path: Path) -> None:
    line = fail(job, "--data-dir", str(tmp_path))
    assert str(tmp_path) in line
    assert "parquet" in line


@EVERY_JOB
def test_parquet_without_the_columns(job: str, fail: Fail, tmp_path: Path) -> None:
    table = pa.table({"id": ["a"], "context": ["Anna moved to Bern ."]})
    for split in ("train", "validation"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    line = fail(job, "--data-dir", str(tmp_path))
    assert "lacks the columns question, answers" in line


@TRAINERS
@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_answer_that_does_not_fit(job: str, split: str, fail: Fail, tmp_path: Path, data: Any) -> None:
    wrong = data.rows(split, 5)
    wrong[3] = {**wrong[1], "id": "the-wrong-one", "answers": {"text": ["Bern"], "answer_start": [2]}}
    line = fail(job, "--data-dir", str(data.write(tmp_path / "data", **{split: wrong})))
    assert "'the-wrong-one'" in line
    assert "answer_start" in line


@TRAINERS
def test_a_missing_validation_split(job: str, fail: Fail, tmp_path: Path, data: Any) -> None:
    """Found out before hours of training, not after them."""
    folder = data.write(tmp_path / "data")
    (folder / "squad_v2" / "validation.parquet").unlink()
    line = fail(job, "--data-dir", str(folder))
    assert "validation.parquet" in line


def test_an_answer_that_does_not_fit_in_evaluation(fail: Fail, tmp_path: Path, data: Any) -> None:
    wrong = [{**data.rows("validation", 1)[0], "answers": {"text": ["Aden"], "answer_start": [0]}}]
    line = fail("evaluate", "--data-dir", str(data.write(tmp_path / "data", validation=wrong)))
    assert "'validation-0'" in line


def test_an_empty_question(fail: Fail, tmp_path: Path, data: Any) -> None:
    wrong = [{**data.rows("train", 1)[0], "question": "  "}]
    line = fail("train_policy", "--data-dir", str(data.write(tmp_path / "data", train=wrong)))
    assert "'train-0' has an empty question" in line


@EVERY_JOB
@pytest.mark.parametrize("family", ["albert", "gpt2"])
def test_unsupported_family(job: str, family: str, fail: Fail, tmp_path: Path, data: Any) -> None:
    if family == "albert":
        sizes = {"embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
        model: Any = AlbertForQuestionAnswering(AlbertConfig(vocab_size=200, **sizes))
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=200, n_embd=32, n_layer=2, n_head=2))
    line = fail(job, "--backbone", str(data.save_backbone(tmp_path / family, model)))
    assert f"'{family}'" in line
    assert "bert, camembert, deberta-v2, distilbert, electra, modernbert, mpnet, roberta, xlm-roberta" in line


@EVERY_JOB
def test_no_such_backbone(job: str, fail: Fail, tmp_path: Path) -> None:
    line = fail(job, "--backbone", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in line


@pytest.mark.parametrize("job", ["benchmark", "evaluate", "train_policy"])
def test_a_reduction_layer_beyond_the_depth(job: str, fail: Fail) -> None:
    line = fail(job, "--reduction-layers", "2", "5")
    assert "(2, 5)" in line
    assert "4 layers" in line


def test_a_reduction_layer_beyond_the_depth_before_stage_1(fail: Fail, in_process: Any) -> None:
    line = fail("train_policy", "--backbone", str(in_process.pretrained), "--reduction-layers", "2", "5")
    assert "4 layers" in line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--length-penalty", "-0.1"], "--length-penalty is -0.1; it must be at least 0"),
        (["--length-penalty", "nan"], "--length-penalty is nan; it must be at least 0"),
        (["--keep-fractions", "0.5"], "2 reductions"),
        (["--keep-fractions", "0.2", "0.5"], "--keep-fractions is 0.2 0.5; it must not rise"),
        (["--keep-fractions", "50", "20"], "--keep-fractions is 50.0 20.0; each must"),
        (["--samples-per-text", "0"], "--samples-per-text is 0"),
        (["--initial-keep-probability", "1"], "--initial-keep-probability is 1.0"),
        (["--imitation-fraction", "20"], "--imitation-fraction is 20.0"),
        (["--budgeted-share", "-1"], "--budgeted-share is -1.0"),
        (["--penalty-rise", "20"], "--penalty-rise is 20.0"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0"),
        (["--policy-size", "0"], "--policy-size is 0"),
        (["--total-texts", "0"], "--total-texts is 0"),
        (["--exploration", "0.5", "0"], "--exploration is 0.5 0.0; each must be above 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--agent", "reinforced"], "did you mean 'reinforce'?"),
        (["--agent", "ppo3"], "did you mean 'ppo'?"),
        (["--agent", "sarsa"], "use one of reinforce, rloo, grpo, ppo, a2c"),
        (["--agent", "ppo", "--budget-scope", "batch"], "budget_scope 'batch'"),
        (["--agent", "ppo", "--baseline", "none"], "--baseline is of --agent reinforce"),
        (["--agent", "ppo", "--agent-options", "learning_rate=1"], "no option 'learning_rate' of its own"),
        (["--agent", "grpo", "--agent-options", "clip"], "--agent-options has 'clip'"),
        (["--agent", "grpo", "--agent-options", "klip=1"], "has no option 'klip'"),
        (["--agent", "grpo", "--agent-options", "clip=wide"], "give float"),
        (["--agent", "grpo", "--agent-options", "clip=2"], "option 'clip' of agent 'grpo' is 2"),
        (["--target-speedup", "0.5"], "--target-speedup is 0.5"),
        (["--target-speedup", "2", "--penalty-rise", "0.5"], "--penalty-rise has no meaning"),
        (["--cloning-scores", "attention"], "--cloning-texts is 0, so nothing is cloned: leave --cloning-scores out"),
        (["--reduction-layers", "2.25"], "2 is before layer 2, 1.5 within layer 1"),
    ],
)
def test_options_of_train_policy(arguments: list[str], named: str, fail: Fail, in_process: Any) -> None:
    """On a backbone that stage 1 would be run for: not even that may begin."""
    assert named in fail("train_policy", "--backbone", str(in_process.pretrained), *arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--threshold", "2"], "--threshold"),
        (["--keep-fractions", "0.2", "0.5"], "--keep-fractions is 0.2 0.5; it must not rise"),
        (["--match", "runs/none"], "--match"),
        (["--threshold", "0.5"], "--threshold goes with --model"),
    ],
)
def test_options_of_evaluate(arguments: list[str], named: str, fail: Fail) -> None:
    assert named in fail("evaluate", *arguments)


@pytest.mark.parametrize("job", ["benchmark", "evaluate"])
def test_a_model_that_is_none(job: str, fail: Fail, in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone is not a token-reduced model: random weights must not be evaluated in its place."""
    monkeypatch.setitem(OWN_OPTIONS, "evaluate", [])
    line = fail(job, "--model", str(in_process.fine_tuned))
    assert str(in_process.fine_tuned) in line
    assert "model" in line


@TRAINERS
def test_what_cannot_be_resumed(job: str, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main, options = JOBS[job]

    def line(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            run(main, options, list(arguments))
        assert caught.value.code == 2
        return capsys.readouterr().err

    assert f"error: there is no run folder {tmp_path / 'none'}" in line("--resume", str(tmp_path / "none"))
    assert "has no config.json" in line("--resume", str(tmp_path))
    started = RunFolder(tmp_path)
    started.write_config(options())
    assert "the run wrote none; start a new run" in line("--resume", str(tmp_path))
    assert "leave out --seed" in line("--resume", str(tmp_path), "--seed", "4")
    other = "finetune" if job == "train_policy" else "train_policy"
    started.write_config(JOBS[other][1]())
    assert "they come from another runner" in line("--resume", str(tmp_path))


def test_a_failed_run_leaves_no_folder(fail: Fail, in_process: Any, tmp_path: Path) -> None:
    for job in ("finetune", "train_policy"):
        fail(job, "--env", "SQAD2")
        fail(job, "--data-dir", str(tmp_path))
    assert not list((in_process.root / "failed").glob("*/*/*"))


def test_as_a_command(place: Any) -> None:
    process = place.start("train_policy", *place.common(), "--env", "SQuAD", "--backbone", str(place.fine_tuned))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: unknown environment name 'SQuAD'; did you mean 'SQuAD2'?")


# -- in Python ---------------------------------------------------------------------------------------------------


@pytest.fixture
def env(in_process: Any) -> TokenReductionVectorEnv:
    env = make_vector_env(
        "SQuAD2", num_envs=2, data_dir=str(in_process.data), backbone=str(in_process.fine_tuned), max_examples=4
    )
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("action", "named"),
    [
        (np.ones((2, 383), dtype=np.int8), r"\(2, 383\): give \(2, 384\)"),
        (np.ones(384, dtype=np.int8), r"\(384,\): give \(2, 384\)"),
        (torch.ones(2, 384, 1), r"\(2, 384, 1\): give \(2, 384\)"),
        (np.full((2, 384), 2), "action 2 in row 0, token 0"),
        (np.full((2, 384), -1), "action -1 in row 0"),
        (np.full((2, 384), 0.5), "action 0.5 in row 0"),
        (torch.full((2, 384), torch.nan), "action nan in row 0"),
        (np.full((2, 384), "1"), "not numbers"),
    ],
)
def test_wrong_actions(action: Any, named: str, env: TokenReductionVectorEnv) -> None:
    with pytest.raises(ValueError, match=named):
        env.step(action)
    # Nothing has moved: the episode goes on with a right one.
    observation, *_ = env.step(np.ones((2, 384), dtype=np.int8))
    assert observation["reduction"].tolist() == [1, 1]


def test_backbone_without_a_head_warns(in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path))  # another test may have fine-tuned it
    with pytest.warns(UserWarning, match="not fine-tuned"):
        make_vector_env("SQuAD2", data_dir=str(in_process.data), backbone=str(in_process.pretrained), max_examples=4)


def test_saved_backbone_is_what_is_loaded(in_process: Any) -> None:
    saved = BertForQuestionAnswering.from_pretrained(in_process.fine_tuned)
    env = make_vector_env("SQuAD2", data_dir=str(in_process.data), backbone=str(in_process.fine_tuned), max_examples=4)
    loaded = env.workload.backbone.model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in saved.state_dict().items())


@pytest.mark.parametrize(
    ("job", "options"),
    [
        ("finetune", ["--backbone", "PRETRAINED"]),
        ("train_policy", ["--backbone", "PRETRAINED"]),  # stage 1 runs first
        ("joint_finetune", ["--remember-teacher"]),
    ],
)
def test_a_cache_that_cannot_be_written_is_found_before_the_work(
    job: str, options: list[str], fail: Fail, in_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "file" / "cache"))
    line = fail(job, *[str(in_process.pretrained) if word == "PRETRAINED" else word for word in options])
    assert "set TRBERT_CACHE" in line
    assert not (in_process.root / "failed").exists()
