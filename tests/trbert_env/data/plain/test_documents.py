"""Documents of files, folders, tables and data sets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from trbert_env.data import hub
from trbert_env.data.faults import Faults
from trbert_env.data.plain.documents import PIECE, PlainTexts, files_in, of_dataset, pieces_of


def read(texts: PlainTexts) -> list[str]:
    return ["".join(document) for document in texts.documents(Faults(texts.skip_bad_records))]


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def jsonl(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_text_file_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One line.\n\n  \nAnother, naïve.\r\n")
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("no end")
    texts = PlainTexts((tmp_path / "a.txt", tmp_path / "b.txt.gz"))
    assert read(texts) == ["One line.\nAnother, naïve.\r\n", "no end"]
    assert texts.census().description == f"2 documents of 33 characters from {tmp_path}/a.txt, {tmp_path}/b.txt.gz"


def test_a_row_is_a_document(tmp_path: Path) -> None:
    rows = {"title": ["x", "y", "z"], "text": ["First\n\ntext.", "second", None]}
    records = [{"title": title, "text": text} for title, text in zip(*rows.values(), strict=True)]
    (tmp_path / "c.csv").write_text('title,text\nx,"First\n\ntext."\ny,second\nz,\n')
    (tmp_path / "l.json").write_text(json.dumps(records))
    for file in (
        parquet(tmp_path / "p.parquet", **rows),
        jsonl(tmp_path / "j.jsonl", *records),
        tmp_path / "c.csv",
        tmp_path / "l.json",
    ):
        texts = PlainTexts((file,))
        assert read(texts) == ["First\ntext.", "second"], file
        described = texts.census().description
        assert described.startswith(f"2 documents of 17 characters from {file}; text is column 'text' (guessed)")
        assert "not read: 'title'; 1 record" in described
        assert "1 without any text" in described


def test_columns_are_named_or_guessed(tmp_path: Path) -> None:
    file = parquet(tmp_path / "p.parquet", body=["one"], summary=["two"])
    assert read(PlainTexts((file,))) == ["one"]
    assert read(PlainTexts((file,), column="summary")) == ["two"]
    assert "text is column 'summary'" in PlainTexts((file,), column="summary").census().description
    with pytest.raises(
        ValueError, match=r"has no column 'words', which --columns text= names: its columns are body, summary"
    ):
        read(PlainTexts((file,), column="words"))
    other = parquet(tmp_path / "q.parquet", first=["one"], second=["two"])
    with pytest.raises(ValueError, match="the column for text cannot be told: name it with --columns text=NAME"):
        read(PlainTexts((other,)))
    numbers = parquet(tmp_path / "n.parquet", text=[1, 2])
    with pytest.raises(ValueError, match=r"n\.parquet: column text has type int64, but string is needed"):
        read(PlainTexts((numbers,)))
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(ValueError, match="the column 'text' is named, and none of the files is a table"):
        PlainTexts((tmp_path / "a.txt",), column="text")


def test_a_folder_is_all_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a.txt", ".hidden", ".git/x", "b/.swp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    jsonl(tmp_path / "c.jsonl", {"text": "first"}, {"text": "second"})
    texts = PlainTexts((tmp_path, tmp_path / "a.txt"))  # twice, and read once
    assert read(texts) == ["a.txt", "b/10", "b/2", "first", "second"]
    assert texts.census().description.startswith(f"5 documents of 23 characters from 4 files in {tmp_path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no file"):
        files_in(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: give a text file"):
        PlainTexts((tmp_path / "nowhere",))


def test_what_cannot_be_read_is_named_or_left_out_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"words\n" * PIECE + b"\xff\xfe\n")
    (tmp_path / "b").write_text("good")
    (tmp_path / "c").write_text("\n \n")
    (tmp_path / "d.jsonl").write_text('{"text": "one"}\n{"text": \n{"text": "two"}\n')
    with pytest.raises(ValueError, match=r"/a, after line \d+: not UTF-8"):
        read(PlainTexts((tmp_path,)))
    (tmp_path / "a").rename(tmp_path / ".a")
    with pytest.raises(ValueError, match=r"d\.jsonl, line 2: not JSON"):
        read(PlainTexts((tmp_path,)))
    (tmp_path / ".a").rename(tmp_path / "a")
    texts = PlainTexts((tmp_path,), skip_bad_records=True)
    assert read(texts) == ["good", "one", "two"]
    description = texts.census().description
    assert "1 that cannot be read" in description
    assert "1 without any text" in description
    assert "1 that are not JSON" in description


def test_no_text_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"a\.txt holds no text; 1 record .* was skipped.*: give at least one"):
        PlainTexts((tmp_path / "a.txt",)).census()


def test_pieces_end_with_lines_and_lose_nothing() -> None:
    lines = [f"line {number} {'x' * (number % 300)}\n" for number in range(1000)]
    pieces = list(pieces_of(lines))
    assert "".join(pieces) == "".join(lines)
    assert len(pieces) > 5
    assert all(piece.endswith("\n") and PIECE <= len(piece) < PIECE + 400 for piece in pieces[:-1])


def test_the_census_tells_texts_apart(tmp_path: Path) -> None:
    found = set()
    for content in (["ab", "c"], ["a", "bc"], ["abc"], ["ab", "c "]):
        found.add(PlainTexts((parquet(tmp_path / "p.parquet", text=content),)).census().fingerprint)
    assert len(found) == 4
    same = parquet(tmp_path / "elsewhere.parquet", text=["ab", "c"], more=[1, 2])
    assert PlainTexts((same,)).census().fingerprint in found


def test_a_saved_data_set_and_one_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = DatasetDict(train=Dataset.from_dict({"text": ["one", ""]}), valid=Dataset.from_dict({"text": ["two"]}))
    splits.save_to_disk(str(tmp_path / "saved"))
    asked = []
    load: Callable[..., Any] = lambda *names, **options: asked.append((names, options["split"])) or splits  # noqa: E731
    monkeypatch.setattr(hub, "load_dataset", load)
    for name, config in ((str(tmp_path / "saved"), None), ("org/words", "small")):
        tables = of_dataset(name, config)
        assert set(tables) >= {"train", "validation"}
        assert read(PlainTexts(dataset=tables["train"])) == ["one"]
        assert read(PlainTexts(dataset=tables["validation"])) == ["two"]
    assert asked == [(("org/words", "small"), None)]
    assert "from org/words (small) on the hub, train" in PlainTexts(dataset=tables["train"]).census().description
