"""A data set with faulty columns ends a command in one line and status 2, before it leaves anything on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.reinforce import Reinforce
from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.finetune import FinetuneOptions, Finetuner
from runners.finetune import main as finetune
from runners.train_policy import main as train_policy
from runners.training.options.policy import TrainPolicyOptions

HEURISTIC = ["--agent", "random", "--keep-fractions", "0.6", "0.3"]
JOBS: dict[str, tuple[Any, Any, list[str]]] = {
    "evaluate": (evaluate, EvaluateOptions, HEURISTIC),
    "finetune": (finetune, FinetuneOptions, []),
    "train_policy": (train_policy, TrainPolicyOptions, []),
}
#: The jobs and the splits that each reads.
READS = [
    ("evaluate", "validation"),
    ("finetune", "train"),
    ("finetune", "validation"),
    ("train_policy", "train"),
    ("train_policy", "validation"),
]

Rows = list[dict[str, Any]]
Change = Callable[[Rows], None]


def in_row_2(**changed: Any) -> Change:
    """Change one row only."""

    def change(rows: Rows) -> None:
        rows[2] |= changed

    return change


def in_every_row(**changed: Any) -> Change:
    def change(rows: Rows) -> None:
        for row in rows:
            row |= changed

    return change


#: How the rows of a split are changed, and what the message must hold; ID stands for the id of row 2.
FAULTS: dict[str, tuple[Change, str]] = {
    "a null question": (in_row_2(question=None), ", row 2, id 'ID': question is null: fill it in"),
    "a null id": (in_row_2(id=None), ", row 2: id is null: fill it in"),
    "a fraction": (
        in_row_2(answers={"text": ["Bern"], "answer_start": [14.7]}),
        ", row 2, id 'ID': answers.answer_start[0] is 14.7: give a whole number",
    ),
    "one start too few": (
        in_row_2(answers={"text": ["Anna", "Bern"], "answer_start": [0]}),
        ", row 2, id 'ID': answers has 2 text but 1 answer_start: give as many of each",
    ),
    "NaN ids": (in_every_row(id=float("nan")), ": column id has type double, but string is needed: write the column"),
    "lists as context": (in_every_row(context=["a"]), ": column context has type list<element: string>, but string"),
    "a string as text": (
        in_every_row(answers={"text": "Bern", "answer_start": [0]}),
        ": column answers.text has type string, but list<string> is needed: write the column as list<string>",
    ),
    "JSON as answers": (in_every_row(answers="{}"), ": column answers has type string, but struct<text: list<string>"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("job", "split"), READS)
def test_faulty_columns(
    job: str,
    split: str,
    fault: str,
    in_process: Any,
    data: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_work(*_: Any, **__: Any) -> Any:
        pytest.fail("work began before the error")

    monkeypatch.setattr(Reinforce, "learn", no_work)
    monkeypatch.setattr(Finetuner, "step", no_work)
    change, expected = FAULTS[fault]
    folder = data.write(tmp_path / "data")
    file = folder / "squad_v2" / f"{split}.parquet"
    rows = data.rows(split, 8)
    name = rows[2]["id"]
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows), file)
    shutil.rmtree(in_process.root / "failed", ignore_errors=True)
    main, options, own = JOBS[job]
    common = [*in_process.common("failed"), "--backbone", str(in_process.fine_tuned), "--data-dir", str(folder)]

    with pytest.raises(SystemExit) as caught:
        run(main, options, [*common, *own])

    err = capsys.readouterr().err
    assert caught.value.code == 2, err
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert err.endswith(f"{line}\n")
    assert line.startswith(f"error: {file}")
    assert expected.replace("ID", name) in line
    assert len(line) < 600
    assert not (in_process.root / "failed").exists()
