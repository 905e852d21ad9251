"""Held-out parts of own texts, and groups of pairs that stay together."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from trbert_env.data import load_examples
from trbert_env.data.own import OwnFiles, TextClassification

Columns = dict[str, list[Any]]


def test_held_out_parts_keep_duplicates_together(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    file = make_file(tmp_path, "csv", {"text": [f"text {row // 2}" for row in range(200)], "label": [1, 0] * 100})

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
    assert "(the 10 % held out by seed 0)" in load_texts(split="validation", files=OwnFiles(str(file))).description
    rows = Dataset.from_list([{"text": "a", "label": 0}])
    DatasetDict({"train": rows, "dev": rows}).save_to_disk(tmp_path / "saved")
    for named in ({"split_seed": 1}, {"validation_share": 0.2}):
        with pytest.raises(ValueError, match="so that nothing is held out: leave validation_share and split_seed out"):
            load_texts(split="train", files=OwnFiles(dataset=str(tmp_path / "saved"), **named))
    same = make_file(tmp_path, "csv", {"text": ["a"] * 5, "label": [1, 0, 1, 0, 1]}, "same")
    with pytest.raises(ValueError, match="too few records that differ to hold out 1 of 5"):
        load_texts(split="train", files=OwnFiles(str(same)))


@pytest.fixture
def ranked(make_file: Any) -> Callable[..., Path]:
    """Five queries of four passages each, a query's at different places of the file."""

    def make(folder: Path, **more: list[Any]) -> Path:
        columns = {
            "query": [f"query {row % 5}" for row in range(20)],
            "passage": [f"p{row}" for row in range(20)],
            "label": [int(row < 5) for row in range(20)],
        }
        file: Path = make_file(folder, "csv", columns | more, "ranked")
        return file

    return make


@pytest.fixture
def groups_by_part(load_texts: Any) -> Callable[..., list[list[str]]]:
    """The groups of the training part and of the held-out part of a file."""

    def groups(file: Path, **named: Any) -> list[list[str]]:
        both = ("train", "validation")
        parts = [load_texts(split=split, files=OwnFiles(str(file)), label_kind="score", **named) for split in both]
        return [part.dataset["group"][:] for part in parts]

    return groups


def test_a_querys_pairs_stay_together(tmp_path: Path, ranked: Any, groups_by_part: Any) -> None:
    train, held_out = groups_by_part(ranked(tmp_path))
    assert len(train) + len(held_out) == 20
    assert set(held_out) <= {f"query {number}" for number in range(5)}
    assert not set(train) & set(held_out)
    assert all(held_out.count(name) == 4 for name in held_out)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_groups_may_be_counted(ending: str, tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    rows = {"query_id": [7, 7, 8], "query": ["a", "a", "b"], "passage": ["c", "d", "e"], "label": [0, 1, 1]}
    found = load_texts(files=OwnFiles(validation_file=str(make_file(tmp_path, ending, rows, "ranked"))), ranking=True)
    assert found.dataset["group"][:] == ["7", "7", "8"]


def test_a_column_tells_the_group(tmp_path: Path, load_texts: Any, ranked: Any, groups_by_part: Any) -> None:
    keys = [f"key {row % 4}" for row in range(20)]
    for named in ({"ranking": True}, {"group": "query_id"}):
        train, held_out = groups_by_part(ranked(tmp_path, query_id=keys), **named)
        assert set(train) | set(held_out) == set(keys)
        assert not set(train) & set(held_out)
    train, held_out = groups_by_part(ranked(tmp_path, query_id=keys), group="", ranking=True)
    assert set(train) | set(held_out) == {f"query {number}" for number in range(5)}
    files = OwnFiles(str(ranked(tmp_path, query_id=keys)))
    classes = load_texts(split="train", files=files, label_kind="class", group="query_id")
    assert set(classes.dataset["group"][:]) < set(keys)


@pytest.mark.parametrize("name", ["group", "query_id", "group_id", "qid"])
def test_a_group_is_guessed_where_candidates_are_ranked_alone(
    name: str, tmp_path: Path, load_texts: Any, ranked: Any
) -> None:
    files = OwnFiles(validation_file=str(ranked(tmp_path, **{name: [f"key {row % 4}" for row in range(20)]})))
    found = load_texts(files=files, ranking=True)
    assert f"group is column '{name}' (guessed)" in found.description
    assert len(set(found.dataset["group"][:])) == 4
    if name == "qid":  # elsewhere it names the record
        return
    for kind in ("class", "score"):
        found = load_texts(files=files, label_kind=kind)
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
def test_where_candidates_are_ranked_0_and_1_are_scores(
    labels: list[Any], read: list[Any], tmp_path: Path, make_file: Any, load_texts: Any
) -> None:
    columns = {"query": ["a", "a"], "passage": ["x", "y"], "label": labels}
    file = make_file(tmp_path, "csv", columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels that are all the same
        found = load_texts(file, ranking=True).dataset
    assert found["label"][:] == read
    assert found["group"][:] == ["a", "a"], "whatever the labels are"
    assert load_texts(file, ranking=True, label_kind="class").dataset["label"][:] != [0.0, 1.0]


def test_candidates_of_a_query_need_second_texts(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    file = make_file(tmp_path, "csv", {"qid": ["q", "q"], "frage": ["a", "a"], "absatz": ["x", "y"], "rel": [0, 1]})
    with pytest.raises(ValueError, match=r"are pairs, and the column of their second texts cannot be told: name it "):
        load_texts(file, text="frage", label="rel", ranking=True)
    found = load_texts(file, text="frage", text_pair="absatz", label="rel", ranking=True).dataset
    assert found["text_pair"][:] == ["x", "y"]
    alone = load_texts(file, text="frage", text_pair="", label="rel", ranking=True).dataset
    assert alone["text_pair"][:] == [None, None], "as it was asked for"


def test_what_looks_like_a_rerankers_data_is_said_to(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    columns: Columns = {"query_id": ["q", "q"], "query": ["a", "a"], "passage": ["x", "y"], "relevant": [0, 1]}
    with pytest.warns(UserWarning, match=r"a column 'query_id' look like candidates of queries: --task-options rank"):
        found = load_texts(make_file(tmp_path, "csv", columns), label_kind="score").dataset
    assert found["label"][:] == [0.0, 1.0], "'relevant' is guessed to be the label"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_texts(make_file(tmp_path, "csv", columns), ranking=True)
        load_texts(make_file(tmp_path, "csv", {**columns, "relevant": [0.5, 3.0]}), label_kind="score")


def test_single_texts_have_a_group_where_one_is_named(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    columns = {"text": [f"t{row}" for row in range(20)], "label": ["a", "b"] * 10, "group": ["x", "x", "y", "z"] * 5}
    file = make_file(tmp_path, "csv", columns, "single")
    assert "group" not in load_texts(split="train", files=OwnFiles(str(file))).dataset.column_names
    train, held_out = (
        load_texts(split=part, files=OwnFiles(str(file)), group="group") for part in ("train", "validation")
    )
    assert not set(train.dataset["group"][:]) & set(held_out.dataset["group"][:])
    file = make_file(tmp_path, "csv", columns | {"group": ["x", ""] * 10}, "holes")
    with pytest.raises(ValueError, match="group"):
        load_texts(split="train", files=OwnFiles(str(file)), group="group")
