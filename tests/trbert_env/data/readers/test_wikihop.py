"""WikiHop: official files and the hub's columns, and every odd case of the release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples

BASE: dict[str, Any] = {
    "id": "WH_dev_9",
    "query": "located_in_region old mill",
    "answer": "norland",
    "candidates": ["sudland", "norland", "vest"],
    "supports": ["The old mill stands in Askvik .", "Askvik is a village in Norland ."],
}


def question(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**BASE, **changes}.items() if value is not None}


def load(folder: Path, split: str = "validation", skip: bool = False) -> Any:
    return load_examples("wikihop", split, data_dir=str(folder), skip_bad_records=skip)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("qangaroo_v1.1/wikihop/train.json", "train"),
        ("wikihop/dev.json", "validation"),
        ("wikihop/wikihop/dev.json.gz", "validation"),
        ("dev.json", "validation"),
    ],
)
def test_official(name: str, split: str, write: Any, tmp_path: Path) -> None:
    write(name, [question(annotations=[["follows", "likely"]])])
    write(f"{name.partition('.json')[0]}.masked.json", [question(candidates=["___MASK1___"])])
    assert load(tmp_path, split).dataset.to_list() == [{**BASE, "answer": 1}]


@pytest.mark.parametrize("name", ["wikihop/wikihop/validation", "wikihop/validation", "validation"])
def test_columns_of_the_hub(name: str, write: Any, tmp_path: Path) -> None:
    rows = [question(), question(id="WH_dev_10", answer="vest")]
    write(f"{name}.parquet", {column: [row[column] for row in rows] for column in BASE})
    found = load(tmp_path).dataset
    assert found["answer"][:] == [1, 2]
    assert found["candidates"][0] == BASE["candidates"]


def test_two_to_seventy_nine_candidates(write: Any, tmp_path: Path) -> None:
    many = [f"town {number}" for number in range(79)]
    write("dev.json", [question(candidates=["norland", "vest"]), question(id="b", candidates=many, answer=many[78])])
    found = load(tmp_path).dataset
    assert [len(candidates) for candidates in found["candidates"]] == [2, 79]
    assert found["answer"][:] == [0, 78]


def test_repeated_and_empty_supports_are_there_once_or_not_at_all(write: Any, tmp_path: Path) -> None:
    supports = ["First .", "Second .", "First .", " ", ""]
    write("dev.json", [question(supports=supports)])
    assert load(tmp_path).dataset["supports"][0] == ["First .", "Second ."]


def test_a_candidate_that_is_the_subject_stays(write: Any, tmp_path: Path) -> None:
    write("dev.json", [question(candidates=["old mill", "norland"])])
    row = load(tmp_path).dataset[0]
    assert (row["candidates"], row["answer"]) == (["old mill", "norland"], 1)


def test_a_wrong_candidate_may_come_twice(write: Any, tmp_path: Path) -> None:
    write("dev.json", [question(candidates=["vest", "vest", "norland"])])
    assert load(tmp_path).dataset[0]["answer"] == 2


def test_only_the_masked_form_is_there(write: Any, tmp_path: Path) -> None:
    write("wikihop/dev.masked.json", [question()])
    with pytest.raises(FileNotFoundError, match=r"wikihop holds dev.masked.json but no dev.json: the masked"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ([1], ": not a JSON object"),
        (question(id=None), ": the question has no id"),
        (question(id="b", query=None), ", id 'b': the question has no query"),
        (question(id="b", query="  "), ", id 'b' has an empty query"),
        (question(id="b", answer=None), ", id 'b': the question has no answer"),
        (question(id="b", answer="Norland"), ": its answer 'Norland' is none of its 3 candidates: exactly one must"),
        (question(id="b", candidates=["norland"] * 2), ": its answer 'norland' is 2 of its 2 candidates"),
        (question(id="b", candidates=["norland"]), ", id 'b' has 1 candidates: give at least 2"),
        (question(id="b", candidates="norland"), ": candidates of the question is str, but list is needed"),
        (question(id="b", candidates=["norland", 5]), ": candidates are not all strings"),
        (question(id="b", supports=[]), ": the question has no supports"),
        (question(id="b", supports=[""]), ": the question has no supports"),
        (question(id="b", supports=[["a"]]), ": supports are not all strings"),
        (question(id="WH_dev_9"), ": id 'WH_dev_9' comes twice, first in question 0"),
        (
            question(id="b", answer="___MASK7___", candidates=["___MASK7___", "___MASK1___"]),
            ", id 'b': its candidates are masked: the masked form hides the candidates: give train.json",
        ),
    ],
)
def test_faults(odd: Any, message: str, write: Any, tmp_path: Path) -> None:
    file = write("dev.json", [question(), odd])
    with pytest.raises(ValueError, match=rf"^{file}, question 1") as caught:
        load(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    found = load(tmp_path, skip=True)
    assert found.dataset["id"][:] == ["WH_dev_9"]
    assert sum(found.left_out.values()) == 1
