"""The leaderboard through the command line."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest

import runners.compare
from runners.cli.run import run
from runners.compare import CompareOptions, Entry, averaged, leaderboard, training_cost
from runners.compare import main as compare
from runners.evaluation.record import EvaluationRecord
from runners.evaluation.summary import interval
from runners.runs.tracking import Tracker

AGENTS = ["reinforce", "ppo", "random", "residual"]
COMPARE = [
    *("--agents", *AGENTS, "--seeds", "2", "--seed", "4", "--target-speedup", "1.5", "--agent-options", "ppo=ppo.yaml"),
    *("--policy.total-texts", "16", "--policy.texts-per-step", "4", "--policy.samples-per-text", "4"),
    *("--policy.cloning-texts", "4"),  # every agent with a policy can be shown the residual ranking first
]


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_compare_and_what_is_done_is_not_done_again(
    in_process: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[tuple[str, int]] = []
    real = runners.compare.train_policy

    def counted(limit: int) -> Any:
        def call(options: Any) -> Any:
            if len(started) == limit:
                raise KeyboardInterrupt
            started.append((options.algorithm.agent, options.run.seed))
            return real(options)

        return call

    monkeypatch.setattr(runners.compare, "train_policy", counted(3))
    monkeypatch.chdir(tmp_path)
    Path("ppo.yaml").write_text("n_epochs: 3")
    encoder = os.path.relpath(in_process.fine_tuned)
    with pytest.raises(SystemExit):
        run(compare, CompareOptions, ["--backbone", encoder, *in_process.common("all"), *COMPARE])
    folder = in_process.only_run("all", "compare-agents")
    Path("ppo.yaml").unlink()  # what it held is in the record
    monkeypatch.setattr(runners.compare, "train_policy", counted(100))
    run(compare, CompareOptions, ["--resume", str(folder)])
    assert started == [("reinforce", 4), ("ppo", 4), ("reinforce", 5), ("ppo", 5)]

    rows = rows_in(folder / "runs.csv")
    heuristics = [("random", 4), ("random", 5), ("residual", 4)]
    assert [(row["agent"], int(row["seed"])) for row in rows] == [*started, *heuristics]
    for row in rows:
        assert float(row["flops_speedup"]) == pytest.approx(1.5, rel=0.15), row
    (own,) = (folder / "ppo-seed5").glob("*/policy-ppo/*/config.json")
    assert json.loads(own.read_text())["options"]["agent_options"] == ["n_epochs=3"]
    board = rows_in(folder / "leaderboard.csv")
    assert sorted(entry["agent"] for entry in board) == sorted(AGENTS)
    assert [float(entry["f1"]) for entry in board] == sorted((float(entry["f1"]) for entry in board), reverse=True)
    table = (folder / "leaderboard.md").read_text()
    assert all(f"| {name} |" in table for name in ("unreduced", *AGENTS))
    assert (folder / "learning_curves.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.chdir(in_process.root)
    run(compare, CompareOptions, ["--resume", str(folder)])  # all is there: only the report is made again
    assert len(started) == 4


def test_heuristics_alone_reduce_an_encoder_that_stage_1_trained(
    in_process: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path))  # in which no other test has left the encoder
    alone = ["--agents", "attention", "--seeds", "1", "--target-speedup", "1.3", "--reduction-layers", "2"]
    run(compare, CompareOptions, ["--backbone", str(in_process.pretrained), *in_process.common("alone"), *alone])
    said = "".join(capsys.readouterr().err.replace("│", "").split())
    assert re.search(r"itsweightsarethosethatfinetune.pyleftin\S*\(\d+texts,\d+updates\)", said)
    (record,) = in_process.only_run("alone", "compare-agents").glob("heuristics/*.json")
    stage1 = json.loads((in_process.only_run("alone", "finetune-*") / "metrics.json").read_text())
    assert json.loads(record.read_text())["full_log_likelihood"] == pytest.approx(stage1["log_likelihood"], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--agents", "reinforc"], "did you mean 'reinforce'?"),
        (["--agents", "ppo", "ppo"], "none twice"),
        (["--agents", "ppo", "--agent-options", "clip_range=0.1"], "must begin with one of ppo."),
        (["--agents", "ppo", "--agent-options", "ppo.clip=0.1"], "no option 'clip'"),
        (["--agents", "nowhere:Agent"], "no module 'nowhere'"),
        (["--policy.agent", "ppo"], "--agents"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--policy.total-texts", "0"], "--policy.total-texts is 0"),
        (["--agents", "ppo", "--policy.baseline", "none"], "--baseline is of --agent reinforce"),
    ],
)
def test_errors(options: list[str], named: str, in_process: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(compare, CompareOptions, ["--backbone", str(in_process.fine_tuned), *in_process.common(), *options])
    assert named in capsys.readouterr().err


def test_interval_by_hand() -> None:
    mean, half = interval([58.0, 59.0, 60.0, 63.0])
    # s = sqrt((4 + 1 + 0 + 9) / 3) = 2.1602; t(0.975, 3) = 3.1824; 3.1824 x 2.1602 / 2
    assert (mean, half) == (60.0, pytest.approx(3.4374, abs=1e-3))
    assert math.isnan(interval([1.0])[1])


def entry(agent: str, f1: float | None, speedup: float, **cost: float) -> Entry:
    own = {"f1": f1, "log_likelihood": -1.0, "flops_speedup": speedup}
    full = {"full_f1": 60.0, "full_log_likelihood": -1.0}
    record = EvaluationRecord.from_flat({"env": "SQuAD2", "num_texts": 3, **own, **full})
    return Entry(agent, 0, record, cost=cost)


def test_leaderboard_takes_means_over_seeds_and_the_best_first() -> None:
    entries = [
        entry("a", 50.0, 2.0, texts_per_second=8.0),
        entry("a", 54.0, 2.2, texts_per_second=12.0),
        entry("b", 53.0, 2.1),
    ]
    first, second = leaderboard(entries, ["f1"])
    assert (first["agent"], first["f1"], first["seeds"]) == ("b", 53.0, 1)
    assert math.isnan(first["texts_per_second"])
    assert (second["f1"], second["texts_per_second"], second["seeds"]) == (52.0, 10.0, 2)
    assert second["flops_speedup"] == pytest.approx(2.1)


def test_leaderboard_puts_last_what_is_no_number() -> None:
    entries = [entry("a", None, 2.0), entry("b", 1.0, 2.0)]
    assert [row["agent"] for row in leaderboard(entries, ["f1"])] == ["b", "a"]


def test_curves_are_averaged_over_the_steps_that_all_have() -> None:
    assert averaged([[(1, 0.0), (2, 2.0), (3, 9.0)], [(1, 2.0), (2, 4.0)]]) == [(1.0, 1.0), (2.0, 3.0)]


def test_training_cost_adds_up_updates(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        for step, rate in ((16, 8.0), (32, 4.0), (64, 16.0)):
            tracker.log({"charts/texts_per_second": rate}, step)
    cost = training_cost(tmp_path)
    assert cost["training_minutes"] == pytest.approx((2 + 4 + 2) / 60)
    assert cost["texts_per_second"] == pytest.approx(64 / 8)
