"""Every source gives the same columns, and what cannot be read is refused in one clear line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from trbert_env.data import hub as hub_module
from trbert_env.data import load_examples, parquet, sample
from trbert_env.data.sources import hold_out


def rows(count: int, prefix: str = "q") -> list[dict[str, Any]]:
    gold = {"text": ["Oslo"], "answer_start": [0]}
    base = {"title": "t", "context": "Oslo lies by the sea.", "question": "Where?", "answers": gold}
    return [{"id": f"{prefix}{index}", **base} for index in range(count)]


def write(file: Path, content: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(content), file)
    return file


@pytest.fixture(autouse=True)
def no_outside_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRBERT_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "squad_v2" / "train.parquet", rows(5))
    write(tmp_path / "squad_v2" / "validation.parquet", rows(3, "v"))
    return tmp_path


@pytest.mark.parametrize("source", ["auto", "local"])
def test_local_folder_or_the_data_sets_own(folder: Path, source: str) -> None:
    for root in (folder, folder / "squad_v2"):
        found = load_examples("squad_v2", "validation", source, str(root))
        assert found.source == "local"
        assert found.dataset.to_list() == rows(3, "v")
        assert found.description == f"squad_v2 validation, 3 examples from {folder}/squad_v2/validation.parquet"


def test_the_variable_names_the_folder_and_the_argument_goes_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRBERT_DATA", str(folder))
    assert len(load_examples("squad_v2", "train").dataset) == 5
    write(tmp_path / "other" / "train.parquet", rows(1))
    assert len(load_examples("squad_v2", "train", data_dir=str(tmp_path / "other")).dataset) == 1


def test_a_folder_cloned_from_the_hub(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", rows(2, "a"))
    write(tmp_path / "train-00001-of-00002.parquet", rows(2, "b"))
    found = load_examples("squad_v2", "train", data_dir=str(tmp_path))
    assert found.dataset["id"][:] == ["a0", "a1", "b0", "b1"]
    assert "2 files" in found.description


def test_the_real_file_is_read_again_when_it_changes(folder: Path) -> None:
    assert len(load_examples("squad_v2", "train", data_dir=str(folder)).dataset) == 5
    write(folder / "squad_v2" / "train.parquet", rows(7))
    assert len(load_examples("squad_v2", "train", data_dir=str(folder)).dataset) == 7


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("source", ["auto", "local"])
def test_missing_and_empty_folders(folder: Path, tmp_path: Path, source: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"/nowhere does not exist: check --data-dir") as error:
        load_examples("squad_v2", "train", source, str(tmp_path / "nowhere"))
    one_line(error)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no squad_v2/train.parquet .*\(it has no files\)") as error:
        load_examples("squad_v2", "train", source, str(tmp_path / "empty"))
    one_line(error)
    with pytest.raises(
        FileNotFoundError, match=r"no squad_v2/test.parquet .*train.parquet, squad_v2/validation.parquet"
    ):
        load_examples("squad_v2", "test", source, str(folder))


@pytest.mark.parametrize("inside", ["", "squad_v2/"])
def test_official_files_of_another_split_are_named(inside: str, tmp_path: Path) -> None:
    (tmp_path / inside).mkdir(exist_ok=True)
    (tmp_path / inside / "dev-v2.0.json").write_text("{}")
    with pytest.raises(
        FileNotFoundError, match=rf"no official files of train \(it has {inside}dev-v2.0.json\)"
    ) as error:
        load_examples("squad_v2", "train", "local", str(tmp_path))
    one_line(error)


def test_a_file_is_no_data_folder(folder: Path) -> None:
    file = next(folder.rglob("train.parquet"))
    with pytest.raises(
        NotADirectoryError, match=f"^data folder {file} is a file: give the folder that it lies in"
    ) as error:
        load_examples("squad_v2", "train", "auto", str(file))
    one_line(error)


@pytest.mark.parametrize(
    "answers",
    [
        None,
        {"text": None, "answer_start": None},
        {"text": None, "answer_start": []},
        {"text": [], "answer_start": None},
    ],
)
def test_null_answers_are_none(answers: Any, tmp_path: Path) -> None:
    """Some of the tools that convert from JSON write null for an empty list."""
    given = [*rows(2), {**rows(3)[2], "answers": answers}]
    write(tmp_path / "train.parquet", given)
    found = load_examples("squad_v2", "train", "local", str(tmp_path)).dataset
    assert found[2]["answers"] == {"text": [], "answer_start": []}
    assert found["answers"][:2] == [row["answers"] for row in given[:2]]


def test_a_column_that_nothing_reads_is_not_needed(tmp_path: Path) -> None:
    write(
        tmp_path / "train.parquet", [{name: value for name, value in row.items() if name != "title"} for row in rows(2)]
    )
    found = load_examples("squad_v2", "train", "local", str(tmp_path)).dataset
    assert found["question"][:] == [row["question"] for row in rows(2)]
    assert found["title"][:] == [None, None]


def test_a_variable_that_names_a_missing_folder_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRBERT_DATA", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="gone does not exist: check --data-dir or TRBERT_DATA"):
        load_examples("squad_v2", "train")
    monkeypatch.setenv("TRBERT_DATA", "")
    with pytest.raises(ValueError, match="needs a folder: give --data-dir or set TRBERT_DATA"):
        load_examples("squad_v2", "train", "local")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"question": None, "context": None},
            "train.parquet lacks the columns context, question: squad_v2 needs id",
        ),
        ({"answers": {"extra": 1}}, r"train.parquet lacks the columns answers.text, answers.answer_start"),
        ({"answers": {"text": ["Oslo"]}}, r"lacks the columns answers.answer_start"),
    ],
)
def test_missing_columns_are_named_with_the_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    changed = {key: value for key, value in {**rows(1)[0], **change}.items() if value is not None}
    write(tmp_path / "train.parquet", [changed])
    with pytest.raises(ValueError, match=message) as error:
        load_examples("squad_v2", "train", data_dir=str(tmp_path))
    one_line(error)


def test_files_without_rows_or_that_are_no_parquet(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows(1)).slice(0, 0), file)
    with pytest.raises(ValueError, match=r"train.parquet has no rows") as error:
        load_examples("squad_v2", "train", data_dir=str(tmp_path))
    one_line(error)
    file.write_text(json.dumps(rows(1)))
    with pytest.raises(ValueError, match=r"train.parquet is not a readable parquet file") as error:
        load_examples("squad_v2", "train", data_dir=str(tmp_path))
    one_line(error)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'squad_v3': did you mean 'squad_v2'\?"):
        load_examples("squad_v3", "train")
    with pytest.raises(ValueError, match="unknown data source 'disk': choose from auto, local, hub, embedded"):
        load_examples("squad_v2", "train", "disk")


def hub(monkeypatch: pytest.MonkeyPatch, answer: Dataset | Exception) -> list[tuple[str, str]]:
    """Put a hub in place that gives or raises ``answer``; returns the list of what it is asked for."""
    asked: list[tuple[str, str]] = []

    def load(name: str, split: str) -> Dataset:
        asked.append((name, split))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(hub_module, "load_dataset", load)
    return asked


def test_auto_takes_the_hub_without_a_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked = hub(monkeypatch, Dataset.from_list(rows(4)))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert load_examples("squad_v2", "train", data_dir=str(folder)).source == "local"
    assert not asked
    found = load_examples("squad_v2", "train")
    assert (found.source, len(found.dataset)) == ("hub", 4)
    assert asked == [("rajpurkar/squad_v2", "train")]
    assert load_examples("squad_v2", "train", "hub", str(folder)).source == "hub"


def test_a_failing_hub_falls_through_loudly_only_in_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, ConnectionError("no route\nto host"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.warns(UserWarning, match=r"EMBEDDED corpus.*from the hub \(no route\)"):
        found = load_examples("squad_v2", "validation")
    assert found.source == "embedded"
    assert "generated" in found.description
    with pytest.raises(FileNotFoundError, match=r"cannot load split 'train' of rajpurkar/squad_v2") as error:
        load_examples("squad_v2", "train", "hub")
    one_line(error)


def test_offline_does_not_ask_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, Dataset.from_list(rows(4)))
    with pytest.warns(UserWarning, match="HF_HUB_OFFLINE is set"):
        assert load_examples("squad_v2", "validation").source == "embedded"
    assert not asked


def test_a_hub_with_other_columns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub(monkeypatch, Dataset.from_list(rows(4)).remove_columns("context"))
    with pytest.raises(ValueError, match="rajpurkar/squad_v2 on the hub lacks the columns context"):
        load_examples("squad_v2", "train")


def test_the_embedded_corpus_has_the_same_columns_and_does_not_warn(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedded = load_examples("squad_v2", "validation", "embedded", str(folder)).dataset
    local = load_examples("squad_v2", "train", data_dir=str(folder)).dataset
    assert set(embedded.column_names) == set(local.column_names)
    assert set(embedded[0]["answers"]) == {"text", "answer_start"}


def test_what_is_held_out_is_in_no_smaller_sample() -> None:
    data = Dataset.from_dict({"id": [str(index) for index in range(40)]})
    rest, aside = hold_out(data, 10)
    assert sorted(rest["id"][:] + aside["id"][:], key=int) == data["id"][:]
    assert rest["id"][:] == sample(data, 30)["id"][:]
    rest, aside = hold_out(data, 0)
    assert (len(rest), len(aside)) == (40, 0)
    for wrong in (40, -1):
        with pytest.raises(ValueError, match="cannot be held out"):
            hold_out(data, wrong)


def test_sample_is_random_fixed_and_nested() -> None:
    data = Dataset.from_list(rows(50))
    order = sample(data, None)["id"][:]
    assert sorted(order) == sorted(data["id"][:])
    assert order != data["id"][:]
    assert sample(data, 10)["id"][:] == order[:10]
    assert sample(data, 99)["id"][:] == order
    assert sample(data, 10, seed=1)["id"][:] != order[:10]
    for wrong in (0, -3):
        with pytest.raises(ValueError, match=f"is {wrong}: give at least 1"):
            sample(data, wrong)


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["train-00000-of-00002"], "lacks train-00001-of-00002.parquet (1 of 2 shards)"),
        (["train-00001-of-00003"], "lacks train-00000-of-00003.parquet (2 of 3 shards)"),
        (["train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"], "of 2 different counts"),
        (["train-00000-of-many"], "is no shard of a known number"),
    ],
)
def test_a_missing_shard_is_named(names: list[str], named: str, tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / f"{name}.parquet", rows(2, name))
    with pytest.raises(FileNotFoundError) as caught:
        load_examples("squad_v2", "train", "local", str(tmp_path))
    assert named in str(caught.value)


@pytest.mark.parametrize("num_bytes", [1, 300, 1 << 28])
def test_long_rows_are_read_in_smaller_pieces(num_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows, and the numbers that messages name them by, are the same however many are read at once."""
    monkeypatch.setattr(parquet, "_BYTES", num_bytes)
    assert parquet.rows_at_once(50, 50_000) == {1: 1, 300: 1, 1 << 28: 65_536}[num_bytes]
    file = write(tmp_path / "train.parquet", rows(50))
    assert load_examples("squad_v2", "train", data_dir=str(tmp_path)).dataset.to_list() == rows(50)
    hub(monkeypatch, Dataset.from_list(rows(50)))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert load_examples("squad_v2", "train", "hub").dataset.to_list() == rows(50)
    write(tmp_path / "train.parquet", [*rows(50), {**rows(1, "x")[0], "question": None}])
    with pytest.raises(ValueError, match=f"^{file}, row 50, id 'x0': question is null"):
        load_examples("squad_v2", "train", data_dir=str(tmp_path))
