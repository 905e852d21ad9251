"""NewsQA and NaturalQA in MRQA's form, with every odd case of the shared task's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples

HEADER = {"header": {"dataset": "NewsQA", "split": "dev"}}
CONTEXT = "(XYZ) -- Ada Roy opened the mill in Oslo . [PAR] It closed in 1999 . [TLE] Oslo <P> today"


def detected(text: str, *spans: tuple[int, int]) -> dict[str, Any]:
    return {"text": text, "char_spans": [list(span) for span in spans], "token_spans": [[0, 0] for _ in spans]}


def qa(qid: str, *answers: dict[str, Any], aliases: list[str] | None = None) -> dict[str, Any]:
    given = ["Oslo", "Oslo ,", "Oslo"] if aliases is None else aliases
    return {"qid": qid, "id": qid, "question": "Where ?", "detected_answers": list(answers), "answers": given}


def lines(*questions: dict[str, Any], header: bool = True, context: str = CONTEXT) -> list[dict[str, Any]]:
    entry = {"id": "", "context": context, "context_tokens": [["(", 0]], "qas": list(questions)}
    return [*([HEADER] if header else []), entry]


SPAN = CONTEXT.index("Oslo"), CONTEXT.index("Oslo") + 3
SECOND = CONTEXT.rindex("Oslo"), CONTEXT.rindex("Oslo") + 3


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    "name", ["mrqa_newsqa/dev.jsonl.gz", "mrqa_newsqa/validation.jsonl", "dev/NewsQA.jsonl.gz", "validation.jsonl.gz"]
)
def test_official(name: str, header: bool, write: Any, tmp_path: Path) -> None:
    write(name, lines(qa("f1", detected("Oslo", SPAN, SECOND), detected("oslo", SPAN)), header=header))
    (row,) = load_examples("mrqa_newsqa", "validation", data_dir=str(tmp_path)).dataset.to_list()
    assert row["answers"] == {"text": ["Oslo", "Oslo"], "answer_start": [SPAN[0], SECOND[0]]}
    assert row["aliases"] == ["Oslo", "Oslo ,"]
    assert row["context"] == CONTEXT
    assert row["id"] == "f1"


def test_a_span_over_a_marker_and_white_space(write: Any, tmp_path: Path) -> None:
    context = "It closed .  [PAR] In\n1999 it opened ."
    wanted = context[3:26]
    write("train.jsonl", lines(qa("f1", detected("closed . [PAR] in 1999", (3, 25))), context=context))
    (row,) = load_examples("mrqa_newsqa", "train", data_dir=str(tmp_path)).dataset.to_list()
    assert row["answers"] == {"text": [wanted], "answer_start": [3]}


@pytest.mark.parametrize("empty", [[], None, [detected("Rome", SPAN)], [detected("Oslo", (500, 503))]])
def test_questions_without_a_right_span(empty: Any, write: Any, tmp_path: Path) -> None:
    odd = {**qa("f1"), "detected_answers": empty}
    for split in ("train", "dev"):
        write(f"{split}.jsonl", lines(odd, qa("f2", detected("Oslo", SPAN))))
    train = load_examples("mrqa_newsqa", "train", data_dir=str(tmp_path))
    assert train.dataset["id"][:] == ["f2"]
    assert train.left_out["without a detected answer"] == 1
    assert "1 without a detected answer (first: line 2, qid 'f1')" in train.description
    dev = load_examples("mrqa_newsqa", "validation", data_dir=str(tmp_path))
    assert dev.dataset["answers"][0] == {"text": [], "answer_start": []}
    assert dev.dataset["aliases"][0] == ["Oslo", "Oslo ,"]
    assert not train.noted, "what is left out is not told twice"
    assert not dev.left_out
    assert sum(dev.noted.values()) == (1 if empty else 0), "spans that do not fit are counted"


def test_a_qid_that_comes_twice(write: Any, tmp_path: Path) -> None:
    twice = qa("f1", detected("Oslo", SPAN))
    write("dev.jsonl", [*lines(twice, twice), *lines(qa("f3", detected("Oslo", SPAN)), header=False)])
    found = load_examples("mrqa_newsqa", "validation", data_dir=str(tmp_path))
    assert found.dataset["id"][:] == ["f1", "f3"]
    assert found.left_out == {"with the qid of an earlier one": 1}
    assert len(set(found.dataset["group"][:])) == 1, "one context is one group, on whatever line"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "line 3: not JSON"),
        ("[1]", "line 3: not a JSON object"),
        ({"qas": []}, "line 3: the line has no context"),
        ({"context": "a"}, "line 3: the line has no qas"),
        ({"context": "a", "qas": [5]}, "line 3: not a JSON object"),
        ({"context": "a", "qas": [{**qa("x", aliases=[])}]}, "line 3, qid 'x': the question has no answers"),
        (
            {"context": CONTEXT, "qas": [{**qa("x"), "detected_answers": [{"text": "Oslo"}]}]},
            "line 3, qid 'x': a detected answer has no char_spans",
        ),
        ({"context": CONTEXT, "qas": [{**qa("x", detected("Oslo", SPAN)), "question": ""}]}, "has an empty question"),
        *(
            (
                {"context": CONTEXT, "qas": [{**qa("x", detected("Oslo", SPAN)), "answers": answers}]},
                "no list of strings",
            )
            for answers in ("Oslo", [{"a": 1}], 5)
        ),
        ({"context": CONTEXT, "qas": [{**qa("x"), "detected_answers": 5}]}, "nested records are no list"),
        (
            {"context": CONTEXT, "qas": [{**qa("x"), "detected_answers": {"text": ["a"], "char_spans": [[], []]}}]},
            "nested records are no list, or lists of several lengths",
        ),
        (
            '{"context": "a", "qas": [{"qid": "x", "question": "?", "answers": ["a"], "detected_answers": '
            '[{"text": "a", "char_spans": [[0, Infinity]]}]}]}',
            "a detected answer has no char_spans",
        ),
    ],
)
def test_faults(entry: Any, message: str, write: Any, tmp_path: Path) -> None:
    import json

    good = [json.dumps(line) for line in lines(qa("f1", detected("Oslo", SPAN)))]
    text = "\n".join([*good, entry if isinstance(entry, str) else json.dumps(entry)])
    file = write("dev.jsonl", text)
    with pytest.raises(ValueError, match=f"^{file}, line 3") as caught:
        load_examples("mrqa_newsqa", "validation", data_dir=str(tmp_path))
    assert message in str(caught.value)
    found = load_examples("mrqa_newsqa", "validation", data_dir=str(tmp_path), skip_bad_records=True)
    assert found.dataset["id"][:] == ["f1"]
    assert sum(found.left_out.values()) == 1


def test_the_file_of_another_subset_and_damaged_files(write: Any, tmp_path: Path) -> None:
    write("dev.jsonl", lines(qa("f1", detected("Oslo", SPAN))))
    with pytest.raises(ValueError, match="holds NewsQA, as its first line says, but NaturalQuestionsShort is needed"):
        load_examples("mrqa_naturalqa", "validation", data_dir=str(tmp_path))
    file = write("train.jsonl.gz", lines(qa("f1", detected("Oslo", SPAN))))
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(ValueError, match=f"^{file} is not a whole gzip file"):
        load_examples("mrqa_newsqa", "train", data_dir=str(tmp_path))


OF_LISTS = {"text": ["Oslo"], "char_spans": [{"start": [SPAN[0]], "end": [SPAN[1]]}]}
OF_RECORDS = [{"text": "Oslo", "char_spans": [{"start": SPAN[0], "end": SPAN[1]}]}]


@pytest.mark.parametrize("layout", [OF_LISTS, OF_RECORDS], ids=["a record of lists", "a list of records"])
def test_columns_of_the_hub(layout: Any, write: Any, tmp_path: Path) -> None:
    empty: Any = {"text": [], "char_spans": []} if isinstance(layout, dict) else []
    columns = {
        "subset": ["NewsQA", "NaturalQuestionsShort", "NewsQA"],
        "context": [CONTEXT] * 3,
        "qid": ["a", "b", "c"],
        "question": ["Where ?"] * 3,
        "detected_answers": [layout, layout, empty],
        "answers": [["Oslo"]] * 3,
    }
    write("mrqa_newsqa/train.parquet", columns)
    write("mrqa_naturalqa/plain_text/validation.parquet", columns)
    train = load_examples("mrqa_newsqa", "train", data_dir=str(tmp_path))
    assert train.dataset["id"][:] == ["a"]
    assert train.dataset["answers"][:] == [{"text": ["Oslo"], "answer_start": [SPAN[0]]}]
    assert "1 without a detected answer (first: row 2, qid 'c')" in train.description
    assert load_examples("mrqa_naturalqa", "validation", data_dir=str(tmp_path)).dataset["id"][:] == ["b"]
