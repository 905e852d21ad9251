"""The flags of every runner: their names, the groups that they stand in, and their way to JSON and back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import tyro

from agents.registry import AGENTS
from runners import benchmark, compare, evaluate, finetune, joint_finetune, pilot, sweep, train_policy
from runners.cli.options import options_from_json, options_to_json
from runners.cli.run import run
from runners.training.policy import AlgorithmOptions

JOBS: dict[str, tuple[Any, Any]] = {
    "finetune": (finetune.main, finetune.FinetuneOptions),
    "train_policy": (train_policy.main, train_policy.TrainPolicyOptions),
    "joint_finetune": (joint_finetune.main, joint_finetune.JointFinetuneOptions),
    "evaluate": (evaluate.main, evaluate.EvaluateOptions),
    "benchmark": (benchmark.main, benchmark.BenchmarkOptions),
    "sweep": (sweep.main, sweep.SweepOptions),
    "compare": (compare.main, compare.CompareOptions),
    "pilot": (pilot.main, pilot.PilotOptions),
}
#: Without these evaluate says that something else is missing.
ALWAYS = {"evaluate": ["--agent", "keep-all"]}

#: Of every runner.
COMMON = (
    "env data-source data-dir max-train-texts max-eval-texts backbone reduction-layers device dtype seed output-dir "
    "skip-bad-records no-skip-bad-records split-seed task-options train-file validation-file dataset dataset-config "
    "columns label-kind validation-share"
)
#: Of one runner: people have scripts, so that a flag that is here stays.
OWN = {
    "finetune": ("resume epochs learning-rate batch-size dropout checkpoint-every"),
    "train_policy": (
        "policy target-speedup full-from resume agent agent-options baseline log-probability learning-rate "
        "sampler keep-fractions exploration budgeted-share budget-scope imitation-fraction policy-size overlap "
        "no-overlap initial-keep-probability max-gradient-norm total-texts texts-per-step samples-per-text "
        "length-penalty penalty penalty-rise cloning-texts calibration-rate checkpoint-every"
    ),
    "joint_finetune": (
        "policy unreduced no-unreduced target-speedup speedup-range full-from resume encoder-rate warmup "
        "distillation temperature policy-weight reward max-encoder-norm learning-rate sampler keep-fractions "
        "exploration budgeted-share budget-scope policy-size overlap no-overlap initial-keep-probability "
        "max-gradient-norm log-probability baseline teacher remember-teacher no-remember-teacher total-texts "
        "texts-per-step accumulate samples-per-text length-penalty penalty calibration-rate holdout-texts watch "
        "checkpoint-every"
    ),
    "evaluate": ("model agent keep-fractions match threshold speedup full-from original split"),
    "benchmark": ("model keep-fractions architecture batch-size num-texts rounds training no-training"),
    "sweep": (
        "speedups seeds stage heuristics one-model resume policy.agent policy.agent-options policy.baseline "
        "policy.log-probability policy.learning-rate policy.sampler policy.keep-fractions policy.exploration "
        "policy.budgeted-share policy.budget-scope policy.imitation-fraction policy.policy-size policy.overlap "
        "policy.no-overlap policy.initial-keep-probability policy.max-gradient-norm policy.total-texts "
        "policy.texts-per-step policy.samples-per-text policy.length-penalty policy.penalty policy.penalty-rise "
        "policy.cloning-texts policy.calibration-rate policy.checkpoint-every joint.encoder-rate joint.warmup "
        "joint.distillation joint.temperature joint.policy-weight joint.reward joint.max-encoder-norm "
        "joint.learning-rate joint.sampler joint.keep-fractions joint.exploration joint.budgeted-share "
        "joint.budget-scope joint.policy-size joint.overlap joint.no-overlap joint.initial-keep-probability "
        "joint.max-gradient-norm joint.log-probability joint.baseline joint.teacher joint.remember-teacher "
        "joint.no-remember-teacher joint.total-texts joint.texts-per-step joint.accumulate joint.samples-per-text "
        "joint.length-penalty joint.penalty joint.calibration-rate joint.holdout-texts joint.watch "
        "joint.checkpoint-every"
    ),
    "compare": (
        "agents seeds target-speedup agent-options resume policy.baseline policy.log-probability "
        "policy.learning-rate policy.sampler policy.keep-fractions policy.exploration policy.budgeted-share "
        "policy.budget-scope policy.imitation-fraction policy.policy-size policy.overlap policy.no-overlap "
        "policy.initial-keep-probability policy.max-gradient-norm policy.total-texts policy.texts-per-step "
        "policy.samples-per-text policy.length-penalty policy.penalty policy.penalty-rise policy.cloning-texts "
        "policy.calibration-rate policy.checkpoint-every"
    ),
    "pilot": ("after-layer proportions strategies"),
}
#: The titles of the groups in --help.
TITLES = {
    "finetune": "data encoder run training",
    "train_policy": "data encoder run algorithm agent training",
    "joint_finetune": "data encoder run joint agent training",
    "evaluate": "data encoder run",
    "benchmark": "data encoder run",
    "sweep": "data encoder run policy joint",
    "compare": "data encoder run policy",
    "pilot": "data encoder run",
}
#: A command line of many types of values.
LINES = {
    "finetune": "--epochs 2 --dropout 0.1 --data-dir x --max-train-texts 5 --resume runs/a",
    "train_policy": "--agent ppo --agent-options n_epochs=4 gae_lambda=0.5 --keep-fractions 0.5 0.2 --no-overlap",
    "joint_finetune": "--policy runs/a --speedup-range 1.5 3 --unreduced --remember-teacher --temperature 2 --seed 3",
    "evaluate": "--agent attention --keep-fractions 0.5 0.2 --split train --reduction-layers 2 4 --full-from runs/a",
    "benchmark": "--rounds 2 --no-training --architecture bert-base --dtype bfloat16",
    "sweep": "--speedups 1.5 2 --stage joint --policy.samples-per-text 4 --joint.teacher x --policy.baseline none",
    "compare": "--agents ppo random --agent-options ppo.n_epochs=4 --policy.exploration 0.5 0.1 --max-eval-texts 9",
    "pilot": "--after-layer 2 --proportions 0.5 0.2 --strategies random --device cpu",
}


def help_of(job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What --help shows, without the frames that it has on some terminals."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as caught:
        run(*JOBS[job], ["--help"])
    assert caught.value.code == 0
    return re.sub("[│─╭╮╰╯-]{3,}|[│╭╮╰╯]", " ", capsys.readouterr().out)


@pytest.mark.parametrize("job", JOBS)
def test_the_flags_of_a_runner(job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = help_of(job, capsys, monkeypatch)
    # A line of the help opens with its flag; a switch has two.
    found = re.findall(r"^ {2,3}(?:-h, )?--([a-z0-9.-]+)(?:, --([a-z0-9.-]+))?", shown, re.MULTILINE)
    flags = [flag for pair in found for flag in pair if flag and flag != "help"]
    assert sorted(flags) == sorted([*COMMON.split(), *OWN[job].split()])


@pytest.mark.parametrize("job", JOBS)
def test_every_group_has_a_title_and_says_what_it_is(
    job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = help_of(job, capsys, monkeypatch)
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    titles = [line.removesuffix(" options") for line in lines if re.fullmatch(r"\w+ options", line)]
    assert titles == TITLES[job].split()
    for title in titles:
        assert re.fullmatch(r"[A-Z].*\.", lines[lines.index(f"{title} options") + 1])
    assert shown.count("None: ") == 0  # no help text that contradicts its option


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("given", [False, True])
def test_options_through_json_and_back(job: str, given: bool) -> None:
    line = LINES[job].split() if given else ALWAYS.get(job, [])
    kind = JOBS[job][1]
    options = tyro.cli(kind, args=line)
    values = json.loads(json.dumps(options_to_json(options)))
    assert set(values) >= {flag.replace("-", "_") for flag in COMMON.split() if not flag.startswith("no-")}
    if job == "joint_finetune" and given:  # --unreduced with a range is refused, whoever gives it
        with pytest.raises(Exception, match="--unreduced skips nothing"):
            options_from_json(kind, values)
        values["unreduced"] = False
        options = tyro.cli(kind, args=[word for word in line if word != "--unreduced"])
    assert options_from_json(kind, values) == options


def refused(job: str, line: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*JOBS[job], [*ALWAYS.get(job, []), *line.split()])
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("job", "line", "named"),
    [
        ("train_policy", "--agent ppo --baseline mean", "--baseline is of --agent reinforce; ppo has its own"),
        ("train_policy", "--agent rloo --baseline none", "--baseline is of --agent reinforce; rloo has its own"),
        ("train_policy", "--agent a2c --log-probability mean", "--log-probability is of --agent reinforce, rloo, grpo"),
        ("train_policy", "--agent json:loads --baseline none", "--baseline is of --agent reinforce; json:loads"),
        ("train_policy", "--agent rloo --agent-options baseline=none", "agent 'rloo' has no option 'baseline'"),
        ("train_policy", "--agent ppo --agent-options log_probability=sum", "agent 'ppo' has no option"),
        ("train_policy", "--agent-options baseline=most", "is 'most': give 'mean' or 'leave-one-out' or 'none'"),
        ("train_policy", "--baseline none --agent-options baseline=mean", "say the same: leave one out"),
        ("train_policy", "--agent examples.linear_agent:LinearAgent --sampler bernoulli", "knows no --sampler"),
        ("compare", "--agents grpo ppo --policy.log-probability mean", "--log-probability is of --agent"),
        ("compare", "--policy.agent-options clip=0.1", "use --agents, --agent-options"),
        ("joint_finetune", "--imitation-fraction 0.2", "there is no imitation in joint training"),
        ("sweep", "--joint.imitation-fraction 0.2", "there is no imitation in joint training"),
        ("sweep", "--joint.total-texts 5", "--stage policy has no stage 3"),
        ("finetune", "--reduction-layers 2 3", "--reduction-layers has no meaning here"),
        ("evaluate", "--max-train-texts 5", "--max-train-texts has no meaning here"),
        ("benchmark", "--max-eval-texts 5", "--max-eval-texts has no meaning here: give --num-texts"),
        ("pilot", "--max-train-texts 5", "--max-train-texts has no meaning here"),
    ],
)
def test_an_option_that_is_not_had_is_refused(
    job: str, line: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refused(job, line, capsys)


@pytest.mark.parametrize("form", ["mean", "leave-one-out", "none"])
def test_the_baseline_by_its_flag_and_by_name(form: Any) -> None:
    for options in (AlgorithmOptions(baseline=form), AlgorithmOptions(agent_options=(f"baseline={form}",))):
        assert options.own_options() == {"baseline": form}


@pytest.mark.parametrize("agent", AGENTS)
def test_an_algorithm_is_told_no_more_than_was_given(agent: str) -> None:
    assert AlgorithmOptions(agent).own_options() == {}
