"""Every command and code block of the README, from top to bottom, on small files; and what its tables say."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

from runners.cli.run import run
from trbert_env.data.readers import READERS
from trbert_env.presets import OWN, PRESETS
from trbert_env.tasks import make_task

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

#: Commands that no test runs.
NOT_RUN = ("python3 -m venv", "pip install", "make demo", "make test", "tensorboard --logdir")
#: Options of commands that would not end; tests/end_to_end/test_report.py asks the server.
ENDLESS = ("--serve",)
#: Options that make a run short, by runner.
UPDATES = ["total-texts 8", "texts-per-step 4", "samples-per-text 2"]
NESTED = [f"--policy.{update}" for update in UPDATES]
LOADED = ["--max-eval-texts 8", "--dtype float32"]
TRAINED = ["--max-train-texts 16", *LOADED]
SHORT: dict[str, list[str]] = {
    "make_faster": ["--total-texts 16", *LOADED],
    "pretrain": ["--texts-per-step 4", "--max-eval-texts 4", "--dtype float32"],
    "finetune": [*TRAINED, "--epochs 1"],
    "train_policy": [*TRAINED, *(f"--{update}" for update in UPDATES)],
    "joint_finetune": [*TRAINED, *(f"--{update}" for update in UPDATES[:2]), "--holdout-texts 4", "--watch 1"],
    "train_baseline": [*TRAINED, *(f"--{update}" for update in UPDATES[:2]), "--holdout-texts 4", "--watch 1"],
    "evaluate": LOADED,
    "report": ["--num-texts 2"],
    "benchmark": ["--num-texts 4", "--rounds 1", "--no-training", "--dtype float32"],
    "export": [],
    "benchmark_export": ["--num-texts 4", "--rounds 1", "--max-eval-texts 8", "--precisions int8-dynamic"],
    "probe": [],
    "pilot": [*LOADED, "--strategies random", "--proportions 0.5"],
    "compare": [*TRAINED, *NESTED],
    "sweep": [
        *TRAINED,
        *NESTED,
        *(f"--joint.{update}" for update in UPDATES),
        "--joint.holdout-texts 4",
        "--heuristics random",
    ],
}
SHORT["reproduce"] = [
    *TRAINED,
    *NESTED,
    *(f"--joint.{update}" for update in UPDATES),
    *(f"--{group}.holdout-texts 4" for group in ("joint", "baseline")),
    "--baseline.texts-per-step 4",
]
#: Of these, what a flag of the command refuses.
NOT_WITH = {"--lengths": ("--num-texts 4",), "--precisions": ("--dtype float32",), "--backend": ("--dtype float32",)}
#: Fewer runs, of what is there several times.
FEWER = {
    "--seeds 3": "--seeds 1",
    "--env SQuAD2 IMDB": "--env SQuAD2",
    "--seeds 0 1 2": "--seeds 0",
    "--speedups 1.5 2 2.5 3": "--speedups 1.5",
    "reinforce rloo grpo ppo a2c random": "reinforce ppo random",
    "8_000": "128",
    "--total-steps 2000": "--total-steps 2",
    "--minutes 30": "",  # a time is used up, however few the texts are
}


def blocks() -> Iterator[tuple[str, str]]:
    """The fenced blocks of the page: their language, and their text."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands_of(block: str) -> list[str]:
    """The commands of a block, without comments; none if it is a drawing."""
    if "──" in block:
        return []
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if line.strip()]


@dataclass
class Reader:
    """Someone who follows the page: runs what it says, and remembers the run folder that each run leaves."""

    root: Path
    encoder: Path
    checkpoint: Path
    data: Path
    monkeypatch: pytest.MonkeyPatch
    runs: dict[str, Path] = field(default_factory=dict)
    latest: Path | None = None
    scores: Path | None = None
    pretrained: Path | None = None
    baseline: Path | None = None
    faster: Path | None = None

    def follow(self, command: str) -> None:
        """Run a command with the placeholders filled in, small."""
        print(command)  # shown where it fails
        for long, short in FEWER.items():
            command = command.replace(long, short)
        _, script, *arguments = shlex.split(command)
        job = Path(script).stem
        env = arguments[arguments.index("--env") + 1] if "--env" in arguments else None
        run_dir = self.latest if env is None else self.runs.get(env)
        filled = {
            "ENCODER": str(self.encoder),
            "DATA": str(self.data),
            "RUN_DIR": str(run_dir),
            "PRETRAIN_RUN": str(self.pretrained),
            "BASELINE_RUN": str(self.baseline),
            "CHECKPOINT": str(self.checkpoint),
            "FASTER_RUN": str(self.faster),
        }
        arguments = [filled.get(argument, argument) for argument in arguments if argument not in ENDLESS]
        if "--resume" not in arguments:
            refused = {option for flag in NOT_WITH if flag in arguments for option in NOT_WITH[flag]}
            short = [option for option in SHORT[job] if option not in refused]
            arguments += shlex.split(" ".join(short))
            if job != "report" and not {"--backbone", "--policy", "--model"} & set(arguments):
                arguments += ["--backbone", str(self.encoder)]
        before = set(self.root.glob("runs/*/*/*"))
        module = importlib.import_module(f"runners.{job}")
        options = getattr(module, "".join(part.title() for part in job.split("_")) + "Options")
        self.monkeypatch.setattr(sys, "argv", [script, *arguments])
        run(module.main, options)
        made = [folder for folder in set(self.root.glob("runs/*/*/*")) - before if (folder / "metrics.json").exists()]
        if job == "pretrain":
            (self.pretrained,) = made
        if job == "train_baseline":
            (self.baseline,) = made
        if job == "make_faster" and made:
            (self.faster,) = made
        shipped = [folder for folder in made if folder.parent.name.startswith(("policy", "joint"))]
        for folder in shipped:
            if "--unreduced" not in arguments and (folder / "model").exists():
                self.runs[folder.parents[1].name] = self.latest = folder
                self.scores = folder if "score" in arguments else self.scores

    def execute(self, block: str) -> None:
        """Run a code block."""
        for long, short in FEWER.items():
            block = block.replace(long, short)
        names: dict[str, Any] = {"run_dir": self.latest, "__name__": "readme"}
        names |= {"score_run": self.scores, "question_run": self.runs.get("SpanQA")}
        if self.scores is not None:
            names["my_reranker"] = json.loads((self.scores / "config.json").read_text())["facts"]["backbone"]
        # A module, for dataclasses look theirs up.
        self.monkeypatch.setitem(sys.modules, "readme", type(sys)("readme"))
        exec(compile(block, "README.md", "exec"), names)


@pytest.fixture
def reader(in_process: Any, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader in a folder with own files, an encoder without a head, and a data folder."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=json.loads((in_process.pretrained / "config.json").read_text())["vocab_size"],
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=6,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    encoder = data.save_backbone(tmp_path / "encoder", BertModel(config, add_pooling_layer=False))
    config.num_labels = 3
    checkpoint = data.save_backbone(tmp_path / "checkpoint", BertForSequenceClassification(config))
    rows = data.rows("train", 24)
    texts = [row["context"] for row in rows]
    for name, header, content in (
        ("reviews.csv", ["body", "stars"], [[f"{texts[n % 24]} {n}", n % 3 + 1] for n in range(60)]),
        (
            "pairs.csv",
            ["query", "passage", "relevance"],
            [[row["question"], row["context"], n % 2] for n, row in enumerate(rows)],
        ),
    ):
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows([header, *content])
    questions = [
        {"question": row["question"], "context": row["context"], "answers": row["answers"]["text"]} for row in rows
    ]
    # The shapes of answers that the page names.
    questions[0]["answers"] = [
        {"text": rows[0]["answers"]["text"][0], "answer_start": rows[0]["answers"]["answer_start"][0]}
    ]
    questions[1]["answers"] = rows[1]["answers"]["text"][0]
    questions[5]["answers"] = ["not in the context"]
    choices = [
        {
            "article": row["context"],
            "question": row["question"],
            "options": [f"{word} {n}" for word in row["context"].split()[:4]],
            "answer": "ABCD"[n % 4],
        }
        for n, row in enumerate(rows)
    ]
    for name, content in (("questions", questions), ("choices", choices)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in content))
    (tmp_path / "articles").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "articles" / f"{number}.txt").write_text(f"{text}\n" * 10)
    folder = data.write(tmp_path / "data", data.rows("train", 60))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("TRBERT_DATA", str(folder))
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))
    return Reader(tmp_path, encoder, checkpoint, folder, monkeypatch)


def test_the_page_runs_from_top_to_bottom(reader: Reader) -> None:
    followed = 0
    for language, block in blocks():
        if language == "python":
            reader.execute(block)
            continue
        for command in commands_of(block):
            if command.startswith(NOT_RUN):
                continue
            assert command.startswith("python runners/"), command
            reader.follow(command)
            followed += 1
    assert followed >= 20
    assert set(reader.runs) == {"SQuAD2", *OWN}


def test_the_table_of_data_sets() -> None:
    rows = {name: line for line in README.splitlines() for name in re.findall(r"^\| `TRBERT/(.+?)-v0` \|", line)}
    assert list(rows) == [name for name in PRESETS if name not in OWN]
    for name, row in rows.items():
        preset = PRESETS[name]
        reader = READERS[preset.dataset]
        _, _, task, metric, split, places, files, _ = (cell.strip() for cell in row.split("|"))
        assert re.sub("[ -]", "_", task).lower() == preset.task
        assert metric.lower() == make_task(preset).metric_names[0]
        assert split == preset.evaluation_split
        assert places == f"`{preset.dataset}`, {reader.hub.name}"
        for file in re.findall("`(.+?)`", files):
            assert file in reader.official_files, (name, file)


def test_results_and_links() -> None:
    results = (ROOT / "RESULTS.md").read_text()
    (table,) = re.findall(r"^\| model \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    for row in table.strip().splitlines()[2:]:
        speedup, *metrics = re.findall(r"[+-]?\d+\.\d+x?|\b1x", row.split("|", 2)[2])
        found = [line.replace("*", "") for line in results.splitlines() if f"| {speedup} |" in line.replace("*", "")]
        assert any(all(f"| {metric} |" in line for metric in metrics) for line in found), row
    assert all(speedup in results for speedup in re.findall(r"\b\d\.\d{3}x", README))
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README + results):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"`((?:trbert_env|agents|baselines|runners|examples|tests)/[\w/.]*)`", README):
        assert (ROOT / path).exists(), path
