"""Malformed records: the first raises an error, or all are counted by kind."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trbert_env.data import load_examples
from trbert_env.data.faults import Faults


def test_summary() -> None:
    faults = Faults(skip=True)
    assert faults.summary == ""
    for line in (17, 20):
        faults.report("train.csv", f"line {line}", "without a label", ": label is missing")
    faults.report("train.csv", "line 3", "with an empty text", " has an empty text")
    assert faults.summary == (
        "3 records of train.csv were skipped: 2 without a label (first: line 17), 1 with an empty text (first: line 3)"
    )
    for number in range(4):
        faults.leave_out(f"{number}.csv", "row 0", "without a label")
    assert "; 1 record of 0.csv was skipped: 1 without a label (first: row 0); " in faults.summary
    assert faults.summary.endswith("; and some of 2 more files")
    assert faults.counts == {"without a label": 6, "with an empty text": 1}
    at = ("a.csv", "line 3", "with an empty text", " has an empty text")
    with pytest.raises(
        ValueError, match=r"^a.csv, line 3 has an empty text; skip_bad_records leaves such records out$"
    ):
        Faults().report(*at)
    with pytest.raises(ValueError, match=r"^a.csv, line 3 has an empty text$"):
        Faults(skippable=False).report(*at)


def squad(rows: int, faulty: int) -> pa.Table:
    every = [row % (rows // faulty) == 1 for row in range(rows)]
    return pa.table(
        {
            "id": [str(row) for row in range(rows)],
            "title": ["towns"] * rows,
            "context": [None if odd and row % 2 else "Oslo lies by the sea." for row, odd in enumerate(every)],
            "question": ["Where?"] * rows,
            "answers": [
                {"text": ["Oslo"], "answer_start": [-1 if odd and not row % 2 else 0]} for row, odd in enumerate(every)
            ],
        }
    )


def test_faulty_columns_are_skipped_with_their_rows(tmp_path: Path) -> None:
    """Thousands of them within seconds; the others keep their places."""
    file = tmp_path / "train.parquet"
    pq.write_table(squad(60_000, 4000), file, row_group_size=7000)
    begun = time.perf_counter()
    found = load_examples("squad_v2", "train", data_dir=str(tmp_path), skip_bad_records=True)
    assert time.perf_counter() - begun < 20
    assert len(found.dataset) == 56_000
    assert found.left_out == {"without context": 2000, "with a faulty answers.answer_start": 2000}
    assert "2,000 without context (first: row 1, id '1')" in found.description
    assert "1" not in found.dataset["id"][:3]


def test_ids_twice_over_files(tmp_path: Path) -> None:
    first, second = (tmp_path / f"train-0000{index}-of-00002.parquet" for index in range(2))
    for file in (first, second):
        pq.write_table(squad(30, 10).slice(2, 1), file)
    message = rf"^{second}, row 0: id '2' comes twice, first in row 0 of {first}: make each"
    with pytest.raises(ValueError, match=message):
        load_examples("squad_v2", "train", data_dir=str(tmp_path))
    assert len(load_examples("squad_v2", "train", data_dir=str(tmp_path), skip_bad_records=True).dataset) == 1
