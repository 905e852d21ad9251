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
    assert texts == [("a:0", {"text": "A row."}), ("b.txt", {"text": "One line.\nAnother.\n"})]
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


def test_names_of_columns_hold_where_a_table_has_them(tmp_path: Path, make_file: Any) -> None:
    own = make_file(tmp_path, "csv", {"text": ["no"], "words": ["yes"]}, stem="own")
    other = make_file(tmp_path, "csv", {"text": ["guessed"]}, stem="other")
    assert [values["text"] for _, values in read(own, other, text="words")] == ["yes", "guessed"]
    pairs = make_file(tmp_path, "csv", {"q": ["a"], "p": ["b"], "query": ["c"], "passage": ["d"]}, stem="pairs")
    ((_, values),) = read(pairs, fields=("text", "text_pair"), text="q", text_pair="p")
    assert values == {"text": "a", "text_pair": "b"}


@pytest.mark.parametrize(
    ("columns", "fields", "message"),
    [
        (("words",), ("text",), "the column of the text cannot be told: call it text; its columns are words"),
        (("review", "body"), ("text",), "the column of the text cannot be told: call it text; its columns are review"),
        (("text", "stars"), ("text", "text_pair"), "cannot be told: call it text and text_pair; its columns are text"),
        (("question", "stars"), ("question", "context"), "the column of the context cannot be told: call it context"),
    ],
)
def test_columns_that_cannot_be_told(
    columns: tuple[str, ...], fields: tuple[str, ...], message: str, tmp_path: Path, make_file: Any
) -> None:
    file = make_file(tmp_path, "csv", {name: ["x"] for name in columns})
    with pytest.raises(ValueError, match=message):
        read(file, fields=fields)


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
