"""Own texts with labels or scores: every format, folders and data sets of the hub, and guesses of columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from trbert_env.data import hub
from trbert_env.data.own import OwnFiles

Columns = dict[str, list[Any]]

REVIEWS: Columns = {"review": ['Good "soup", and\nmore', "Bad\tfood", "Fair – ça va"], "stars": [5, 1, 3]}


@pytest.mark.parametrize("gz", ["", ".gz"])
def test_formats(ending: str, gz: str, tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    file = make_file(tmp_path, ending + gz, REVIEWS)
    found = load_texts(file)
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
def test_saved_folders(kind: str, tmp_path: Path, load_texts: Any) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    data = Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, 1]}, features=features)
    saved = DatasetDict({"train": data, "dev": data.select([0, 1]), "test": data.select([2])})
    (data if kind == "a data set" else saved).save_to_disk(str(tmp_path / "saved"))
    files = OwnFiles(dataset=str(tmp_path / "saved"))
    found = load_texts(files=files)
    assert found.labels == ("no", "yes")
    if kind == "a dictionary":
        assert found.dataset["label"][:] == ["yes", "no"]
        assert load_texts(files=files, split="test").dataset["id"][:] == ["test:0"]
        with pytest.raises(ValueError, match="saved has no split 'more': choose from train, dev, test, validation"):
            load_texts(files=files, split="more")
    else:
        assert len(found.dataset) == 1
    with pytest.raises(FileNotFoundError, match="is no folder of save_to_disk: name the files in it instead"):
        load_texts(files=OwnFiles(dataset=str(tmp_path)))


def test_a_saved_test_split_is_validated_on_where_there_is_no_other(tmp_path: Path, load_texts: Any) -> None:
    data = Dataset.from_dict({"text": [f"text {row}" for row in range(30)], "label": ["x", "y"] * 15})
    DatasetDict({"train": data.select(range(20)), "test": data.select(range(20, 30))}).save_to_disk(tmp_path / "saved")
    files = OwnFiles(dataset=str(tmp_path / "saved"))
    assert len(load_texts(files=files, split="train").dataset) == 20
    found = load_texts(files=files)
    assert found.dataset["text"][:] == data["text"][20:]
    assert f"10 examples from {tmp_path / 'saved'}, test" in found.description
    held_out = OwnFiles(dataset=str(tmp_path / "saved"), split_seed=3)  # as is asked for
    assert (len(load_texts(files=held_out, split="train").dataset), len(load_texts(files=held_out).dataset)) == (18, 2)


def test_parquet_files_know_class_names(tmp_path: Path, load_texts: Any) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet(str(tmp_path / "t.parquet"))
    found = load_texts(tmp_path / "t.parquet")
    assert found.dataset["label"][:] == ["yes", "no"]


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch, load_texts: Any) -> None:
    data = Dataset.from_dict({"sentence": ["a", "b"], "label": ["x", "y"]})
    asked: list[Any] = []
    monkeypatch.setattr(hub, "load_dataset", lambda *n, **o: asked.append((n, o)) or DatasetDict(validation=data))
    found = load_texts(files=OwnFiles(dataset="someone/things", config="small"))
    assert (found.source, len(found.dataset)) == ("hub", 2)
    assert asked == [(("someone/things", "small"), {"split": None})]
    assert "examples from someone/things (small) on the hub, validation: text is column 'sentence'" in found.description


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
def test_guesses(
    columns: list[str], text: str, pair: str | None, label: str, tmp_path: Path, make_file: Any, load_texts: Any
) -> None:
    values = {name: [f"{name} {row}" for row in range(3)] for name in columns}
    (row, *_) = load_texts(make_file(tmp_path, "csv", values)).dataset.to_list()
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
def test_columns_that_cannot_be_told(
    columns: list[str], named: Any, message: str, tmp_path: Path, make_file: Any, load_texts: Any
) -> None:
    file = make_file(tmp_path, "csv", {name: ["a"] for name in columns})
    with pytest.raises(ValueError, match=f"^{file}") as caught:
        load_texts(file, **named)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_could_be_half_of_a_pair_may_stand_alone(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    values = {"query": ["a", "b"], "verdict": ["x", "y"], "time": ["1", "2"]}
    found = load_texts(make_file(tmp_path, "csv", values), label="verdict", text_pair="")
    assert found.dataset["text"][:] == ["a", "b"]
    assert (
        "text is column 'query' (guessed), label is column 'verdict', not read: 'time'; 2 classes" in found.description
    )
    alone = load_texts(make_file(tmp_path, "csv", {"query": ["a"], "label": ["x"]}))
    assert "not read" not in alone.description


def test_named_columns_go_before_guesses(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    file = make_file(tmp_path, "jsonl", {"text": ["a"], "other": ["b"], "y": ["c"], "label": ["d"], "id": [7]})
    found = load_texts(file, text="other", text_pair="text", label="y")
    assert found.dataset[0] == {"id": "7", "text": "b", "text_pair": "a", "label": "c"}
    assert "text is column 'other', text_pair is column 'text', label is column 'y', id is column 'id' (guessed)" in (
        found.description
    )
    assert load_texts(file, text="other", label="y", id="").dataset[0]["id"] == "mine:1"
