"""Faults of own texts' records and files."""

from __future__ import annotations

import csv
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples
from trbert_env.data.own import OwnFiles, TextClassification

Columns = dict[str, list[Any]]


def test_nan_in_json_is_missing_as_in_parquet(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    values: Columns = {"text": ["a", "b", "c", math.nan], "label": [0, math.nan, 1, 1]}
    for ending in ("jsonl", "json"):
        file = make_file(tmp_path, ending, values)
        with pytest.raises(ValueError, match=r"label is missing: fill it in"):
            load_texts(file)
        found = load_texts(file, skip=True)
        assert found.labels == ("0", "1")
        assert found.dataset["text"][:] == ["a", "c"]


@pytest.mark.parametrize(
    ("column", "value", "kind"), [("text", ["a", "b"], "a list"), ("label", {"a": 1}, "an object")]
)
def test_json_lists_and_objects_are_no_texts_and_no_labels(
    column: str, value: Any, kind: str, tmp_path: Path, make_file: Any, load_texts: Any
) -> None:
    values: Columns = {"text": ["a", "b", "c"], "label": ["x", "y", "x"]}
    values[column][1] = value
    for ending, at in (("json", "record 1"), ("ndjson", "line 2")):
        file = make_file(tmp_path, ending, values)
        with pytest.raises(ValueError, match=f"^{file}, {at}: {column} is {kind}: write one string or number"):
            load_texts(file)
        assert load_texts(file, skip=True).dataset["text"][:] == ["a", "c"]


def test_faults(ending: str, tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    values: Columns = {
        "text": ["two\nlines", "b", " ", "d"],
        "label": ["x", None, "y", "x"],
        "id": ["1", "2", "3", "1"],
    }
    file = make_file(tmp_path, ending, values)
    place = {"csv": "line 4", "tsv": "line 4", "jsonl": "line 3", "ndjson": "line 2", "parquet": "row 1"}
    at = place.get(ending, "record 1")
    with pytest.raises(
        ValueError, match=rf"^{file}, {at}: label is missing: fill it in; skip_bad_records leaves such records out$"
    ):
        load_texts(file)
    found = load_texts(file, skip=True)
    assert found.dataset["text"][:] == ["two\nlines"]
    assert found.left_out == {
        "without a label": 1,
        "with an empty text": 1,
        "with the id of an earlier one": 1,
    }
    assert f"; 3 records of {file} were skipped: 1 without a label (first: {at}), 1 with" in found.description


def test_lines_that_are_no_records(tmp_path: Path, load_texts: Any) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a", "label": "x"}\n{"text": \n[1]\n{"text": "b", "label": "y"}\n')
    with pytest.raises(ValueError, match=f"^{file}, line 2: not JSON"):
        load_texts(file)
    assert load_texts(file, skip=True).dataset["text"][:] == ["a", "b"]
    file = tmp_path / "a.csv"
    file.write_text('text,label\n"a\n",x\nb\nc,y,z\nd,x\n')
    with pytest.raises(ValueError, match=f"^{file}, line 4: 1 values, but there are 2 columns"):
        load_texts(file)
    found = load_texts(file, skip=True)
    assert found.dataset["id"][:] == ["a:0", "a:3"]
    assert "2 with too many or too few values (first: line 4)" in found.description


def test_tsv_with_quotes_that_are_text(tmp_path: Path, load_texts: Any) -> None:
    file = tmp_path / "a.tsv"
    file.write_text('sentence\tlabel\n"Yes, he said.\t1\nHe said "no"\t0\n')
    assert load_texts(file).dataset["text"][:] == ['"Yes, he said.', 'He said "no"']


@pytest.mark.parametrize("faulty", [False, True])
def test_quotes_far_behind_in_a_tsv_swallow_no_lines(faulty: bool, tmp_path: Path, load_texts: Any) -> None:
    """Between two opening quotes, hundreds of records would become one, with the label of the last."""
    lines = [f"film number {row} is fine\t{'pos' if row % 2 else 'neg'}" for row in range(3000)]
    lines[2100], lines[2500] = '"Good film, he said\tpos', '"Bad film, she said\tneg'
    if faulty:
        lines[10] = "a line without a label"
    file = tmp_path / "a.tsv"
    file.write_text("\n".join(["text\tlabel", *lines]))
    found = load_texts(file, skip=faulty)
    assert len(found.dataset) == 3000 - faulty
    assert found.dataset["text"][2100 - faulty] == '"Good film, he said'


@pytest.mark.parametrize("text", ["a\tb", "A table:\nrow\t5\nend", 'he said "no"\tand went'])
def test_tabs_within_quotes_of_a_tsv(text: str, tmp_path: Path, load_texts: Any) -> None:
    file = tmp_path / "a.tsv"
    with file.open("w", newline="") as opened:
        csv.writer(opened, delimiter="\t").writerows([["text", "label"], [text, "x"], ["c", "y"], ["d", "x"]])
    assert load_texts(file).dataset["text"][:] == [text, "c", "d"]


@pytest.mark.parametrize("order", [("text", "label"), ("label", "text"), ("id", "text", "label")])
def test_quotes_around_values_of_several_lines_of_a_tsv(
    order: tuple[str, ...], tmp_path: Path, load_texts: Any
) -> None:
    rows = [{"id": str(row), "text": f"film {row}\nis fine", "label": "ab"[row % 2]} for row in range(9)]
    rows[4]["text"] = "plain"
    file = tmp_path / "a.tsv"
    with file.open("w", newline="") as opened:
        csv.writer(opened, delimiter="\t").writerows([order, *([row[name] for name in order] for row in rows)])
    assert load_texts(file).dataset["text"][:] == [row["text"] for row in rows]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"a", "is of no known format: give CSV"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text,label\n", "has no rows"),
        ("a.json", b"", "is empty"),
        ("a.json", b"[]", "the column for text cannot be told"),
        ("a.json", b'{"rows": []}', "is not a JSON object with a list 'data'"),
        ("a.json", b'[{"text": "a", "label": 1}, {"text": ]', "line 1, is not JSON"),
        ("a.json", b'[{"text": "a", "label": 1} {}]', "is not JSON (expected , or ])"),
        ("a.json", b'[{"text": "a", "label": 1}] x', "is not JSON (there is text behind the list)"),
        ("a.csv.gz", gzip.compress(b"text,label\na,1\n" * 99, mtime=0)[:-12], "a.csv.gz"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a", "label": 1}\n', mtime=0)[:-9], "is not a whole gzip file"),
        ("a.jsonl", b'{"text": "\xff", "label": 1}\n', "not UTF-8"),
        ("a.csv", b"text,label\na,1\n\xff,1\n", "line 3, id 'a:1': text is b'\\xff', which is not UTF-8"),
        ("a.parquet", b"PAR1", "is not a readable parquet file"),
    ],
)
def test_files_that_cannot_be_read(name: str, content: bytes, message: str, tmp_path: Path, load_texts: Any) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"a[.]") as caught:
        load_texts(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_too_many(tmp_path: Path, load_texts: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        load_texts(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=rf"^{tmp_path} is a folder: name a file in it, or give .* as dataset$"):
        load_texts(tmp_path)
    for wrong in ({}, {"train_file": "a.csv", "dataset": "b"}):
        with pytest.raises(ValueError, match=r"give files \(train_file, validation_file\) or a data set"):
            OwnFiles(**wrong)
    with pytest.raises(ValueError, match=r"validation_share is 1\.5"):
        OwnFiles("a.csv", validation_share=1.5)
    for named in ({"validation_share": 0.2}, {"split_seed": 3}):
        with pytest.raises(ValueError, match="leave validation_share and split_seed out"):
            OwnFiles("a.csv", "b.csv", **named)
    with pytest.raises(ValueError, match=r"a.csv is both train_file and validation_file"):
        OwnFiles("a.csv", "./b/../a.csv")
    with pytest.raises(ValueError, match="dataset_config is 'main', which only a data set of the hub has"):
        OwnFiles("a.csv", config="main")
    with pytest.raises(ValueError, match="own files do not come from the embedded corpora"):
        load_examples(TextClassification(OwnFiles("a.csv")), "train", "embedded")


def test_a_long_json_list_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_file: Any, load_texts: Any
) -> None:
    from trbert_env.data import json_items

    monkeypatch.setattr(json_items, "_CHUNK", 7)
    rows = {"text": [f'text {row} ]}}, "quoted"' for row in range(50)], "label": list(range(50))}
    assert load_texts(make_file(tmp_path, "json", rows)).dataset["text"][:] == rows["text"]


@pytest.mark.parametrize("cut", [8, 25, 33, 34])
def test_a_line_that_is_cut_off_is_said_to_end_early(cut: int, tmp_path: Path, load_texts: Any) -> None:
    file = tmp_path / "cut.jsonl"
    line = json.dumps({"text": "a fine film", "label": "good"})
    file.write_text(f"{line}\n{line[:cut]}\n{line}\n")
    with pytest.raises(ValueError, match=f"^{file}, line 2: not JSON, for the line ends early: complete or remove it"):
        load_texts(file)
