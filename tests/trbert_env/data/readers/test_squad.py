"""SQuAD: the official files of version 1.1 and 2.0, and both layouts of the answers in parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples

CONTEXT = "Oslo lies by the sea. Bern does not."


def question(key: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    given = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": key, "question": f"Which town is {key}?", "answers": given, **more}


def squad(*questions: Any, context: Any = CONTEXT) -> dict[str, Any]:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return {"version": "v2.0", "data": [{"title": "Towns", "paragraphs": paragraphs}]}


def test_version_2(write: Any, tmp_path: Path) -> None:
    plausible = [{"text": "Bern", "answer_start": 22}]
    impossible = question("b", is_impossible=True, plausible_answers=plausible)
    write("dev-v2.0.json", squad(question("a", ("Oslo", 0), ("Oslo lies", 0), is_impossible=False), impossible))
    found = load_examples("squad_v2", "validation", data_dir=str(tmp_path))
    assert found.description == f"squad_v2 validation, 2 examples from {tmp_path}/dev-v2.0.json"
    first, second = found.dataset.to_list()
    assert first == {
        "id": "a",
        "title": "Towns",
        "context": CONTEXT,
        "question": "Which town is a?",
        "answers": {"text": ["Oslo", "Oslo lies"], "answer_start": [0, 0]},
    }
    assert second["answers"] == {"text": [], "answer_start": []}


def test_ids_that_are_counted(write: Any, tmp_path: Path) -> None:
    write("dev-v2.0.json", squad({**question("a", ("Oslo", 0)), "id": 7}))
    assert load_examples("squad_v2", "validation", data_dir=str(tmp_path)).dataset["id"][:] == ["7"]


def test_null_answers_are_none(write: Any, tmp_path: Path) -> None:
    write("dev-v2.0.json", squad({**question("a"), "answers": None}))
    found = load_examples("squad_v2", "validation", data_dir=str(tmp_path))
    assert found.dataset["answers"][:] == [{"text": [], "answer_start": []}]


@pytest.mark.parametrize("name", ["squad_v2/train-v1.1.json", "train-v1.1.json.gz"])
def test_version_1(name: str, write: Any, tmp_path: Path) -> None:
    write(name, squad(question("a", ("Bern", 22))))
    assert len(load_examples("squad_v2", "train", data_dir=str(tmp_path)).dataset) == 1


def test_version_2_goes_before_version_1_and_parquet_before_both(write: Any, tmp_path: Path) -> None:
    write("train-v1.1.json", squad(question("old", ("Bern", 22))))
    write("train-v2.0.json", squad(question("new", ("Bern", 22))))
    assert load_examples("squad_v2", "train", data_dir=str(tmp_path)).dataset["id"][:] == ["new"]
    answers = [[{"text": "Oslo", "answer_start": 0}], []]
    columns = {"id": ["c", "d"], "title": ["t"] * 2, "context": [CONTEXT] * 2, "question": ["?"] * 2}
    write("squad_v2/train.parquet", {**columns, "answers": answers})
    found = load_examples("squad_v2", "train", data_dir=str(tmp_path)).dataset
    assert found["answers"][:] == [{"text": ["Oslo"], "answer_start": [0]}, {"text": [], "answer_start": []}]


FAULTS: dict[str, tuple[Any, str]] = {
    "no answers": ({"id": "b", "question": "?"}, "question 1, id 'b': the question has no answers"),
    "a fraction as id": (question(7.5), "question 1, id 7.5: id of the question is float, but str is needed"),  # type: ignore[arg-type]
    "no question": ({"id": "b", "answers": []}, "question 1, id 'b': the question has no question"),
    "a string as start": (question("b", ("Oslo", "0")), "answer_start of an answer is str, but int"),  # type: ignore[arg-type]
    "no object": ("b", "question 1: the question has no answers"),
    "an answer elsewhere": (
        question("b", ("Bern", 3)),
        "question 1, id 'b': its answer 'Bern' does not fit its context at answer_start 3, where 'o li' stands",
    ),
    "a negative start": (question("b", ("Bern", -1)), "question 1, id 'b': answers.answer_start[0] is -1: give"),
    "a blank question": (
        {**question("b", ("Oslo", 0)), "question": " "},
        "question 1, id 'b' has an empty question: fill it in or leave the row out",
    ),
    "an id twice": (question("a", ("Oslo", 0)), "question 1: id 'a' comes twice, first in question 0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_or_skipped(fault: str, write: Any, tmp_path: Path) -> None:
    wrong, message = FAULTS[fault]
    file = write("train-v2.0.json", squad(question("a", ("Oslo", 0)), wrong, question("c", ("Oslo", 0))))
    with pytest.raises(ValueError, match="^" + str(file)) as caught:
        load_examples("squad_v2", "train", data_dir=str(tmp_path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    found = load_examples("squad_v2", "train", data_dir=str(tmp_path), skip_bad_records=True)
    assert found.dataset["id"][:] == ["a", "c"]
    assert sum(found.left_out.values()) == 1
    assert f"; 1 record of {file} was skipped: 1 " in found.description
    assert "(first: question 1" in found.description


def test_files_that_are_no_squad(write: Any, tmp_path: Path) -> None:
    file = write("train-v2.0.json", '{"data": [\n1,}')
    with pytest.raises(ValueError, match=f"^{file}, line 2, is not JSON"):
        load_examples("squad_v2", "train", data_dir=str(tmp_path))
    write("train-v2.0.json", {"data": [{"text": "a"}]})
    with pytest.raises(ValueError, match="is no SQuAD file"):
        load_examples("squad_v2", "train", data_dir=str(tmp_path))
    write("train-v2.0.json", b"\xff\xfe{")
    with pytest.raises(ValueError, match="is not UTF-8"):
        load_examples("squad_v2", "train", data_dir=str(tmp_path))


def test_splits_that_it_does_not_have(tmp_path: Path) -> None:
    for source in ("hub", "embedded", "auto"):
        with pytest.raises(ValueError, match=r"^squad_v2 has no split 'test': choose from train, validation$"):
            load_examples("squad_v2", "test", source)
    with pytest.raises(FileNotFoundError, match=r"has no squad_v2/test.parquet .* has no split 'test'"):
        load_examples("squad_v2", "test", "local", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"put the official files there: train-v2.0.json"):
        load_examples("squad_v2", "train", "local", str(tmp_path))


@pytest.mark.parametrize(
    ("paragraph", "left"),
    [("Bern", 1), ({"context": CONTEXT, "qas": "what?"}, 1), ({"qas": [question("b", ("Oslo", 0))]}, 1)],
)
def test_paragraphs_that_are_none_are_named_or_skipped(paragraph: Any, left: int, write: Any, tmp_path: Path) -> None:
    content = squad(question("a", ("Oslo", 0)))
    content["data"][0]["paragraphs"] += [{"context": CONTEXT, "qas": None}, paragraph]
    file = write("dev-v2.0.json", content)
    with pytest.raises(ValueError, match=f"^{file}, question 1"):
        load_examples("squad_v2", "validation", data_dir=str(tmp_path))
    found = load_examples("squad_v2", "validation", data_dir=str(tmp_path), skip_bad_records=True)
    assert (found.dataset["id"][:], sum(found.left_out.values())) == (["a"], left)
