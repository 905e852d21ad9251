"""Own texts without labels: tables and text files, guesses of columns, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trbert_env.data.faults import Faults
from trbert_env.data.own.unlabelled import Unlabelled, UnlabelledTexts


def read(*files: Path, fields: tuple[str, ...] = ("text",), skip: bool = False, **columns: str) -> list[Unlabelled]:
    batches = UnlabelledTexts(files, columns).batches(fields, Faults(skip))
    return [text for batch in batches for text in batch]


def test_every_format(ending: str, tmp_path: Path, make_file: Any) -> None:
    file = make_file(tmp_path, ending, {"review": ["Good\nsoup", "Bad food"], "stars": [1, 2]})
    assert [values for _, values in read(file)] == [{"text": "Good\nsoup"}, {"text": "Bad food"}]


def test_a_folder_of_text_files_and_tables(tmp_path: Path, make_file: Any) -> None:
    (tmp_path / "b.txt").write_text("One line.\n\nAnother.\n")
    (tmp_path / "c.txt").write_text(" \n")
    make_file(tmp_path, "csv", {"text": ["A row.", " "]}, stem="a")
    faults = Faults()
    found = UnlabelledTexts((tmp_path,))
    texts = [text for batch in found.batches(("text",), faults) for text in batch]
    assert texts == [("a.csv:0", {"text": "A row."}), ("b.txt", {"text": "One line.\nAnother.\n"})]
    origin = found.origin(("text",), faults)
    assert origin.startswith(f"{tmp_path}; text is column 'text' (guessed)")
    assert "without any text" in origin
    assert "with an empty text" in origin


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        (("query", "passage"), ("text", "text_pair")),
        (("text", "text_pair"), ("text", "text_pair")),
        (("Question", "Context"), ("question", "context")),
        (("query", "document"), ("question", "context")),
    ],
)
def test_two_texts(columns: tuple[str, str], fields: tuple[str, str], tmp_path: Path, make_file: Any) -> None:
    file = make_file(tmp_path, "csv", {columns[0]: ["a", "b", ""], columns[1]: ["c", "d", "e"], "other": [1, 2, 3]})
    pairs = [tuple(values[name] for name in fields) for _, values in read(file, fields=fields)]
    assert pairs == [("a", "c"), ("b", "d")]


def test_columns_by_name(tmp_path: Path, make_file: Any) -> None:
    own = make_file(tmp_path, "csv", {"text": ["no"], "words": ["yes"]}, stem="own")
    assert [values["text"] for _, values in read(own, text="words")] == ["yes"]
    halves = make_file(tmp_path, "csv", {"query": ["a"], "passage": ["b"]}, stem="halves")
    assert [values["text"] for _, values in read(halves, text="query")] == ["a"]
    pairs = make_file(tmp_path, "csv", {"q": ["a"], "p": ["b"], "query": ["c"], "passage": ["d"]}, stem="pairs")
    ((_, values),) = read(pairs, fields=("text", "text_pair"), text="q", text_pair="p")
    assert values == {"text": "a", "text_pair": "b"}
    with_index = make_file(tmp_path, "csv", {"": [0], "query": ["a"], "passage": ["b"]}, stem="with_index")
    ((_, values),) = read(with_index, fields=("text", "text_pair"))
    assert values == {"text": "a", "text_pair": "b"}


ONE, TWO, ASKED = ("text",), ("text", "text_pair"), ("question", "context")


@pytest.mark.parametrize(
    ("columns", "fields", "named", "message"),
    [
        ("words", ONE, {}, "the column for text cannot be told: name it with --unlabelled-columns text=NAME"),
        ("review body", ONE, {}, "the column for text may be 'review' or 'body': name it with --unlabelled-columns"),
        ("query passage", ONE, {}, "texts of this task stand alone, and 'query' and 'passage' are pairs"),
        ("text stars", TWO, {}, "texts of this task are pairs, and the column of the second cannot be told"),
        ("question stars", ASKED, {}, "the column for context cannot be told: name it with --unlabelled-columns"),
        ("text", ONE, {"text": "txt"}, "has no column 'txt', which --unlabelled-columns text= names: did you mean"),
        ("text", ONE, {"label": "text"}, "names 'label', and a text has no such field: name text"),
        ("a", ASKED, {"question": "a", "context": "a"}, "question and context are one column, 'a': name another with"),
    ],
)
def test_columns_that_cannot_be_told(
    columns: str, fields: tuple[str, ...], named: dict[str, str], message: str, tmp_path: Path, make_file: Any
) -> None:
    file = make_file(tmp_path, "csv", {name: ["x"] for name in columns.split()})
    with pytest.raises(ValueError, match=message):
        read(file, fields=fields, **named)


def test_ids_differ_and_do_not_tell_where_files_lie(
    tmp_path: Path, make_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        make_file(tmp_path / folder, "csv", {"text": ["A text."]})
        (tmp_path / folder / "a.txt").write_text("A text.")
    keys = [key for key, _ in read(tmp_path)]
    assert len(set(keys)) == 4
    assert len({key for key, _ in read(tmp_path / "one", tmp_path / "two")}) == 4
    monkeypatch.chdir(tmp_path)
    assert [key for key, _ in read(Path())] == keys


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        UnlabelledTexts((tmp_path / "none.csv",))
    (tmp_path / "a.txt").write_text("A text.")
    with pytest.raises(ValueError, match=r"a\.txt is a text file, and a text has question and context: give a table"):
        read(tmp_path / "a.txt", fields=("question", "context"))
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="not UTF-8"):
        read(tmp_path)
    assert [key for key, _ in read(tmp_path, skip=True)] == ["a.txt"]
    with pytest.raises(ValueError, match="--unlabelled-columns names a column, and none of the files is a table"):
        read(tmp_path / "a.txt", text="words")
