"""Own texts with labels or scores: every format, guesses of columns, kinds of labels, faults and held-out parts."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from trbert_env.data import hub, load_examples
from trbert_env.data.own import OwnFiles, TextClassification

Columns = dict[str, list[Any]]

REVIEWS: Columns = {"review": ['Good "soup", and\nmore', "Bad\tfood", "Fair – ça va"], "stars": [5, 1, 3]}


def delimited(columns: Columns, delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return file.getvalue().encode()


def parquet(columns: Columns) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def records(columns: Columns) -> list[Columns]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


FORMATS = {
    "csv": lambda columns: delimited(columns, ","),
    "tsv": lambda columns: delimited(columns, "\t"),
    "json": lambda columns: json.dumps(records(columns)).encode(),
    "data.json": lambda columns: json.dumps({"version": 1, "data": records(columns)}, indent=1).encode(),
    "jsonl": lambda columns: "\n\n".join(map(json.dumps, records(columns))).encode(),
    "ndjson": lambda columns: b"\xef\xbb\xbf" + "\n".join(map(json.dumps, records(columns))).encode(),
    "parquet": parquet,
}


def make(folder: Path, ending: str, columns: Columns, stem: str = "mine") -> Path:
    file = folder / f"{stem}.{ending}"
    content = FORMATS[ending.removesuffix(".gz")](columns)
    file.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return file


def load(file: Path | None = None, split: str = "validation", **named: Any) -> Any:
    """Load a file as a validation file, so that nothing is held out."""
    skip = named.pop("skip", False)
    files = named.pop("files", None) or OwnFiles(validation_file=str(file))
    return load_examples(TextClassification(files, **named), split, skip_bad_records=skip)


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("ending", FORMATS)
def test_formats(ending: str, gz: str, tmp_path: Path) -> None:
    file = make(tmp_path, ending + gz, REVIEWS)
    found = load(file)
    assert found.dataset["text"][:] == REVIEWS["review"]
    assert found.dataset["label"][:] == ["5", "1", "3"]
    assert found.dataset["text_pair"][:] == [None] * 3
    first = {"jsonl": [1, 3, 5], "ndjson": [1, 2, 3]}.get(ending, [0, 1, 2])
    assert found.dataset["id"][:] == [f"mine:{row}" for row in first]
    assert found.labels == ("1", "3", "5")
    assert found.source == "local"
    assert found.description == (
        f"mine validation, 3 examples from {file}: text is column 'review' (guessed), "
        "label is column 'stars' (guessed); 3 classes: '1', '3', '5'"
    )


@pytest.mark.parametrize("kind", ["a data set", "a dictionary"])
def test_saved_folders(kind: str, tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    data = Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, 1]}, features=features)
    saved = DatasetDict({"train": data, "dev": data.select([0, 1]), "test": data.select([2])})
    (data if kind == "a data set" else saved).save_to_disk(str(tmp_path / "saved"))
    files = OwnFiles(dataset=str(tmp_path / "saved"))
    found = load(files=files)
    assert found.labels == ("no", "yes")
    if kind == "a dictionary":
        assert found.dataset["label"][:] == ["yes", "no"]
        assert load(files=files, split="test").dataset["id"][:] == ["test:0"]
        with pytest.raises(ValueError, match="saved has no split 'more': choose from train, dev, test, validation"):
            load(files=files, split="more")
    else:
        assert len(found.dataset) == 1
    with pytest.raises(FileNotFoundError, match="is no folder of save_to_disk: name the files in it instead"):
        load(files=OwnFiles(dataset=str(tmp_path)))


def test_a_saved_test_split_is_validated_on_where_there_is_no_other(tmp_path: Path) -> None:
    data = Dataset.from_dict({"text": [f"text {row}" for row in range(30)], "label": ["x", "y"] * 15})
    DatasetDict({"train": data.select(range(20)), "test": data.select(range(20, 30))}).save_to_disk(tmp_path / "saved")
    files = OwnFiles(dataset=str(tmp_path / "saved"))
    assert len(load(files=files, split="train").dataset) == 20
    found = load(files=files)
    assert found.dataset["text"][:] == data["text"][20:]
    assert f"10 examples from {tmp_path / 'saved'}, test" in found.description
    held_out = OwnFiles(dataset=str(tmp_path / "saved"), split_seed=3)  # as is asked for
    assert (len(load(files=held_out, split="train").dataset), len(load(files=held_out).dataset)) == (18, 2)


def test_parquet_files_know_class_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet(str(tmp_path / "t.parquet"))
    found = load(tmp_path / "t.parquet")
    assert found.dataset["label"][:] == ["yes", "no"]


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset.from_dict({"sentence": ["a", "b"], "label": ["x", "y"]})
    asked: list[Any] = []
    monkeypatch.setattr(hub, "load_dataset", lambda *n, **o: asked.append((n, o)) or DatasetDict(validation=data))
    found = load(files=OwnFiles(dataset="someone/things", config="small"))
    assert (found.source, len(found.dataset)) == ("hub", 2)
    assert asked == [(("someone/things", "small"), {"split": None})]
    assert "examples from someone/things (small) on the hub, validation: text is column 'sentence'" in found.description


# -- columns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "text", "pair", "label"),
    [
        (["sentence", "label", "label_text"], "sentence", None, "label"),
        (["sentence1", "sentence2", "labels", "idx"], "sentence1", "sentence2", "labels"),
        (["Query", "Passage", "Relevance"], "Query", "Passage", "Relevance"),
        (["premise", "hypothesis", "label"], "premise", "hypothesis", "label"),
        (["question", "sentence", "label"], "question", "sentence", "label"),
        (["body", "category"], "body", None, "category"),
        (["text", "content", "class", "label"], "text", None, "label"),
    ],
)
def test_guesses(columns: list[str], text: str, pair: str | None, label: str, tmp_path: Path) -> None:
    values = {name: [f"{name} {row}" for row in range(3)] for name in columns}
    (row, *_) = load(make(tmp_path, "csv", values)).dataset.to_list()
    assert row["text"] == f"{text} 0"
    assert row["text_pair"] == (None if pair is None else f"{pair} 0")
    assert row["label"] == f"{label} 0"
    assert row["id"] == ("idx 0" if "idx" in columns else "mine:0")


@pytest.mark.parametrize(
    ("columns", "named", "message"),
    [
        (["a", "b"], {}, "the column for text cannot be told: name it with --columns text=NAME; its columns are a, b"),
        (
            ["review", "body", "label"],
            {},
            "the column for text may be 'review' or 'body': name it with --columns text=NAME",
        ),
        (
            ["text", "a"],
            {},
            "the column for label cannot be told: name it with --columns label=NAME; its columns are text, a",
        ),
        (["text", "stars", "score"], {}, "the column for label may be 'stars' or 'score'"),
        (
            ["text", "label"],
            {"text": "txt"},
            "has no column 'txt', which --columns text= names: did you mean 'text'? its columns are text, label",
        ),
        (["text", "label"], {"text_pair": "b"}, "has no column 'b', which --columns text_pair= names"),
        (
            ["premise", "hypothesis", "query", "passage", "label"],
            {},
            "the texts may be premise and hypothesis or query",
        ),
        (["premise", "hypothesis", "text", "label"], {}, "the texts may be premise and hypothesis or text"),
        (["premise", "claim", "label"], {}, "'premise' is the first of two texts by its name: name the second with"),
        (
            ["premise", "claim", "verdict"],
            {"label": "verdict"},
            "--columns text_pair=NAME, or say with --columns text_",
        ),
    ],
)
def test_columns_that_cannot_be_told(columns: list[str], named: Any, message: str, tmp_path: Path) -> None:
    file = make(tmp_path, "csv", {name: ["a"] for name in columns})
    with pytest.raises(ValueError, match=f"^{file}") as caught:
        load(file, **named)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_could_be_half_of_a_pair_may_stand_alone(tmp_path: Path) -> None:
    values = {"query": ["a", "b"], "verdict": ["x", "y"], "time": ["1", "2"]}
    found = load(make(tmp_path, "csv", values), label="verdict", text_pair="")
    assert found.dataset["text"][:] == ["a", "b"]
    assert (
        "text is column 'query' (guessed), label is column 'verdict', not read: 'time'; 2 classes" in found.description
    )
    alone = load(make(tmp_path, "csv", {"query": ["a"], "label": ["x"]}))
    assert "not read" not in alone.description


def test_named_columns_go_before_guesses(tmp_path: Path) -> None:
    file = make(tmp_path, "jsonl", {"text": ["a"], "other": ["b"], "y": ["c"], "label": ["d"], "id": [7]})
    found = load(file, text="other", text_pair="text", label="y")
    assert found.dataset[0] == {"id": "7", "text": "b", "text_pair": "a", "label": "c"}
    assert "text is column 'other', text_pair is column 'text', label is column 'y', id is column 'id' (guessed)" in (
        found.description
    )
    assert load(file, text="other", label="y", id="").dataset[0]["id"] == "mine:1"


# -- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("values", "named", "wanted"),
    [
        (["yes", "no", "1"], {}, ["yes", "no", "1"]),
        ([10, 9, -1], {}, ["10", "9", "-1"]),
        ([0.5, 1.0, -2e-3], {}, [0.5, 1.0, -0.002]),
        ([1, 0, 1], {"label_kind": "score"}, [1.0, 0.0, 1.0]),
        ([1.0, 0.0, 2.0], {"label_kind": "class"}, ["1", "0", "2"]),
        ([True, False, True], {}, ["true", "false", "true"]),
    ],
)
def test_labels(values: list[Any], named: Any, wanted: list[Any], ending: str, tmp_path: Path) -> None:
    found = load(make(tmp_path, ending, {"text": ["a", "b", "c"], "label": values}), **named)
    given = found.dataset["label"][:]
    assert [str(label).lower() for label in given] == [str(label) for label in wanted]
    assert all(type(one) is type(other) for one, other in zip(given, wanted, strict=True))
    if named.get("label_kind") == "class":
        assert found.labels == ("0", "1", "2")


def test_labels_of_validation_are_those_of_training(tmp_path: Path) -> None:
    train = make(tmp_path, "csv", {"text": ["a", "b"], "label": [2, 10]}, "train")
    other = make(tmp_path, "csv", {"text": ["c", "d"], "label": [10, 3]}, "other")
    files = OwnFiles(str(train), str(other))
    with pytest.raises(
        ValueError, match=rf"^{other}, line 3: label is '3': give one of the classes .*'2', '10'; skip_bad"
    ):
        load(files=files)
    found = load(files=files, skip=True)
    assert found.labels == ("2", "10")
    assert found.left_out == {"with a label that is no class of the training data": 1}


def test_classes_with_a_single_example_are_named(tmp_path: Path) -> None:
    labels = ["yes", "no", "maybe"] * 5
    labels[7] = "3"
    file = make(tmp_path, "csv", {"text": [f"text {row}" for row in range(15)], "label": labels})
    with pytest.warns(UserWarning, match=rf"^{file}: 1 of 4 classes has a single example: '3' \(line 9\); correct"):
        load(file)
    numbers = [1, 2, 3] * 5
    numbers[4:6] = [33, 22]
    file = make(tmp_path, "jsonl", {"text": [f"text {row}" for row in range(15)], "label": numbers})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(file)
        assert "2 of 5 classes have a single example: '22' (line 11), '33' (line 9)" in str(caught[0].message)
        load(file, label_kind="score")
        load(make(tmp_path, "csv", {"text": ["a", "b", "c"], "label": ["x", "y", "z"]}, "few"))
    assert len(caught) == 1


def test_the_last_class_is_shown_too(tmp_path: Path) -> None:
    labels = [f"class {row % 9}" for row in range(18)]
    found = load(make(tmp_path, "csv", {"text": [f"text {row}" for row in range(18)], "label": labels}))
    assert "9 classes: 'class 0', 'class 1', 'class 2', 'class 3', ..., 'class 8'" in found.description


def test_labels_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label_kind is 'rank': choose from auto, class, score"):
        TextClassification(OwnFiles("a.csv"), label_kind="rank")  # type: ignore[arg-type]
    many = make(tmp_path, "csv", {"text": ["a"] * 1001, "label": [f"n{row}" for row in range(1001)]})
    with pytest.raises(ValueError, match="has 1,001 different labels, as 'n0' and 'n999'"):
        load(many)
    long = make(
        tmp_path, "csv", {"text": ["a"] * 1001, "label": [f"{row} {'word ' * 30}" for row in range(1001)]}, "long"
    )
    with pytest.raises(
        ValueError, match=r"labels, as '0 word .{30,40}\.\.\.' and '.{30,40}\.\.\.': name another column"
    ):
        load(long)
    with pytest.raises(
        ValueError, match="text and label are one column, 'label': name another with --columns label=NAME"
    ):
        load(many, text="label", label="label")
    with pytest.raises(ValueError, match="column 'label' has type list<element: int64>: labels are strings or numbers"):
        load(make(tmp_path, "parquet", {"text": ["a"], "label": [[1]]}))
    with pytest.raises(ValueError, match="column 'label' has no labels at all"):
        load(make(tmp_path, "csv", {"text": ["a"], "label": [""]}))


def test_nan_in_json_is_missing_as_in_parquet(tmp_path: Path) -> None:
    values: Columns = {"text": ["a", "b", "c", math.nan], "label": [0, math.nan, 1, 1]}
    for ending in ("jsonl", "json"):
        file = make(tmp_path, ending, values)
        with pytest.raises(ValueError, match=r"label is missing: fill it in"):
            load(file)
        found = load(file, skip=True)
        assert found.labels == ("0", "1")
        assert found.dataset["text"][:] == ["a", "c"]


@pytest.mark.parametrize(
    ("column", "value", "kind"), [("text", ["a", "b"], "a list"), ("label", {"a": 1}, "an object")]
)
def test_json_lists_and_objects_are_no_texts_and_no_labels(column: str, value: Any, kind: str, tmp_path: Path) -> None:
    values: Columns = {"text": ["a", "b", "c"], "label": ["x", "y", "x"]}
    values[column][1] = value
    for ending, at in (("json", "record 1"), ("ndjson", "line 2")):
        file = make(tmp_path, ending, values)
        with pytest.raises(ValueError, match=f"^{file}, {at}: {column} is {kind}: write one string or number"):
            load(file)
        assert load(file, skip=True).dataset["text"][:] == ["a", "c"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_classes_that_pandas_made_numbers_are_warned_of(ending: str, tmp_path: Path) -> None:
    file = make(tmp_path, ending, {"text": ["a", "b", "c", "d"], "label": [0.0, 2.0, 1.0, 2.0]})
    with pytest.warns(UserWarning, match="are taken as numbers to predict: --label-kind class takes each as a class"):
        assert load(file).labels == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(file, label_kind="score").labels == ()
        assert load(file, label_kind="class").labels == ("0", "1", "2")
        assert load(make(tmp_path, ending, {"text": ["a", "b"], "label": [0.0, 2.5]})).labels == ()


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", FORMATS)
def test_faults(ending: str, tmp_path: Path) -> None:
    values: Columns = {
        "text": ["two\nlines", "b", " ", "d"],
        "label": ["x", None, "y", "x"],
        "id": ["1", "2", "3", "1"],
    }
    file = make(tmp_path, ending, values)
    place = {"csv": "line 4", "tsv": "line 4", "jsonl": "line 3", "ndjson": "line 2", "parquet": "row 1"}
    at = place.get(ending, "record 1")
    with pytest.raises(
        ValueError, match=rf"^{file}, {at}: label is missing: fill it in; skip_bad_records leaves such records out$"
    ):
        load(file)
    found = load(file, skip=True)
    assert found.dataset["text"][:] == ["two\nlines"]
    assert found.left_out == {
        "without a label": 1,
        "with an empty text": 1,
        "with the id of an earlier one": 1,
    }
    assert f"; 3 records of {file} were skipped: 1 without a label (first: {at}), 1 with" in found.description


def test_lines_that_are_no_records(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a", "label": "x"}\n{"text": \n[1]\n{"text": "b", "label": "y"}\n')
    with pytest.raises(ValueError, match=f"^{file}, line 2: not JSON"):
        load(file)
    assert load(file, skip=True).dataset["text"][:] == ["a", "b"]
    file = tmp_path / "a.csv"
    file.write_text('text,label\n"a\n",x\nb\nc,y,z\nd,x\n')
    with pytest.raises(ValueError, match=f"^{file}, line 4: 1 values, but there are 2 columns"):
        load(file)
    found = load(file, skip=True)
    assert found.dataset["id"][:] == ["a:0", "a:3"]
    assert "2 with too many or too few values (first: line 4)" in found.description


def test_tsv_with_quotes_that_are_text(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text('sentence\tlabel\n"Yes, he said.\t1\nHe said "no"\t0\n')
    assert load(file).dataset["text"][:] == ['"Yes, he said.', 'He said "no"']


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
def test_files_that_cannot_be_read(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"a[.]") as caught:
        load(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_too_many(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        load(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=rf"^{tmp_path} is a folder: name a file in it, or give .* as dataset$"):
        load(tmp_path)
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


def test_a_long_json_list_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trbert_env.data import json_items

    monkeypatch.setattr(json_items, "_CHUNK", 7)
    rows = {"text": [f'text {row} ]}}, "quoted"' for row in range(50)], "label": list(range(50))}
    assert load(make(tmp_path, "json", rows)).dataset["text"][:] == rows["text"]


# -- held-out parts ------------------------------------------------------------------------------------------------


def test_held_out_parts_keep_duplicates_together(tmp_path: Path) -> None:
    file = make(tmp_path, "csv", {"text": [f"text {row // 2}" for row in range(200)], "label": [1, 0] * 100})

    def parts(**named: Any) -> tuple[list[str], list[str]]:
        reader = TextClassification(OwnFiles(str(file), **named))
        train, held_out = (load_examples(reader, split).dataset for split in ("train", "validation"))
        assert not set(train["text"][:]) & set(held_out["text"][:])
        assert sorted([*train["id"][:], *held_out["id"][:]]) == sorted(f"mine:{row}" for row in range(200))
        return train["id"][:], held_out["id"][:]

    train, held_out = parts()
    assert (len(train), len(held_out)) == (180, 20)
    assert parts() == (train, held_out)
    assert parts(split_seed=1)[1] != held_out
    assert len(parts(validation_share=0.25)[1]) == 50
    assert "(the 10 % held out by seed 0)" in load(split="validation", files=OwnFiles(str(file))).description
    rows = Dataset.from_list([{"text": "a", "label": 0}])
    DatasetDict({"train": rows, "dev": rows}).save_to_disk(tmp_path / "saved")
    for named in ({"split_seed": 1}, {"validation_share": 0.2}):
        with pytest.raises(ValueError, match="so that nothing is held out: leave validation_share and split_seed out"):
            load(split="train", files=OwnFiles(dataset=str(tmp_path / "saved"), **named))
    same = make(tmp_path, "csv", {"text": ["a"] * 5, "label": [1, 0, 1, 0, 1]}, "same")
    with pytest.raises(ValueError, match="too few records that differ to hold out 1 of 5"):
        load(split="train", files=OwnFiles(str(same)))


def ranked(folder: Path, **more: list[Any]) -> Path:
    """Five queries of four passages each, a query's at different places of the file."""
    queries = [f"query {row % 5}" for row in range(20)]
    columns = {
        "query": queries,
        "passage": [f"p{row}" for row in range(20)],
        "label": [int(row < 5) for row in range(20)],
    }
    return make(folder, "csv", columns | more, "ranked")


def groups_by_part(file: Path, **named: Any) -> list[list[str]]:
    parts = [
        load(split=split, files=OwnFiles(str(file)), label_kind="score", **named) for split in ("train", "validation")
    ]
    return [part.dataset["group"][:] for part in parts]


def test_a_querys_pairs_stay_together(tmp_path: Path) -> None:
    train, held_out = groups_by_part(ranked(tmp_path))
    assert len(train) + len(held_out) == 20
    assert set(held_out) <= {f"query {number}" for number in range(5)}
    assert not set(train) & set(held_out)
    assert all(held_out.count(name) == 4 for name in held_out)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_groups_may_be_counted(ending: str, tmp_path: Path) -> None:
    rows = {"query_id": [7, 7, 8], "query": ["a", "a", "b"], "passage": ["c", "d", "e"], "label": [0, 1, 1]}
    found = load(files=OwnFiles(validation_file=str(make(tmp_path, ending, rows, "ranked"))), ranking=True)
    assert found.dataset["group"][:] == ["7", "7", "8"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_names_that_are_numbers_are_ordered_by_value(ending: str, tmp_path: Path) -> None:
    rows = {"text": [f"text {number}" for number in range(10)], "label": [str(number) for number in range(2, 12)]}
    found = load(files=OwnFiles(validation_file=str(make(tmp_path, ending, rows, "stars"))))
    assert list(found.labels) == [str(number) for number in range(2, 12)]


def test_a_column_tells_the_group(tmp_path: Path) -> None:
    keys = [f"key {row % 4}" for row in range(20)]
    for named in ({"ranking": True}, {"group": "query_id"}):
        train, held_out = groups_by_part(ranked(tmp_path, query_id=keys), **named)
        assert set(train) | set(held_out) == set(keys)
        assert not set(train) & set(held_out)
    train, held_out = groups_by_part(ranked(tmp_path, query_id=keys), group="", ranking=True)
    assert set(train) | set(held_out) == {f"query {number}" for number in range(5)}
    files = OwnFiles(str(ranked(tmp_path, query_id=keys)))
    classes = load(split="train", files=files, label_kind="class", group="query_id")
    assert set(classes.dataset["group"][:]) < set(keys)


@pytest.mark.parametrize("name", ["group", "query_id", "group_id", "qid"])
def test_a_group_is_guessed_where_candidates_are_ranked_alone(name: str, tmp_path: Path) -> None:
    files = OwnFiles(validation_file=str(ranked(tmp_path, **{name: [f"key {row % 4}" for row in range(20)]})))
    found = load(files=files, ranking=True)
    assert f"group is column '{name}' (guessed)" in found.description
    assert len(set(found.dataset["group"][:])) == 4
    if name == "qid":  # elsewhere it names the record
        return
    for kind in ("class", "score"):
        found = load(files=files, label_kind=kind)
        assert f"not read: '{name}'" in found.description
        assert len(set(found.dataset["group"][:])) == 5 if kind == "score" else "group" not in found.dataset.features


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        ([0, 1], [0.0, 1.0]),
        (["0", "1.0"], [0.0, 1.0]),
        ([1, 1], [1.0, 1.0]),
        ([0, 2], ["0", "2"]),
        (["no", "yes"], ["no", "yes"]),
        ([False, True], ["False", "True"]),
    ],
)
def test_where_candidates_are_ranked_0_and_1_are_scores(labels: list[Any], read: list[Any], tmp_path: Path) -> None:
    columns = {"query": ["a", "a"], "passage": ["x", "y"], "label": labels}
    file = make(tmp_path, "csv", columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels that are all the same
        found = load(file, ranking=True).dataset
    assert found["label"][:] == read
    assert found["group"][:] == ["a", "a"], "whatever the labels are"
    assert load(file, ranking=True, label_kind="class").dataset["label"][:] != [0.0, 1.0]


def test_candidates_of_a_query_need_second_texts(tmp_path: Path) -> None:
    file = make(tmp_path, "csv", {"qid": ["q", "q"], "frage": ["a", "a"], "absatz": ["x", "y"], "rel": [0, 1]})
    with pytest.raises(ValueError, match=r"are pairs, and the column of their second texts cannot be told: name it "):
        load(file, text="frage", label="rel", ranking=True)
    found = load(file, text="frage", text_pair="absatz", label="rel", ranking=True).dataset
    assert found["text_pair"][:] == ["x", "y"]
    alone = load(file, text="frage", text_pair="", label="rel", ranking=True).dataset
    assert alone["text_pair"][:] == [None, None], "as it was asked for"


def test_what_looks_like_a_rerankers_data_is_said_to(tmp_path: Path) -> None:
    columns: Columns = {"query_id": ["q", "q"], "query": ["a", "a"], "passage": ["x", "y"], "relevant": [0, 1]}
    with pytest.warns(UserWarning, match=r"a column 'query_id' look like candidates of queries: --task-options rank"):
        found = load(make(tmp_path, "csv", columns), label_kind="score").dataset
    assert found["label"][:] == [0.0, 1.0], "'relevant' is guessed to be the label"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(make(tmp_path, "csv", columns), ranking=True)
        load(make(tmp_path, "csv", {**columns, "relevant": [0.5, 3.0]}), label_kind="score")


def test_single_texts_have_a_group_where_one_is_named(tmp_path: Path) -> None:
    columns = {"text": [f"t{row}" for row in range(20)], "label": ["a", "b"] * 10, "group": ["x", "x", "y", "z"] * 5}
    file = make(tmp_path, "csv", columns, "single")
    assert "group" not in load(split="train", files=OwnFiles(str(file))).dataset.column_names
    train, held_out = (load(split=part, files=OwnFiles(str(file)), group="group") for part in ("train", "validation"))
    assert not set(train.dataset["group"][:]) & set(held_out.dataset["group"][:])
    file = make(tmp_path, "csv", columns | {"group": ["x", ""] * 10}, "holes")
    with pytest.raises(ValueError, match="group"):
        load(split="train", files=OwnFiles(str(file)), group="group")


@pytest.mark.parametrize("values", [["1", "1", "1"], ["1", "", "1"]])
@pytest.mark.parametrize("kind", ["score", "class"])
def test_labels_that_are_all_the_same_are_warned_of(kind: Any, values: list[str], tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    rows = "".join(f"query {row},passage {row},{value}\n" for row, value in enumerate(values))
    file.write_text("query,passage,relevance\n" + rows)
    with pytest.warns(
        UserWarning, match=r"all labels are '1' \(column 'relevance'\), from which nothing can be learned"
    ):
        load(file, label_kind=kind, skip=True)


@pytest.mark.parametrize("cut", [8, 25, 33, 34])
def test_a_line_that_is_cut_off_is_said_to_end_early(cut: int, tmp_path: Path) -> None:
    file = tmp_path / "cut.jsonl"
    line = json.dumps({"text": "a fine film", "label": "good"})
    file.write_text(f"{line}\n{line[:cut]}\n{line}\n")
    with pytest.raises(ValueError, match=f"^{file}, line 2: not JSON, for the line ends early: complete or remove it"):
        load(file)
