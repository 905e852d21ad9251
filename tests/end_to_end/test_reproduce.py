"""The paper's tables and figures through the command line, small."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import runners.reproduction.nested as nested
from runners.cli.run import run
from runners.evaluation.record import CLOCK_KEYS
from runners.reproduce import main as reproduce
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.published import CONTROL, TABLE_2, TABLE_3, published, usual_speedup
from trbert_env.presets import PRESETS
from trbert_env.tasks.classification import Classification

PNG = b"\x89PNG"
OURS = [
    *("--policy.total-texts", "8", "--policy.texts-per-step", "4", "--policy.samples-per-text", "2"),
    *("--joint.total-texts", "16", "--joint.texts-per-step", "8", "--joint.holdout-texts", "0"),
    *("--reduction-layers", "2", "3"),
]
SMALL = [*OURS, "--baseline.texts-per-step", "8", "--baseline.holdout-texts", "0"]
TABLE_OF_TWO = [
    *("--table", "2", "--env", "SQuAD2", "IMDB", "--seeds", "2", "--target-speedup", "1.5"),
    *("--systems", "ours", "pooled", "early-exit", "random", "attention", *SMALL),
]


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Author:
    """Someone who reproduces: a place, and the options of all commands."""

    place: Any
    common: list[str]

    def start(self, output: str, *options: str) -> None:
        """Run the reproduction."""
        place = ["--output-dir", str(self.place.root / output)]
        run(reproduce, ReproduceOptions, [*self.common, *place, *options])

    def folder(self, output: str) -> Path:
        """The one reproduction below an output folder."""
        (found,) = (self.place.root / output).glob("*/reproduce-*/*")
        return found

    def resume(self, output: str) -> None:
        """Go on with it."""
        run(reproduce, ReproduceOptions, ["--resume", str(self.folder(output))])


@pytest.fixture
def author(in_process: Any, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Author:
    """An encoder without a head, and small files of two data sets."""
    folder = data.write(tmp_path / "data")
    (folder / "imdb").mkdir()
    for split, count in (("train", 24), ("test", 12)):
        rows = [{"text": row["context"], "label": n % 2} for n, row in enumerate(data.rows(split, count))]
        pq.write_table(pa.Table.from_pylist(rows), folder / "imdb" / f"{split}.parquet")
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))  # where no encoder is fine-tuned yet
    options = ["--data-dir", str(folder), "--dtype", "float32", "--backbone", str(in_process.pretrained)]
    return Author(in_process, options)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are begun, in their order; the ``limit`` that is appended to its end interrupts them."""
    names: list[str] = []
    for job in ("finetune", "train_policy", "joint_finetune", "train_baseline"):
        real = getattr(nested, job)

        def counted(options: Any, job: str = job, real: Any = real) -> Any:
            if names and names[-1] == "stop":
                raise KeyboardInterrupt
            names.append(getattr(options, "system", job))
            return real(options)

        monkeypatch.setattr(nested, job, counted)
    return names


def test_table_2_and_what_is_done_is_not_done_again(
    author: Author, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    author.start("plan", *TABLE_OF_TWO, "--plan")
    plan = " ".join(capsys.readouterr().out.split())
    assert "stage 1" in plan
    assert "hours in all, by an estimate" in plan
    assert "measured just now on this machine" in plan
    assert not started
    assert not (author.place.root / "plan").exists()

    author.start("table2", *TABLE_OF_TWO)
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "SQuAD2: early-exit is left out: early-exit is sure of classes" in told
    of_squad = ["joint_finetune", "train_policy", "joint_finetune", "pooled"]
    of_imdb = [*of_squad, "early-exit"]
    assert started == ["finetune", "finetune", *(of_squad + of_imdb) * 2]

    folder = author.folder("table2")
    rows = rows_in(folder / "table2.csv")
    systems = ["unreduced start", CONTROL, "ours", "pooled", "random", "attention"]
    by_env = {env: [row for row in rows if row["env"] == env] for env in ("SQuAD2", "IMDB")}
    assert [row["system"] for row in by_env["SQuAD2"]] == systems
    assert [row["system"] for row in by_env["IMDB"]] == [*systems[:4], "early-exit", *systems[4:]]
    found = {(row["env"], row["system"]): row for row in rows}
    ours, control = found["SQuAD2", "ours"], found["SQuAD2", CONTROL]
    assert (ours["paper"], ours["paper_flops_speedup"]) == ("75.66", "2.08")
    assert found["IMDB", "pooled"]["paper"] == ""
    assert (control["flops_speedup"], control["paper"]) == ("1.0", "77.12")
    assert float(ours["difference"]) == pytest.approx(float(ours["quality"]) - float(control["quality"]), abs=1e-9)
    for row in rows:
        if row["system"] not in ("unreduced start", CONTROL):
            assert float(row["flops_speedup"]) == pytest.approx(1.5, rel=0.2), row
    table = (folder / "table2.md").read_text()
    assert all(f"| {name} |" in table for name in systems)
    assert "| 75.66 | 2.08x |" in table
    assert (folder / "table2.png").read_bytes().startswith(PNG)

    runs = rows_in(folder / "runs.csv")
    assert {row["flops_speedup"] for row in runs if row["system"] == CONTROL} == {"1.0"}
    for env in ("SQuAD2", "IMDB"):  # one start, the same texts, and one number of texts for all
        own = [row for row in runs if row["env"] == env]
        assert len({row["encoder_fingerprint"] for row in own}) == 1
        assert len({row["texts_fingerprint"] for row in own}) == 1
    texts = {}
    for row in runs:
        if row["run"]:
            options = json.loads((Path(row["run"]) / "config.json").read_text())["options"]
            texts[row["system"]] = options["total_texts"]
    assert texts == {CONTROL: 24, "ours": 16, "pooled": 24, "early-exit": 24}  # and 8 of stage 2

    count = len(started)
    author.resume("table2")  # all is there: only the report is made again
    assert len(started) == count
    assert rows_in(folder / "table2.csv") == rows


def test_an_interrupted_reproduction_goes_on(
    author: Author, started: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        *("--table", "2", "--env", "SQuAD2", "--seeds", "1", "--target-speedup", "1.5", "--systems", "pooled"),
        *(OURS[:2] + OURS[6:]),  # those of ours alone would have no effect
        *("--baseline.texts-per-step", "8", "--baseline.holdout-texts", "0", "--baseline.checkpoint-every", "1"),
    ]
    author.start("whole-table", *small)

    from runners.training.baseline import BaselineTraining

    step = BaselineTraining.step

    def stopped(training: BaselineTraining) -> dict[str, float]:
        if training.updates == 2:
            raise KeyboardInterrupt
        return step(training)

    monkeypatch.setattr(BaselineTraining, "step", stopped)
    with pytest.raises(SystemExit) as caught:
        author.start("broken-table", *small)
    assert caught.value.code == 130
    folder = author.folder("broken-table")
    assert f"go on with --resume {folder}" in capsys.readouterr().err
    monkeypatch.setattr(BaselineTraining, "step", step)
    author.resume("broken-table")
    for one, other in zip(
        *(rows_in(author.folder(name) / "runs.csv") for name in ("whole-table", "broken-table")), strict=True
    ):
        same = [name for name in one if name not in CLOCK_KEYS and name != "run"]
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


@pytest.mark.parametrize(("systems", "texts"), [(("pooled",), 8), (("ours", "pooled"), 24), (("random",), 24)])
def test_the_control_is_trained_as_long_as_what_is_compared(
    systems: tuple[str, ...], texts: int, author: Author, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--table", "2", "--env", "IMDB", "--seeds", "1", "--target-speedup", "1.5", "--systems", *systems]
    counts = ["--policy.total-texts", "8", "--joint.total-texts", "16", "--baseline.total-texts", "8"]
    author.start("control", *asked, *counts, "--plan")
    row = next(line for line in capsys.readouterr().out.splitlines() if CONTROL in line)
    assert [cell.strip() for cell in row.split("│")][1:5] == ["IMDB", CONTROL, "1", str(texts)]


def test_figure_3_multiplies_the_speed_ups_of_a_student(
    author: Author, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    figure = ["--figure", "3", "--seeds", "1", "--speedups", "1.3", "2.5", *SMALL]
    # 2.08x, the paper's, is beyond what late cuts give; it is not asked for where speed-ups are named.
    late = ["--figure", "3", "--seeds", "1", "--speedups", "1.2", "1.3", *SMALL, "--reduction-layers", "3"]
    for named in (figure, late):
        author.start("plan3", *named, "--plan")
        assert "ours on half depth, 1.3x" in " ".join(capsys.readouterr().out.split())
    author.start("figure3", *figure)
    # Two layers of four, of which the second alone can be reduced: less than twice as fast.
    assert "ours on half depth is left out at 2.5x" in " ".join(capsys.readouterr().err.replace("│", " ").split())
    stages = ["train_policy", "joint_finetune"]
    assert started == ["finetune", "joint_finetune", "distilled", *stages * 3]
    folder = author.folder("figure3")
    rows = rows_in(folder / "figure3.csv")
    targets = [(row["system"], row["target"]) for row in rows]
    assert targets == [
        *(("unreduced start", ""), (CONTROL, ""), ("distilled", "2.0")),
        *(("ours", "1.3"), ("ours", "2.5"), ("ours on half depth", "2.6")),
    ]
    assert [row["paper"] for row in rows] == ["", "77.12", "68.17", "", "75.66", "71.75"]
    assert float(rows[-1]["flops_speedup"]) == pytest.approx(2.6, rel=0.1)
    (own,) = folder.glob("ours-on-half-depth-1.3x-seed0/SQuAD2/joint-*/*/metrics.json")
    runs = rows_in(folder / "runs.csv")
    assert float(runs[-1]["flops_speedup"]) == pytest.approx(2 * json.loads(own.read_text())["flops_speedup"])
    assert len({row["full_f1"] for row in runs}) == 1
    assert (folder / "figure3.png").read_bytes().startswith(PNG)
    teachers = {
        json.loads(path.read_text())["facts"]["teacher_fingerprint"] for path in folder.glob("*/*/joint*/*/config.json")
    }
    assert len(teachers) == 1


def test_table_4_marks_tokens_by_the_layer_at_which_they_stop(author: Author, started: list[str]) -> None:
    table = ["--table", "4", "--num-texts", "2", "--target-speedup", "1.5", *OURS]
    author.start("plan4", *table, "--plan")
    author.start("table4", *table)
    assert started == ["finetune", "train_policy", "joint_finetune"]
    folder = author.folder("table4")
    rows = rows_in(folder / "table4.csv")
    assert {row["layer"] for row in rows} <= {"1", "2", "4"}  # before cuts at 2 and 3, and the last
    assert len({row["text_id"] for row in rows}) == 2
    assert [row["layer"] for row in rows if row["token"] == "[CLS]"] == ["4", "4"]
    page = (folder / "table4.md").read_text()
    assert page.count("**[CLS]**") == 2
    stopped = next(row for row in rows if row["layer"] == "1")
    assert f"{stopped['token']}₁" in page
    author.resume("table4")
    assert len(started) == 3


def test_figure_2_is_the_pilot_of_each_data_set(
    author: Author, started: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as planned:
        for stage in ("policy_pace", "joint_pace"):  # of which it makes no run
            planned.setattr(f"runners.reproduction.plan.{stage}", pytest.fail)
        author.start("plan2", "--figure", "2", "--env", "SQuAD2", "--plan", "--backbone", str(author.place.fine_tuned))
    assert "passes of the pilot" in " ".join(capsys.readouterr().out.split())
    author.start("figure2", "--figure", "2", "--env", "SQuAD2", "IMDB")
    assert started == ["finetune", "finetune"]
    folder = author.folder("figure2")
    rows = rows_in(folder / "figure2.csv")
    assert {(row["env"], row["metric"]) for row in rows} == {("SQuAD2", "f1"), ("IMDB", "accuracy")}
    assert len(rows) == 2 * 3 * 10
    assert "| SQuAD2 | residual | 100% |" in (folder / "figure2.md").read_text()
    assert (folder / "figure2.png").read_bytes().startswith(PNG)

    def refused(options: Any) -> None:
        raise AssertionError("the study is there")

    monkeypatch.setattr("runners.reproduction.figure2.pilot", refused)
    author.resume("figure2")


def test_table_3_counts_against_slices(author: Author, started: list[str]) -> None:
    embedded = ["--data-source", "embedded", "--max-train-texts", "24", "--max-eval-texts", "6"]
    table = ["--table", "3", "--env", "Hyperpartisan", "--seeds", "2", "--max-length", "96", "--slices", "48", *OURS]
    longer = Author(author.place, [*author.common[2:], *embedded])
    longer.start("table3", *table, "--target-speedup", "1.5")
    assert started == ["finetune", *["joint_finetune", "train_policy", "joint_finetune"] * 2]
    folder = longer.folder("table3")
    control, ours = rows_in(folder / "table3.csv")
    assert (control["paper"], control["paper_slices_speedup"], ours["paper"]) == ("76.83", "0.92", "")
    # Attention over slices costs less.
    assert 0.5 < float(control["slices_speedup"]) < 1.0
    assert float(ours["slices_speedup"]) == pytest.approx(
        float(control["slices_speedup"]) * float(ours["flops_speedup"]), rel=1e-6
    )
    assert len(list((folder / "slices").glob("*.json"))) == 4
    for row in rows_in(folder / "runs.csv"):
        if row["system"] == CONTROL:
            assert (row["flops_speedup"], row["slices_speedup"]) == ("1.0", row["slices_full_speedup"])
    longer.resume("table3")
    assert len(started) == 7


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "give either --table 2, 3 or 4, or --figure 2 or 3"),
        (["--table", "2", "--figure", "3"], "give either --table 2, 3 or 4, or --figure 2 or 3"),
        (["--table", "2", "--systems", "our"], "did you mean 'ours'?"),
        (["--table", "2", "--policy.unlabelled-file", "x"], "all systems learn from the same training texts: leave"),
        (["--table", "2", "--systems", "ours", "ours"], "none twice"),
        (["--table", "2", "--env", "SQuAD"], "SQuAD2"),
        (["--table", "2", "--env", "SpanQA"], "a user's own data"),
        (["--table", "2", "--speedups", "1.5"], "leave --speedups out"),
        (["--table", "2", "--num-texts", "1"], "leave --num-texts out"),
        (["--table", "2", "--seeds", "0"], "--seeds is 0"),
        (["--table", "2", "--seed", "4294967295"], "beyond the largest seed"),
        (["--table", "2", "--target-speedup", "30"], "30.0 is out of reach"),
        (["--table", "2", "--systems", "early-exit"], "none of --systems fits SQuAD2"),
        (["--table", "2", "--joint.teacher", "x"], "all systems have one teacher"),
        (["--figure", "3", "--baseline.teacher", "x"], "all systems have one teacher"),
        (["--table", "2", "--joint.temperature", "0"], "--joint.temperature is 0"),
        (["--table", "2", "--baseline.total-texts", "0"], "--baseline.total-texts is 0"),
        (["--table", "2", "--systems", "random", "--baseline.temperature", "3"], "leave --baseline.temperature out"),
        (["--table", "2", "--systems", "distilled", "--policy.agent", "ppo"], "leave --policy.agent out"),
        (["--figure", "2", "--policy.total-texts", "8"], "leave --policy.total-texts out"),
        (["--figure", "3", "--speedups", "1.5", "1.5000001"], "alike in six digits"),
        (["--table", "4", "--seeds", "2"], "leave --seeds out"),
        (["--table", "3", "--env", "RACE"], "reads none: leave RACE out of --env"),
        (["--figure", "2", "--reduction-layers", "2"], "leave --reduction-layers out"),
    ],
)
def test_errors(options: list[str], named: str, author: Author, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        author.start("refused", *options)
    assert caught.value.code == 2
    assert named in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (author.place.root / "refused").exists()


def test_figure_3_of_an_encoder_without_a_half(in_process: Any, save_encoder: Any, capsys: Any) -> None:
    encoder = save_encoder(Classification(max_tokens=48), num_hidden_layers=3, max_position_embeddings=512)
    data = ["--env", "IMDB", "--data-source", "embedded", "--max-train-texts", "8", "--max-eval-texts", "4"]
    place = ["--backbone", str(encoder), "--output-dir", str(in_process.root / "no-half"), "--dtype", "float32"]
    with pytest.raises(SystemExit):
        run(reproduce, ReproduceOptions, ["--figure", "3", *data, *place])
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "half of the encoder's 3 layers is a single one" in told
    assert not (in_process.root / "no-half").exists()


def test_what_is_published_is_of_known_data_sets() -> None:
    for row in (*TABLE_2.values(), *TABLE_3.values()):
        assert set(row) <= set(PRESETS)
    assert published("ours", "20NewsGroups") == TABLE_2["ours"]["20NewsGroups"]
    assert published("ltp", "SQuAD2") is None
    assert usual_speedup("power-bert", "IMDB") == 3.05
    assert usual_speedup("power-bert", "SQuAD2") == 2.0
