"""The flags of every runner: their names, the groups that they stand in, and their way to JSON and back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from agents.registry import AGENTS
from runners import (
    benchmark,
    benchmark_export,
    compare,
    evaluate,
    export,
    finetune,
    fit_ranker,
    joint_finetune,
    make_faster,
    pilot,
    pretrain,
    probe,
    sweep,
    train_baseline,
    train_policy,
)
from runners.cli.flags import check_options, options_from_json, options_to_json
from runners.cli.run import read_options, run
from runners.training.options.policy import AlgorithmOptions

JOBS: dict[str, tuple[Any, Any]] = {
    "pretrain": (pretrain.main, pretrain.PretrainOptions),
    "finetune": (finetune.main, finetune.FinetuneOptions),
    "train_policy": (train_policy.main, train_policy.TrainPolicyOptions),
    "joint_finetune": (joint_finetune.main, joint_finetune.JointFinetuneOptions),
    "train_baseline": (train_baseline.main, train_baseline.TrainBaselineOptions),
    "evaluate": (evaluate.main, evaluate.EvaluateOptions),
    "benchmark": (benchmark.main, benchmark.BenchmarkOptions),
    "benchmark_export": (benchmark_export.main, benchmark_export.BenchmarkExportOptions),
    "export": (export.main, export.ExportOptions),
    "sweep": (sweep.main, sweep.SweepOptions),
    "make_faster": (make_faster.main, make_faster.MakeFasterOptions),
    "compare": (compare.main, compare.CompareOptions),
    "fit_ranker": (fit_ranker.main, fit_ranker.FitRankerOptions),
    "pilot": (pilot.main, pilot.PilotOptions),
    "probe": (probe.main, probe.ProbeOptions),
}
#: Without these evaluate says that something else is missing.
ALWAYS = {
    "evaluate": ["--agent", "keep-all"],
    "pretrain": ["--train-file", "x"],
    "make_faster": ["--model", "x", "--train-file", "x"],
    "export": ["--model", "x"],
    "benchmark_export": ["--model", "x"],
}

#: Of every runner that works on a task.
COMMON = (
    "env data-source data-dir max-train-texts max-eval-texts backbone reduction-layers device dtype seed output-dir "
    "skip-bad-records no-skip-bad-records split-seed reader-options task-options max-length train-file validation-file "
    "dataset dataset-config columns label-kind validation-share"
)
#: Of a runner that works on none, or whose encoder is its model, with cuts that are always measured.
WITHOUT_TASK = {
    "make_faster": COMMON.replace("backbone reduction-layers ", ""),
    "pretrain": "backbone max-length device dtype seed output-dir",
    "fit_ranker": "device dtype seed output-dir",
    **dict.fromkeys(("export", "benchmark_export"), COMMON.replace("backbone reduction-layers ", "")),
}
#: Of one runner: people have scripts, so that a flag that is here stays.
OWN = {
    "pretrain": (
        "resume train-file validation-file dataset dataset-config columns validation-share split-seed max-eval-texts "
        "skip-bad-records no-skip-bad-records total-steps total-texts texts-per-step accumulate learning-rate warmup "
        "watch checkpoint-every layers soft-target-weight mlm-weight cosine-weight temperature"
    ),
    "finetune": ("resume epochs learning-rate batch-size dropout checkpoint-every"),
    "train_policy": (
        "policy target-speedup full-from resume agent agent-options baseline log-probability learning-rate "
        "sampler keep-fractions exploration budgeted-share budget-scope imitation-fraction policy-size overlap "
        "no-overlap initial-keep-probability max-gradient-norm total-texts texts-per-step samples-per-text "
        "reward length-penalty penalty penalty-rise cloning-texts cloning-scores calibration-rate checkpoint-every "
        "unlabelled-file unlabelled-columns reward-temperature"
    ),
    "joint_finetune": (
        "policy unreduced no-unreduced target-speedup speedup-range full-from resume encoder-rate warmup "
        "distillation temperature states-weight policy-weight reward max-encoder-norm learning-rate sampler "
        "keep-fractions exploration budgeted-share budget-scope policy-size overlap no-overlap "
        "initial-keep-probability max-gradient-norm log-probability baseline teacher remember-teacher "
        "no-remember-teacher total-texts "
        "texts-per-step accumulate samples-per-text length-penalty penalty calibration-rate holdout-texts watch "
        "checkpoint-every"
    ),
    "evaluate": (
        "model agent keep-fractions match threshold speedup full-from original backend precision slices split clock "
        "no-clock"
    ),
    "benchmark": (
        "suite model keep-fractions architecture batch-size orders precisions backends opponents num-texts rounds "
        "threads calibration-texts lengths keep-all training no-training"
    ),
    "export": "model backend precision unreduced no-unreduced calibration-texts",
    "benchmark_export": "model backend precisions batch-sizes num-texts rounds threads calibration-texts",
    "sweep": (
        "speedups seeds stage heuristics one-model resume policy.agent policy.agent-options policy.baseline "
        "policy.log-probability policy.learning-rate policy.sampler policy.keep-fractions policy.exploration "
        "policy.budgeted-share policy.budget-scope policy.imitation-fraction policy.policy-size policy.overlap "
        "policy.no-overlap policy.initial-keep-probability policy.max-gradient-norm policy.total-texts "
        "policy.texts-per-step policy.samples-per-text policy.reward policy.length-penalty policy.penalty "
        "policy.penalty-rise policy.cloning-texts policy.cloning-scores policy.calibration-rate "
        "policy.checkpoint-every policy.unlabelled-file policy.unlabelled-columns policy.reward-temperature "
        "joint.encoder-rate joint.warmup joint.states-weight joint.distillation joint.temperature "
        "joint.policy-weight joint.reward joint.max-encoder-norm "
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
        "policy.samples-per-text policy.reward policy.length-penalty policy.penalty policy.penalty-rise "
        "policy.cloning-texts policy.cloning-scores policy.calibration-rate policy.checkpoint-every "
        "policy.unlabelled-file policy.unlabelled-columns policy.reward-temperature"
    ),
    "fit_ranker": ("questions passage-words data-source data-dir skip-bad-records no-skip-bad-records"),
    "train_baseline": (
        "system system-options layers target-speedup full-from resume encoder-rate warmup distillation temperature "
        "max-encoder-norm teacher remember-teacher no-remember-teacher total-texts texts-per-step holdout-texts watch "
        "checkpoint-every"
    ),
    "make_faster": ("model target-speedup max-loss minutes holdout-texts total-texts resume"),
    "pilot": "after-layer proportions resume strategies",
    "probe": "",
}
#: The titles of the groups in --help.
TITLES = {
    "fit_ranker": "run",
    "pretrain": "data encoder run training student",
    "finetune": "data encoder run training",
    "train_policy": "data encoder run algorithm agent training",
    "joint_finetune": "data encoder run joint agent training",
    "train_baseline": "data encoder run learning training",
    "evaluate": "data encoder run",
    "benchmark": "data encoder run",
    "benchmark_export": "data run",
    "export": "data run",
    "sweep": "data encoder run policy joint",
    "compare": "data encoder run policy",
    "make_faster": "data run",
    "pilot": "data encoder run",
    "probe": "data encoder run",
}
#: A command line of many types of values.
LINES = {
    "pretrain": "--train-file a.txt b --columns text=body --max-length 1024 --total-texts 64 --warmup 0.2",
    "finetune": "--epochs 2 --dropout 0.1 --data-dir x --max-train-texts 5 --resume runs/a",
    "train_policy": "--agent ppo --agent-options n_epochs=4 gae_lambda=0.5 --keep-fractions 0.5 0.2 --no-overlap",
    "joint_finetune": "--policy runs/a --speedup-range 1.5 3 --unreduced --remember-teacher --temperature 2 --seed 3",
    "train_baseline": "--system distilled --layers 1 3 --system-options states_weight=0.1 --temperature 2 --seed 3",
    "evaluate": "--agent attention --keep-fractions 0.5 0.2 --split train --reduction-layers 2 4 --full-from runs/a",
    "benchmark": "--rounds 2 --no-training --architecture bert-base --batch-size 1 8 --orders unsorted --threads 1",
    "export": "--model x --backend onnx --precision int8 --calibration-texts 7 --unreduced",
    "benchmark_export": "--model x --backend onnx --precisions float32 int8 --batch-sizes 1 8 --threads 2 --seed 3",
    "sweep": "--speedups 1.5 2 --stage joint --policy.samples-per-text 4 --joint.teacher x --policy.baseline none",
    "compare": "--agents ppo random --agent-options ppo.n_epochs=4 --policy.exploration 0.5 0.1 --max-eval-texts 9",
    "fit_ranker": "--questions 50 --passage-words 20 --data-dir x --seed 3",
    "make_faster": "--model x --env IMDB --max-loss 0.5 --target-speedup 3 --minutes 30 --holdout-texts 900 --seed 3",
    "pilot": "--after-layer 2 --proportions 0.5 0.2 --strategies random --device cpu",
    "probe": "--backbone x --device cpu --skip-bad-records",
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
    assert sorted(flags) == sorted([*WITHOUT_TASK.get(job, COMMON).split(), *OWN[job].split()])


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
    options = read_options(kind, line)
    values = json.loads(json.dumps(options_to_json(options)))
    common = WITHOUT_TASK.get(job, COMMON).split()
    assert set(values) >= {flag.replace("-", "_") for flag in common if not flag.startswith("no-")}
    if job == "joint_finetune" and given:  # --unreduced with a range is refused, whoever gives it
        with pytest.raises(Exception, match="--unreduced skips nothing"):
            options_from_json(kind, values)
        values["unreduced"] = False
        options = read_options(kind, [word for word in line if word != "--unreduced"])
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
        ("benchmark", "--precisions float32 --dtype bfloat16", "names the number formats: leave --dtype out"),
        ("benchmark", "--precisions int8", "--precisions int8: no runtime of --backends has it"),
        ("benchmark", "--calibration-texts 5", "only --precisions int8 fits scales: leave --calibration-texts out"),
        ("benchmark_export", "--model x --precisions float32 --calibration-texts 5", "only --precisions int8 fits"),
        (
            "benchmark_export",
            "--model x --precisions float32 float32",
            "--precisions is float32 float32; it must name none twice",
        ),
        ("benchmark_export", "--model x --batch-sizes 4 4", "--batch-sizes is 4 4; it must name none twice"),
        ("benchmark", "--keep-all 9 --rounds 2", "--keep-all measures quality alone: leave --rounds out"),
        ("benchmark", "--keep-all 9 --precisions bfloat16", "--keep-all compares with torch in float32"),
        ("benchmark", "--lengths 64 --opponents x", "--lengths times inference alone: leave --opponents out"),
        ("pilot", "--max-train-texts 5", "--max-train-texts has no meaning here"),
        ("probe", "--dtype float32", "--dtype has no meaning here: it is measured in float32"),
    ],
)
def test_an_option_that_is_not_had_is_refused(
    job: str, line: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refused(job, line, capsys)


NO_BUDGET = "--sampler bernoulli has no budget: leave "
CLONES = "--sampler bernoulli --keep-fractions 0.5 0.2 --cloning-texts 8"


@pytest.mark.parametrize(
    ("job", "line", "named"),
    [
        ("train_policy", "--sampler bernoulli --keep-fractions 0.5 0.2", f"{NO_BUDGET}--keep-fractions out"),
        ("train_policy", "--sampler bernoulli --exploration 0.3 0.1", f"{NO_BUDGET}--exploration out"),
        ("train_policy", "--sampler bernoulli --budgeted-share 0.5", f"{NO_BUDGET}--budgeted-share out"),
        ("train_policy", "--sampler bernoulli --budget-scope batch", f"{NO_BUDGET}--budget-scope out"),
        ("train_policy", f"{CLONES} --exploration 0.3 0.1", f"{NO_BUDGET}--exploration out"),
        ("train_policy", "--sampler bernoulli --target-speedup 2 --keep-fractions 0.5 0.2", NO_BUDGET),
        ("train_policy", "--budgeted-share 0 --budget-scope batch", "--budgeted-share 0 never samples under a budget"),
        (
            "train_policy",
            "--length-penalty 0 --penalty-rise 0.5",
            "--length-penalty 0 is no price: leave --penalty-rise",
        ),
        (
            "train_policy",
            "--unlabelled-columns text=body",
            "there is no --unlabelled-file: leave --unlabelled-columns out",
        ),
        ("train_policy", "--policy x --initial-keep-probability 0.9", "leave --initial-keep-probability out"),
        ("train_policy", "--policy x --task-options max_tokens=200", "leave --task-options out"),
        ("joint_finetune", "--policy x --max-length 1024", "leave --max-length out"),
        ("train_policy", "--data-source embedded --data-dir x", "--data-dir is 'x', and --data-source 'embedded'"),
        ("joint_finetune", "--sampler bernoulli --keep-fractions 0.5 0.2", f"{NO_BUDGET}--keep-fractions out"),
        ("joint_finetune", "--sampler bernoulli --budget-scope text", f"{NO_BUDGET}--budget-scope out"),
        ("joint_finetune", "--holdout-texts 0 --watch 2", "--holdout-texts 0 leaves nothing to watch: leave --watch"),
        ("joint_finetune", "--distillation 0 --teacher x", "--distillation 0 has no teacher: leave --teacher out"),
        ("joint_finetune", "--distillation 0 --remember-teacher", "leave --remember-teacher out"),
        ("train_policy", "--initial-keep-probability 0.9", "leave --initial-keep-probability out"),
        ("joint_finetune", "--distillation 0 --temperature 2", "leave --temperature out"),
        ("joint_finetune", "--distillation 0 --states-weight 1 --temperature 2", "leave --temperature out"),
        ("sweep", "--policy.sampler bernoulli --policy.exploration 0.3 0.1", NO_BUDGET),
        ("sweep", "--policy.sampler bernoulli --policy.keep-fractions 0.5 0.2 --heuristics", NO_BUDGET),
        ("sweep", "--stage joint --joint.sampler bernoulli --joint.keep-fractions 0.5 0.2", NO_BUDGET),
        ("sweep", "--stage joint --joint.holdout-texts 0 --joint.watch 2", "leave --watch out"),
        ("compare", "--policy.sampler bernoulli --policy.exploration 0.3 0.1", NO_BUDGET),
        ("compare", "--agents ppo --policy.sampler bernoulli --policy.keep-fractions 0.5 0.2", NO_BUDGET),
        ("compare", "--agents random --policy.policy-size 8", "leave --policy.policy-size out"),
        ("evaluate", "--agent stock --reduction-layers 2", "--reduction-layers has no meaning here: --agent stock"),
        ("evaluate", "--model x --reduction-layers 2", "--reduction-layers has no meaning here: --model"),
        ("benchmark", "--model x --no-training --keep-fractions 0.5 0.2", "leave --keep-fractions out"),
    ],
)
def test_an_option_without_effect_under_another_is_refused(
    job: str, line: str, named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALWAYS, "evaluate", [])
    assert named in refused(job, line, capsys)


@pytest.mark.parametrize(
    "line",
    [
        *("--sampler bernoulli", "--keep-fractions 0.4 0.2", "--exploration 0.3 0.1", "--budgeted-share 0.5"),
        *("--learning-rate 0.1", "--policy-size 8", "--no-overlap", "--initial-keep-probability 0.9"),
        *("--max-gradient-norm 2", "--log-probability mean", "--baseline none", "--budget-scope text"),
        *("--samples-per-text 4", "--length-penalty 0.1", "--penalty flops", "--calibration-rate 0.1"),
        *("--policy-weight 1", "--reward distillation", "--target-speedup 2", "--speedup-range 1.5 2"),
    ],
)
def test_the_unreduced_control_refuses_what_only_an_agent_reads(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    option = line.split()[0].replace("--no-", "--")
    assert f"--unreduced skips nothing: leave {option} out" in refused("joint_finetune", f"--unreduced {line}", capsys)


@pytest.mark.parametrize(
    ("job", "line"),
    [
        ("train_policy", CLONES),  # the cloned masks keep these fractions
        ("train_policy", "--sampler bernoulli --imitation-fraction 0.1 --penalty-rise 0.2"),
        ("train_policy", "--budgeted-share 0.5 --exploration 0.3 0.1 --budget-scope batch"),
        ("joint_finetune", "--unreduced --teacher x --remember-teacher --temperature 2 --holdout-texts 9 --watch 1"),
        ("joint_finetune", "--holdout-texts 0 --watch 0"),
        ("joint_finetune", "--distillation 0 --reward distillation --teacher x"),
        ("train_policy", "--samples-per-text 1 --baseline none"),
        ("joint_finetune", "--policy x --samples-per-text 1 --learning-rate 0"),
        ("joint_finetune", "--policy x --samples-per-text 1 --learning-rate 2e-4"),  # a GPU's default, resumed on a CPU
        ("joint_finetune", "--policy x --samples-per-text 1 --sampler bernoulli --length-penalty 0.01"),
        ("joint_finetune", "--policy x --samples-per-text 1 --baseline none --learning-rate 0.1"),
        ("train_policy", "--samples-per-text 1 --agent ppo"),
        ("sweep", "--policy.sampler bernoulli --policy.keep-fractions 0.5 0.2"),  # the heuristics' shape
        ("sweep", "--stage joint --task-options stride=9 --max-length 200"),  # stage 3 has them from stage 2
        ("compare", "--policy.sampler bernoulli --policy.keep-fractions 0.5 0.2"),
    ],
)
def test_an_option_that_is_read_is_taken(job: str, line: str) -> None:
    check_options(read_options(JOBS[job][1], line.split()))


@pytest.mark.parametrize("form", ["mean", "leave-one-out", "none"])
def test_the_baseline_by_its_flag_and_by_name(form: Any) -> None:
    for options in (AlgorithmOptions(baseline=form), AlgorithmOptions(agent_options=(f"baseline={form}",))):
        assert options.own_options() == {"baseline": form}


@pytest.mark.parametrize("agent", AGENTS)
def test_an_algorithm_is_told_no_more_than_was_given(agent: str) -> None:
    assert AlgorithmOptions(agent).own_options() == {}
