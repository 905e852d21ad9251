"""Labels of own texts: classes, scores, and what is warned of."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from trbert_env.data.own import OwnFiles, TextClassification


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
def test_labels(
    values: list[Any], named: Any, wanted: list[Any], ending: str, tmp_path: Path, make_file: Any, load_texts: Any
) -> None:
    found = load_texts(make_file(tmp_path, ending, {"text": ["a", "b", "c"], "label": values}), **named)
    given = found.dataset["label"][:]
    assert [str(label).lower() for label in given] == [str(label) for label in wanted]
    assert all(type(one) is type(other) for one, other in zip(given, wanted, strict=True))
    if named.get("label_kind") == "class":
        assert found.labels == ("0", "1", "2")


def test_labels_of_validation_are_those_of_training(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    train = make_file(tmp_path, "csv", {"text": ["a", "b"], "label": [2, 10]}, "train")
    other = make_file(tmp_path, "csv", {"text": ["c", "d"], "label": [10, 3]}, "other")
    files = OwnFiles(str(train), str(other))
    with pytest.raises(
        ValueError, match=rf"^{other}, line 3: label is '3': give one of the classes .*'2', '10'; skip_bad"
    ):
        load_texts(files=files)
    found = load_texts(files=files, skip=True)
    assert found.labels == ("2", "10")
    assert found.left_out == {"with a label that is no class of the training data": 1}


def test_classes_with_a_single_example_are_named(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    labels = ["yes", "no", "maybe"] * 5
    labels[7] = "3"
    file = make_file(tmp_path, "csv", {"text": [f"text {row}" for row in range(15)], "label": labels})
    with pytest.warns(UserWarning, match=rf"^{file}: 1 of 4 classes has a single example: '3' \(line 9\); correct"):
        load_texts(file)
    numbers = [1, 2, 3] * 5
    numbers[4:6] = [33, 22]
    file = make_file(tmp_path, "jsonl", {"text": [f"text {row}" for row in range(15)], "label": numbers})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_texts(file)
        assert "2 of 5 classes have a single example: '22' (line 11), '33' (line 9)" in str(caught[0].message)
        load_texts(file, label_kind="score")
        load_texts(make_file(tmp_path, "csv", {"text": ["a", "b", "c"], "label": ["x", "y", "z"]}, "few"))
    assert len(caught) == 1


def test_the_last_class_is_shown_too(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    labels = [f"class {row % 9}" for row in range(18)]
    found = load_texts(make_file(tmp_path, "csv", {"text": [f"text {row}" for row in range(18)], "label": labels}))
    assert "9 classes: 'class 0', 'class 1', 'class 2', 'class 3', ..., 'class 8'" in found.description


def test_labels_that_cannot_be(tmp_path: Path, make_file: Any, load_texts: Any) -> None:
    with pytest.raises(ValueError, match="label_kind is 'rank': choose from auto, class, score"):
        TextClassification(OwnFiles("a.csv"), label_kind="rank")  # type: ignore[arg-type]
    many = make_file(tmp_path, "csv", {"text": ["a"] * 1001, "label": [f"n{row}" for row in range(1001)]})
    with pytest.raises(ValueError, match="has 1,001 different labels, as 'n0' and 'n999'"):
        load_texts(many)
    long = make_file(
        tmp_path, "csv", {"text": ["a"] * 1001, "label": [f"{row} {'word ' * 30}" for row in range(1001)]}, "long"
    )
    with pytest.raises(
        ValueError, match=r"labels, as '0 word .{30,40}\.\.\.' and '.{30,40}\.\.\.': name another column"
    ):
        load_texts(long)
    with pytest.raises(
        ValueError, match="text and label are one column, 'label': name another with --columns label=NAME"
    ):
        load_texts(many, text="label", label="label")
    with pytest.raises(ValueError, match="column 'label' has type list<element: int64>: labels are strings or numbers"):
        load_texts(make_file(tmp_path, "parquet", {"text": ["a"], "label": [[1]]}))
    long_numbers = make_file(tmp_path, "parquet", {"text": ["a", "b"], "label": [1234567890123456789, 5]})
    with pytest.raises(ValueError, match="column 'label' has the label 1234567890123456789, and numbers of classes"):
        load_texts(long_numbers)
    with pytest.raises(ValueError, match="column 'label' has no labels at all"):
        load_texts(make_file(tmp_path, "csv", {"text": ["a"], "label": [""]}))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_classes_that_pandas_made_numbers_are_warned_of(
    ending: str, tmp_path: Path, make_file: Any, load_texts: Any
) -> None:
    file = make_file(tmp_path, ending, {"text": ["a", "b", "c", "d"], "label": [0.0, 2.0, 1.0, 2.0]})
    with pytest.warns(UserWarning, match="are taken as numbers to predict: --label-kind class takes each as a class"):
        assert load_texts(file).labels == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_texts(file, label_kind="score").labels == ()
        assert load_texts(file, label_kind="class").labels == ("0", "1", "2")
        assert load_texts(make_file(tmp_path, ending, {"text": ["a", "b"], "label": [0.0, 2.5]})).labels == ()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_names_that_are_numbers_are_ordered_by_value(
    ending: str, tmp_path: Path, make_file: Any, load_texts: Any
) -> None:
    rows = {"text": [f"text {number}" for number in range(10)], "label": [str(number) for number in range(2, 12)]}
    found = load_texts(files=OwnFiles(validation_file=str(make_file(tmp_path, ending, rows, "stars"))))
    assert list(found.labels) == [str(number) for number in range(2, 12)]


@pytest.mark.parametrize("values", [["1", "1", "1"], ["1", "", "1"]])
@pytest.mark.parametrize("kind", ["score", "class"])
def test_labels_that_are_all_the_same_are_warned_of(
    kind: Any, values: list[str], tmp_path: Path, load_texts: Any
) -> None:
    file = tmp_path / "pairs.csv"
    rows = "".join(f"query {row},passage {row},{value}\n" for row, value in enumerate(values))
    file.write_text("query,passage,relevance\n" + rows)
    with pytest.warns(
        UserWarning, match=r"all labels are '1' \(column 'relevance'\), from which nothing can be learned"
    ):
        load_texts(file, label_kind=kind, skip=True)
