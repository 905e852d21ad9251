"""Options out of range, of every runner: one line that names option and value, before anything is read or written."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from agents.registry import AGENTS
from runners import (
    benchmark,
    compare,
    evaluate,
    finetune,
    joint_finetune,
    make_faster,
    pilot,
    reproduce,
    sweep,
    train_policy,
)
from runners.cli.run import run
from trbert_env.ranges import Items, Range, check_ranges

JOBS: dict[str, tuple[Any, Any]] = {
    "finetune": (finetune.main, finetune.FinetuneOptions),
    "train_policy": (train_policy.main, train_policy.TrainPolicyOptions),
    "joint_finetune": (joint_finetune.main, joint_finetune.JointFinetuneOptions),
    "evaluate": (evaluate.main, evaluate.EvaluateOptions),
    "benchmark": (benchmark.main, benchmark.BenchmarkOptions),
    "sweep": (sweep.main, sweep.SweepOptions),
    "compare": (compare.main, compare.CompareOptions),
    "make_faster": (make_faster.main, make_faster.MakeFasterOptions),
    "pilot": (pilot.main, pilot.PilotOptions),
    "reproduce": (reproduce.main, reproduce.ReproduceOptions),
}
#: Without these evaluate says that something else is missing.
ALWAYS = {"evaluate": ["--agent", "keep-all"], "reproduce": ["--table", "2"], "make_faster": ["--model", "x"]}

#: For every runner.
COMMON = [
    "--seed -1",
    "--seed 4294967296",
    "--max-train-texts 0",
    "--max-eval-texts -3",
    "--reduction-layers 1",
    "--reduction-layers 2 2",
    "--reduction-layers 3 2",
    "--reduction-layers 2 3 4 5 6 7 8 9 10 11 12 13 14",
    "--reduction-layers",
]
#: Of one runner.
OWN = {
    "finetune": [
        *(
            "--epochs inf",
            "--epochs nan",
            "--epochs -1",
            "--epochs 0",
            "--epochs 1e308",
            "--learning-rate nan",
            "--learning-rate -1e-3",
        ),
        *("--learning-rate inf", "--dropout 1.5", "--dropout 1", "--dropout -0.1", "--dropout nan", "--batch-size 0"),
        "--checkpoint-every 0",
    ],
    "train_policy": [
        *("--learning-rate inf", "--learning-rate nan", "--max-gradient-norm -1", "--max-gradient-norm 0"),
        *("--max-gradient-norm nan", "--exploration 0 1", "--exploration 1 inf", "--budgeted-share 1.5"),
        *("--budgeted-share nan", "--imitation-fraction -0.1", "--policy-size 0", "--initial-keep-probability 0"),
        *("--initial-keep-probability 1", "--initial-keep-probability nan", "--keep-fractions 0.5 0.6"),
        *("--keep-fractions 0", "--keep-fractions nan 0.1", "--keep-fractions", "--keep-fractions 1.5"),
        *("--total-texts 0", "--texts-per-step 0", "--samples-per-text 0", "--length-penalty inf"),
        *("--length-penalty -1", "--penalty-rise 2", "--penalty-rise nan", "--cloning-texts -1"),
        *("--calibration-rate -1", "--calibration-rate inf", "--checkpoint-every 0", "--target-speedup 1"),
        *("--target-speedup nan", "--target-speedup inf", "--target-speedup -2"),
    ],
    "joint_finetune": [
        *("--encoder-rate inf", "--encoder-rate -1", "--warmup 1.1", "--warmup nan", "--distillation -0.5"),
        *("--distillation nan", "--temperature 0", "--temperature inf", "--policy-weight 2", "--max-encoder-norm -1"),
        *("--max-encoder-norm 0", "--max-gradient-norm -1", "--holdout-texts -1", "--watch -1", "--accumulate 0"),
        *("--speedup-range 1 2", "--speedup-range 2 inf", "--speedup-range nan 2", "--calibration-rate nan"),
        "--target-speedup 0.5",
    ],
    "evaluate": [
        *("--threshold 1.5", "--threshold nan", "--speedup nan", "--speedup 0", "--speedup inf"),
        *("--keep-fractions 0.2 0.5", "--keep-fractions", "--keep-fractions 0.5 -1"),
    ],
    "benchmark": [
        *("--batch-size 0", "--batch-size", "--batch-size 8 8", "--num-texts 0", "--rounds 0", "--keep-fractions 2"),
        *("--keep-fractions 0.2 nan", "--orders", "--threads 0", "--calibration-texts 0", "--keep-all 0"),
    ],
    "sweep": [
        *(
            "--speedups",
            "--speedups 1",
            "--speedups 2 2",
            "--speedups 2 nan",
            "--speedups inf",
            "--seeds",
            "--seeds 0 0",
        ),
        *("--seeds -1", "--heuristics random random", "--policy.learning-rate inf", "--joint.temperature nan"),
        *("--joint.max-encoder-norm -1", "--policy.keep-fractions 0.1 0.5"),
    ],
    "compare": [
        *("--agents", "--agents ppo ppo", "--seeds 0", "--target-speedup nan", "--target-speedup 1"),
        *("--policy.exploration 0 1", "--policy.max-gradient-norm -1"),
    ],
    "reproduce": [
        *("--env", "--env IMDB IMDB", "--systems ours ours", "--seeds 0", "--target-speedup 1", "--speedups 1"),
        *("--num-texts 0", "--max-length 0", "--slices 8", "--policy.exploration 0 1", "--joint.temperature nan"),
        *("--baseline.encoder-rate inf", "--baseline.total-texts 0"),
    ],
    "make_faster": [
        *("--target-speedup 1", "--target-speedup nan", "--max-loss -0.1", "--max-loss 100", "--minutes 0"),
        *("--minutes inf", "--holdout-texts 0", "--total-texts 0"),
    ],
    "pilot": [
        *("--proportions", "--proportions 0.5 0.5", "--proportions 0", "--proportions 1", "--proportions nan"),
        *("--strategies", "--strategies random random", "--after-layer 0"),
    ],
}
#: Of these, what one runner does not have, or takes to be what it is without.
NOT_OF = {
    "pilot": ("--reduction-layers",),
    "make_faster": tuple(words for words in COMMON if words.startswith("--reduction-layers")),
}
CASES = [
    *((job, words) for job in JOBS for words in COMMON if words not in NOT_OF.get(job, ())),
    *((job, words) for job, cases in OWN.items() for words in cases),
]


def refused(job: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    main, options = JOBS[job]
    output = tmp_path / "runs"
    with pytest.raises(SystemExit) as caught:
        run(main, options, [*ALWAYS.get(job, []), *words, "--output-dir", str(output), "--data-dir", str(tmp_path)])
    err = capsys.readouterr().err
    assert caught.value.code == 2, err
    assert "Traceback" not in err
    assert not output.exists()
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(("job", "words"), CASES, ids=lambda value: str(value).replace(" ", "_"))
def test_an_option_out_of_range(job: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option, *values = words.split()
    line = refused(job, words.split(), tmp_path, capsys)
    assert f"error: {option} is " in line
    shown = line.partition(" is ")[2].partition(";")[0].split()
    assert [as_number(value) for value in shown] == [as_number(value) for value in values or ["empty"]]
    assert any(word in line for word in ("must be ", "must lie ", "must name ", "must rise ", "must not rise "))


def as_number(text: str) -> Any:
    try:
        return repr(float(text))
    except ValueError:
        return text


TOGETHER = [
    ("sweep", "--speedups 1.5 1.5000001", "alike in six digits"),
    ("compare", "--seed 4294967295 --seeds 2", "beyond the largest seed"),
    ("evaluate", "--agent keep-all --keep-fractions 0.5 0.2", "leave --keep-fractions and --match out"),
    ("evaluate", "--agent stock --match runs/x", "leave --keep-fractions and --match out"),
    ("train_policy", "--agent rloo --samples-per-text 1", "--samples-per-text is 1; rloo compares samples"),
    ("train_policy", "--samples-per-text 1", "--samples-per-text is 1; reinforce compares samples of a text"),
    ("train_policy", "--agent grpo --samples-per-text 1", "--samples-per-text is 1; grpo compares samples"),
    ("compare", "--agents rloo --policy.samples-per-text 1", "--samples-per-text is 1; rloo compares samples"),
    *(
        ("joint_finetune", f"--policy x --samples-per-text 1 {line}", f"and {line.split()[0]} is for that: give")
        for line in ("--learning-rate 0.5", "--policy-weight 1", "--reward distillation", "--penalty flops")
    ),
    ("joint_finetune", "--samples-per-text 1 --baseline leave-one-out", "--samples-per-text 2 for --baseline leave"),
    (
        "joint_finetune",
        "--policy x --samples-per-text 1 --sampler bernoulli --target-speedup 2",
        "by which it reaches --target-speedup without a budget: give --samples-per-text 2",
    ),
    (
        "joint_finetune",
        "--policy x --samples-per-text 1 --budgeted-share 0.5 --target-speedup 2",
        "by which it reaches --target-speedup without a budget",
    ),
    ("pilot", "--proportions 0.501 0.504", "--proportions is 0.501 0.504; two of them"),
    ("pilot", "--proportions 0.5 0.996", "alike in whole percent"),
    ("train_policy", "--agent :", "agent ':' names no class: give package.module:Class"),
    ("train_policy", "--agent x:", "agent 'x:' names no class"),
    ("train_policy", "--agent :X", "agent ':X' names no class"),
    ("train_policy", "--agent .x:Y", "agent '.x:Y' names no class"),
    ("train_policy", "--agent ..x:Y", "agent '..x:Y' names no class"),
    ("train_policy", "--agent a..b:Y", "agent 'a..b:Y' names no class"),
    ("train_policy", "--agent a/b:Y", "agent 'a/b:Y' names no class"),
    ("train_policy", "--agent json:__doc__", "agent 'json:__doc__' is of type str"),
    ("train_policy", "--agent json.decoder:JSONDecoder", "lacks act, learn, state_dict, load_state_dict"),
    ("train_policy", "--agent os.path:join --agent-options nearby=1", "lacks act, learn, state_dict, load_state_dict"),
    ("compare", "--agents json.decoder:JSONDecoder", "lacks act, learn, state_dict, load_state_dict"),
]


@pytest.mark.parametrize(("job", "words", "named"), TOGETHER)
def test_options_that_do_not_go_together(
    job: str, words: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refused(job, words.split(), tmp_path, capsys)


AGENT_OPTIONS = [
    *("ppo vf_coef=NaN", "ppo vf_coef=-1", "ppo ent_coef=Infinity", "ppo clip_range=0", "ppo clip_range=Infinity"),
    *("ppo n_epochs=0", "ppo batch_size=0", "ppo gae_lambda=2", "ppo gae_lambda=NaN", "a2c gae_lambda=-0.1"),
    *("a2c vf_coef=-Infinity", "grpo clip=0", "grpo clip=1", "grpo clip=NaN", "grpo steps_per_rollout=0"),
]


@pytest.mark.parametrize("words", AGENT_OPTIONS)
def test_an_agents_own_option_out_of_range(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent, item = words.split()
    line = refused("train_policy", ["--agent", agent, "--agent-options", item], tmp_path, capsys)
    name, _, value = item.partition("=")
    assert f"option {name!r} of agent {agent!r} is {as_number(value)}" in line.replace("is 0;", "is 0.0;") or (
        f"option {name!r} of agent {agent!r} is {value}" in line
    )
    line = refused("compare", ["--agents", agent, "--agent-options", f"{agent}.{item}"], tmp_path, capsys)
    assert f"option {name!r} of agent {agent!r} is " in line


def numbers_of(kind: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass of options that hold numbers, nested ones included."""
    found = []
    hints = typing.get_type_hints(kind, include_extras=True)
    for name in (field.name for field in dataclasses.fields(kind)):
        hint = hints[name]
        if typing.get_origin(hint) is Annotated and dataclasses.is_dataclass(typing.get_args(hint)[0]):
            hint = typing.get_args(hint)[0]
        if dataclasses.is_dataclass(hint):
            found += [(f"{name}.{inner}", inner_hint) for inner, inner_hint in numbers_of(hint)]
        elif holds_numbers(hint):
            found.append((name, hint))
    return found


def holds_numbers(hint: Any) -> bool:
    """Whether a type is a number, or a tuple or an option of numbers."""
    if typing.get_origin(hint) is Literal:
        return False
    return hint in (int, float) or any(map(holds_numbers, typing.get_args(hint)))


@pytest.mark.parametrize("kind", [options for _, options in JOBS.values()] + [a.options_class for a in AGENTS.values()])
def test_every_number_has_a_range(kind: Any) -> None:
    fields = numbers_of(kind)
    assert fields
    # One number is one of another option's, which is checked instead.
    free = [name for name, hint in fields if "Range(" not in str(hint) and name != "one_model"]
    assert free == []


@dataclasses.dataclass
class Example:
    rate: Annotated[float, Range(above=0, below=2)] = 1.0
    free: float = 0.0
    count: Annotated[int, Range(1)] | None = None
    pair: tuple[Annotated[float, Range(0)], Annotated[float, Range(most=1)]] = (0.0, 0.0)
    names: Annotated[tuple[Literal["a", "b"], ...], Items(1, 2, distinct=True)] = ("a",)
    steps: Annotated[tuple[Annotated[int, Range(1)], ...], Items(order="rising")] = (1, 2)


@dataclasses.dataclass
class PlugInOptions:
    """What somebody else's options may look like."""

    name: int | str | None = None
    rates: list[float] = dataclasses.field(default_factory=list)
    pair: tuple[int, float] = (1, 1.0)
    anything: Any = None
    mapping: dict[str, float] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize("values", [{}, {"name": 3}, {"name": "x"}, {"rates": [1.0, 2.0]}, {"mapping": {"a": 1.0}}])
def test_types_without_ranges(values: dict[str, Any]) -> None:
    check_ranges(PlugInOptions(**values))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"name": float("nan")}, "name is nan; it must be a finite number"),
        ({"rates": [1.0, float("inf")]}, "rates is 1.0 inf; each must be a finite number"),
        ({"pair": (1,)}, "pair is 1; it must name 2"),
        ({"anything": np.float64("nan")}, "anything is nan; it must be a finite number"),
    ],
)
def test_lines_without_ranges(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_ranges(PlugInOptions(**values))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"rate": 0.0}, "rate is 0.0; it must be above 0 and below 2"),
        ({"rate": float("nan")}, "rate is nan; it must be above 0 and below 2, and finite"),
        ({"free": float("-inf")}, "free is -inf; it must be a finite number"),
        ({"count": 0}, "count is 0; it must be at least 1"),
        ({"pair": (0.0, 1.5)}, "pair is 0.0 1.5; each must be at most 1"),
        ({"names": ()}, "names is empty; it must name at least 1"),
        ({"names": ("a", "b", "a")}, "names is a b a; it must name at most 2"),
        ({"names": ("a", "a")}, "names is a a; it must name none twice"),
        ({"steps": (1, 1)}, "steps is 1 1; it must rise from one to the next"),
        ({"steps": (0, 1)}, "steps is 0 1; each must be at least 1"),
    ],
)
def test_lines(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check_ranges(Example(**values))
    assert str(caught.value) == line
    check_ranges(Example())
