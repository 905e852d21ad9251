"""RACE: official files and the hub's columns; questions of one file stay together."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples, sample
from trbert_env.data.readers import race

FILE = {
    "article": "Ben lost his hat.\nHe looked in the barn.",
    "id": "middle9.txt",
    "questions": ["What did Ben lose?", "He looked in _ ."],
    "options": [["A coat", "A hat", "", "A hat"], ["the house", "the barn", "a box", "town"]],
    "answers": ["B", "D"],
}


def test_official(write: Any, tmp_path: Path) -> None:
    write("RACE/dev/middle/9.txt", FILE)
    write("RACE/dev/middle/10.txt", {**FILE, "id": None})
    write("RACE/dev/high/9.txt", {**FILE, "id": "high9.txt"})
    found = load_examples("race", "validation", data_dir=str(tmp_path)).dataset
    assert found["id"][:] == [
        *("high9.txt-0", "high9.txt-1", "middle9.txt-0", "middle9.txt-1", "middle10.txt-0", "middle10.txt-1")
    ]
    assert found[3] == {
        "id": "middle9.txt-1",
        "group": "middle9.txt",
        "article": FILE["article"],
        "question": "He looked in _ .",
        "options": FILE["options"][1],
        "answer": 3,
        "subset": "middle",
    }
    assert found["subset"][:] == ["high"] * 2 + ["middle"] * 4
    high = load_examples(race("high"), "validation", data_dir=str(tmp_path)).dataset
    assert high["group"][:] == ["high9.txt"] * 2
    with pytest.raises(ValueError, match="RACE has no configuration 'low'"):
        race("low")


@pytest.mark.parametrize(
    ("change", "message", "left"),
    [
        ({"answers": ["B", "E"]}, "middle/9.txt, question 1: answer is 'E': give one of A, B, C, D", 1),
        ({"answers": ["E", "B"]}, "middle/9.txt, question 0: answer is 'E': give one of A, B, C, D", 1),
        ({"answers": ["B"]}, "middle/9.txt: 2 questions and 2 options and 1 answers: give as many", 0),
        ({"article": None}, "middle/9.txt: the file has no article", 0),
        ({"questions": "What?"}, "questions of the file is str, but list is needed", 0),
        ({"options": [["a"], ["b"]]}, "middle/9.txt, id 'middle9.txt-0' has 1 options: give at least 2", 0),
        ({"options": [["a", "b"], ["b", "c"]]}, "id 'middle9.txt-1': answer is 3, but there are 2 options", 1),
        ({"questions": [1, "b"]}, "middle/9.txt: question has another type than string", 1),
    ],
)
def test_faults(change: dict[str, Any], message: str, left: int, write: Any, tmp_path: Path) -> None:
    write("train/middle/9.txt", {**FILE, **change})
    write("train/high/1.txt", {**FILE, "id": "high1.txt"})
    with pytest.raises(ValueError, match=r"^\S+train, ") as caught:
        load_examples("race", "train", data_dir=str(tmp_path))
    assert message in str(caught.value)
    found = load_examples("race", "train", data_dir=str(tmp_path), skip_bad_records=True)
    assert len(found.dataset) == 2 + left
    assert found.left_out


def test_a_byte_order_mark_is_none_of_the_text(write: Any, tmp_path: Path) -> None:
    write("RACE/dev/high/9.txt", FILE)
    (tmp_path / "RACE" / "dev" / "middle").mkdir()
    (file,) = tmp_path.rglob("9.txt")
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    found = load_examples("race", "validation", data_dir=str(tmp_path)).dataset
    assert found["article"][0] == FILE["article"]


def test_files_that_are_no_json(write: Any, tmp_path: Path) -> None:
    write("test/high/1.txt", "{")
    (tmp_path / "test" / "middle").mkdir()
    with pytest.raises(ValueError, match=r"high/1\.txt: not JSON"):
        load_examples("race", "test", data_dir=str(tmp_path))
    write("test/high/1.txt", b"\xff")
    with pytest.raises(ValueError, match=r"high/1\.txt: not UTF-8"):
        load_examples("race", "test", data_dir=str(tmp_path))


def columns(*files: str) -> dict[str, list[Any]]:
    count = len(files)
    return {
        "example_id": list(files),
        "article": ["a"] * count,
        "answer": ["C"] * count,
        "question": ["q"] * count,
        "options": [["a", "b", "c", "d"]] * count,
    }


@pytest.mark.parametrize("folder", ["race", "race/all", "all", "."])
def test_shards_number_the_questions_of_a_file_on(folder: str, write: Any, tmp_path: Path) -> None:
    write(f"{folder}/train-00000-of-00002.parquet", columns("high1.txt", "middle1.txt", "high2.txt"))
    write(f"{folder}/train-00001-of-00002.parquet", columns("high2.txt", "high3.txt"))
    found = load_examples("race", "train", data_dir=str(tmp_path)).dataset
    assert found["id"][:] == ["high1.txt-0", "middle1.txt-0", "high2.txt-0", "high2.txt-1", "high3.txt-0"]
    assert set(found["answer"][:]) == {2}
    assert found["subset"][:] == ["high", "middle", "high", "high", "high"]


@pytest.mark.parametrize(
    ("options", "message"), [("abcd", "options has another type than"), (["a"], "has 1 options: give at least 2")]
)
def test_options_that_are_none(options: Any, message: str, write: Any, tmp_path: Path) -> None:
    good = {"article": "a", "questions": ["q"], "options": [["a", "b"]], "answers": ["A"]}
    write("train/high/1.txt", json.dumps(good))
    (tmp_path / "train" / "middle").mkdir()
    write("train/high/2.txt", json.dumps({**good, "options": [options]}))
    with pytest.raises(ValueError, match=message):
        load_examples("race", "train", data_dir=str(tmp_path))
    assert len(load_examples("race", "train", data_dir=str(tmp_path), skip_bad_records=True).dataset) == 1


def test_letters_that_are_none(write: Any, tmp_path: Path) -> None:
    file = write("race/test.parquet", {**columns("high1.txt", "high2.txt"), "answer": ["A", "5"]})
    with pytest.raises(ValueError, match=rf"^{file}, row 1, example_id 'high2.txt': answer is '5': give one of A, B"):
        load_examples("race", "test", data_dir=str(tmp_path))


def test_samples_take_whole_files(write: Any, tmp_path: Path) -> None:
    write("race/train.parquet", columns(*(f"high{row // 4}.txt" for row in range(80))))
    found = load_examples("race", "train", data_dir=str(tmp_path)).dataset
    assert len(sample(found, 10)) == 8
    assert len(set(sample(found, 10)["group"][:])) == 2
