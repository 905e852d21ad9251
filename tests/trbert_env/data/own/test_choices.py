"""Own multiple-choice questions: how answers may be given, and faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trbert_env.data import load_examples
from trbert_env.data.own import MultipleChoice, OwnFiles

GOOD = {"article": "Ben lost his hat.", "question": "What?", "options": ["A coat", "A hat"], "answer": 1}


def load(file: Path, **named: Any) -> Any:
    skip = named.pop("skip", False)
    reader = MultipleChoice(OwnFiles(validation_file=str(file)), **named)
    return load_examples(reader, "validation", skip_bad_records=skip)


@pytest.mark.parametrize("answer", [1, "1", 1.0, "1.0", "B", "b", "A hat"])
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_answers(answer: Any, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"mine.{ending}"
    if ending == "jsonl":
        file.write_text(json.dumps({**GOOD, "answer": answer}))
    else:
        pq.write_table(pa.Table.from_pylist([{**GOOD, "answer": answer}]), file)
    (row,) = load(file).dataset.to_list()
    assert (row["answer"], row["options"], row["article"]) == (1, GOOD["options"], GOOD["article"])
    assert load(file, article="").dataset[0]["article"] == ""


def test_options_that_look_like_places_are_texts_first(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({**GOOD, "options": ["1.0", "2.0", "3.0"], "answer": "1.0"}))
    assert load(file).dataset[0]["answer"] == 0
    file.write_text(json.dumps({**GOOD, "answer": "A.0"}))
    with pytest.raises(ValueError, match=r"answer is 'A\.0': give an index"):
        load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 2}, "answer is '2': give an index from 0, a letter from A, or one of the 2 options"),
        ({"answer": "C"}, "answer is 'C'"),
        ({"answer": -1}, "answer is '-1'"),
        ({"answer": None}, "answer is missing: fill it in"),
        ({"options": "A hat"}, "options are no list of strings"),
        ({"options": [1, 2]}, "options are no list of strings"),
        ({"question": ""}, "question is missing"),
        ({"question": ["What?"]}, "question is a list: write one string or number"),
        ({"answer": 0.5}, "answer is '0.5'"),
        (
            {"options": ["2", "0", "6"], "answer": 2},
            "'2', the text of one option and the place of another: give its le",
        ),
        ({"options": ["O", "A", "B"], "answer": "B"}, "and the place of another: give its index from 0"),
    ],
)
def test_faults(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n{json.dumps({**GOOD, **change})}\n")
    with pytest.raises(ValueError, match=f"^{file}, line 2: ") as caught:
        load(file)
    assert message in str(caught.value)
    found = load(file, skip=True)
    assert len(found.dataset) == 1
    assert sum(found.left_out.values()) == 1


@pytest.mark.parametrize(("answer", "index"), [(2, 2), ("C", 2), ("6", 3), ("8", 4)])
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_answers_to_options_that_are_numbers(answer: Any, index: int, ending: str, tmp_path: Path) -> None:
    file, row = tmp_path / f"mine.{ending}", {**GOOD, "options": ["0", "1", "9", "6", "8"], "answer": answer}
    if ending == "jsonl":
        file.write_text(json.dumps(row))
    else:
        pq.write_table(pa.Table.from_pylist([row]), file)
    assert load(file).dataset[0]["answer"] == index


def test_articles_are_held_out_whole(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps({**GOOD, "article": f"text {row // 4}"}) for row in range(80)))
    reader = MultipleChoice(OwnFiles(str(file)))
    train, held_out = (load_examples(reader, split).dataset for split in ("train", "validation"))
    assert (len(train), len(held_out)) == (72, 8)
    assert not set(train["article"][:]) & set(held_out["article"][:])
