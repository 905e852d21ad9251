"""Own questions with spans as answers: every layout of answers, guesses, faults and held-out contexts."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trbert_env.data import load_examples
from trbert_env.data.own import OwnFiles, SpanQA

CONTEXT = "Oslo lies by the sea, and Oslo is old."
GOLD = {"text": ["Oslo"], "answer_start": [0]}


def load(file: Path, skip: bool = False, **named: Any) -> Any:
    return load_examples(SpanQA(OwnFiles(validation_file=str(file)), **named), "validation", skip_bad_records=skip)


LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a record of lists": ({"answers": {"text": ["Oslo", "sea"], "answer_start": [26, 17]}}, {"answer_start": [26, 17]}),
    "a list of records": ({"answers": [{"text": "Oslo", "answer_start": 26}]}, {"answer_start": [26]}),
    "one record": ({"answers": {"text": "Oslo", "answer_start": 26}}, {"answer_start": [26]}),
    "texts alone": ({"answers": {"text": ["sea", "Oslo"]}}, {"answer_start": [17, 0]}),
    "a list of strings": ({"answers": ["old"]}, {"answer_start": [34]}),
    "a string": ({"answers": "old"}, {"answer_start": [34]}),
    "two columns": ({"answer_text": "Oslo", "answer_start": 26}, {"answer_start": [26]}),
    "a column of one answer": ({"answer": "Oslo"}, {"answer_start": [0]}),
    "lists in two columns": ({"answers": ["sea", "Oslo"], "answer_start": [17, 26]}, {"answer_start": [17, 26]}),
    "a list beside one start": ({"answers": ["Oslo"], "answer_start": 26}, {"answer_start": [26]}),
    "a record of texts beside starts": (
        {"answers": {"text": ["sea", "Oslo"]}, "answer_start": [17, 26]},
        {"answer_start": [17, 26]},
    ),
    "no answer in a string": ({"answer_text": "", "answer_start": None}, {"answer_start": []}),
    "no answer in null": ({"answer": None}, {"answer_start": []}),
    "no answer in a list": ({"answers": []}, {"answer_start": []}),
    "no answer in a list beside a start": ({"answers": [], "answer_start": -1}, {"answer_start": []}),
    "no answer in lists": ({"answers": {"text": [], "answer_start": []}}, {"answer_start": []}),
}


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "csv"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, ending: str, tmp_path: Path) -> None:
    given, wanted = LAYOUTS[layout]
    record = {"question": "Where?", "context": CONTEXT, **given}
    file = tmp_path / f"mine.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist([record]), file)
    elif ending == "csv":
        cells = [
            value if isinstance(value, str) else json.dumps(value) for value in record.values() if value is not None
        ]
        names = [name for name, value in record.items() if value is not None]
        if "answer" in record and record["answer"] is None:
            names, cells = [*names, "answer"], [*cells, ""]
        quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
        file.write_text(",".join(names) + "\n" + quoted + "\n")
    else:
        file.write_text(json.dumps(record) if ending == "jsonl" else json.dumps([record]))
    (row,) = load(file).dataset.to_list()
    assert row["answers"]["answer_start"] == wanted["answer_start"]
    assert all(CONTEXT[at:].startswith(text) for text, at in zip(*row["answers"].values(), strict=True))
    assert list(row) == ["id", "context", "question", "answers"]


def test_squad_files_and_guesses(tmp_path: Path) -> None:
    qas = [{"id": "a", "question": "Where?", "answers": [{"text": "Oslo", "answer_start": 0}]}]
    for name in ("train.json", "data.json"):
        content = {"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]}
        (tmp_path / name).write_text(json.dumps(content))
    found = load(tmp_path / "data.json")
    assert found.dataset.to_list() == [{"id": "a", "context": CONTEXT, "question": "Where?", "answers": GOLD}]
    assert found.description.endswith("data.json: SQuAD's form")
    with pytest.raises(ValueError, match="SQuAD's own form, which has no columns: leave the column of question out"):
        load(tmp_path / "data.json", question="ask")
    file = tmp_path / "flat.jsonl"
    file.write_text(json.dumps({"query": "Where?", "passage": CONTEXT, "answer": "sea", "qid": 5}))
    found = load(file)
    assert found.dataset[0]["id"] == "5"
    assert "question is column 'query' (guessed), context is column 'passage' (guessed)" in found.description
    with pytest.raises(
        ValueError, match="has no column 'text', which --columns context= names: its columns are query, passage"
    ):
        load(file, context="text")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": ["Rome"]}, ": its answer 'Rome' does not occur in its context"),
        ({"answers": {"text": ["Oslo"], "answer_start": [1]}}, ": its answer 'Oslo' does not fit its context at"),
        ({"answers": {"text": ["Oslo"], "answer_start": [0.5]}}, ": answer_start is 0.5: give a whole number"),
        ({"answers": {"text": ["Oslo"], "answer_start": [-1]}}, ": answers.answer_start[0] is -1: give a whole number"),
        ({"answers": {"text": ["Oslo"], "answer_start": [0, 5]}}, ": answers are {'text': ['Oslo'], 'answer_start'"),
        ({"answers": ["Oslo", "sea"], "answer_start": [0]}, ": answers are ['Oslo', 'sea']: give"),
        ({"answers": 5}, ": its answer '5' does not occur"),
        ({"answers": [5]}, ": its answer '[5]' does not occur in its context"),
        ({"context": None}, ": context is null: fill it in"),
        ({"question": "  "}, " has an empty question: fill it in"),
        ({"id": "1"}, ": id '1' comes twice, first in line 1"),
        (
            {"id": None},
            ": id is missing: fill it in, or number the records with --columns id=; skip_bad_records leaves",
        ),
    ],
)
def test_faults(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    good = {"id": "1", "question": "Where?", "context": CONTEXT, "answers": GOLD}
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in [good, {**good, "id": "2", **change}, {**good, "id": "3"}]))
    with pytest.raises(ValueError, match=f"^{file}, line 2") as caught:
        load(file)
    assert message in str(caught.value)
    found = load(file, skip=True)
    assert found.dataset["id"][:] == ["1", "3"]
    assert sum(found.left_out.values()) == 1
    assert "(first: line 2" in found.description


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("answers", ": answers is missing: give the answers, or [] where the context has none; skip_bad"),
        ("context", ": context is missing: fill it in or leave the row out"),
        ("question", ": question is missing: fill it in or leave the row out"),
    ],
)
def test_an_absent_key_is_no_empty_value(key: str, message: str, ending: str, tmp_path: Path) -> None:
    good = {"id": "1", "question": "Where?", "context": CONTEXT, "answers": []}
    rows = [good, {name: value for name, value in good.items() if name != key} | {"id": "2"}, {**good, "id": "3"}]
    file = tmp_path / f"mine.{ending}"
    file.write_text("\n".join(map(json.dumps, rows)) if ending == "jsonl" else json.dumps(rows))
    with pytest.raises(ValueError, match=f"^{file}, {'line 2' if ending == 'jsonl' else 'record 1'}") as caught:
        load(file)
    assert message in str(caught.value)
    found = load(file, skip=True)
    assert found.dataset["id"][:] == ["1", "3"]
    assert dict(found.left_out) == {f"without {key}": 1}


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize(
    ("context", "answer", "start"),
    [
        ("In 2010 there were 10 mills.", "10", 19),
        ("Oslofjord is long, and Oslo is old.", "Oslo", 23),
        ("Only in Oslofjord.", "Oslo", 8),
        ("See [1990] here.", "[1990]", 4),
    ],
)
def test_an_answer_without_a_start_is_a_whole_word_where_there_is_one(
    context: str, answer: str, start: int, ending: str, tmp_path: Path
) -> None:
    file = tmp_path / f"mine.{ending}"
    if ending == "csv":
        with file.open("w", newline="") as opened:
            csv.writer(opened).writerows([["question", "context", "answers"], ["How many?", context, answer]])
    else:
        file.write_text(json.dumps({"question": "How many?", "context": context, "answers": answer}))
    (row,) = load(file).dataset.to_list()
    assert row["answers"] == {"text": [answer], "answer_start": [start]}


def test_questions_without_an_answer_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    answers: list[Any] = [[], None, "", "Oslo"]
    rows = [{"question": "Where?", "context": CONTEXT, "answers": given} for given in answers]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert "; 3 of 4 questions have no answer ([], null or blank)" in load(file).description
    file.write_text(json.dumps(rows[3]))
    assert "no answer" not in load(file).description


@pytest.mark.parametrize(
    ("passage", "said"),
    [
        (b" ", " has an empty context (column 'passage'): fill it in"),
        (b"\xff Oslo", ": passage is b'\\xff Oslo', which is not UTF-8"),
    ],
)
def test_a_fault_names_the_column_of_the_file(passage: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_bytes(b"question,passage,answer\nWhere?,In Oslo.,Oslo\nWhere?,%s,Oslo\n" % passage)
    with pytest.raises(ValueError, match=f"^{file}, line 3") as caught:
        load(file)
    assert said in str(caught.value)


def test_held_out_questions_have_contexts_of_their_own(tmp_path: Path) -> None:
    rows = [{"question": f"Where {row}?", "context": f"Oslo {row // 4}", "answer": "Oslo"} for row in range(80)]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    reader = SpanQA(OwnFiles(str(file)))
    train, held_out = (load_examples(reader, split).dataset for split in ("train", "validation"))
    assert (len(train), len(held_out)) == (72, 8)
    assert not set(train["context"][:]) & set(held_out["context"][:])


def of_contexts(file: Path, *sizes: int) -> Path:
    """Questions, so many on each of a few contexts."""
    contexts = [f"{CONTEXT} {number}." for number, size in enumerate(sizes) for _ in range(size)]
    file.write_text("\n".join(json.dumps({"question": "?", "context": one, "answer": "sea"}) for one in contexts))
    return file


@pytest.mark.parametrize("seed", range(6))
def test_a_passage_with_most_questions_is_not_held_out(seed: int, tmp_path: Path) -> None:
    file = of_contexts(tmp_path / "mine.jsonl", 160, 60, 30)
    assert len(load_examples(SpanQA(OwnFiles(str(file), split_seed=seed)), "validation").dataset) in (60, 30)


def test_a_part_that_would_have_most_questions_is_refused(tmp_path: Path) -> None:
    file, said = of_contexts(tmp_path / "mine.jsonl", 110, 120, 20), []
    for seed in range(8):
        try:
            found = load_examples(SpanQA(OwnFiles(str(file), split_seed=seed)), "validation")
            assert len(found.dataset) <= 125
        except ValueError as error:
            said.append(str(error))
    assert said
    for line in said:
        assert re.search(r"3 passages, and to hold out 25 of 250 records .* takes 1[34]0 of them", line)
