"""Faults of columns are found when a split is loaded; the message names the file, the row, its id and the fix."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from trbert_env.data import hub as hub_module
from trbert_env.data import load_examples
from trbert_env.data.embedded.corpus import embedded_squad2
from trbert_env.data.kinds import Integer, ListOf, Text
from trbert_env.data.records import SPAN_QA, SQUAD_V2
from trbert_env.data.schema import Schema, checked_dataset, checked_table
from trbert_env.tasks.span_encoding import checked_rows

ROWS = 5
TEXTS = pa.list_(pa.string())
STARTS = pa.list_(pa.int32())
ANSWERS = pa.struct([("text", TEXTS), ("answer_start", STARTS)])
WHOLE = "give a whole number from 0 to 2147483647"
FILL = "fill it in or leave the row out"

GOOD = {
    "id": pa.array([f"q{row}" for row in range(ROWS)]),
    "title": pa.array(["towns"] * ROWS),
    "context": pa.array(["Oslo lies by the sea."] * ROWS),
    "question": pa.array(["Where?"] * ROWS),
    "answers": pa.array([{"text": ["Oslo", "sea"], "answer_start": [0, 17]}] * ROWS, ANSWERS),
}


def table(**changed: Any) -> pa.Table:
    """The good table with some columns exchanged; None leaves a column out."""
    return pa.table({name: values for name, values in {**GOOD, **changed}.items() if values is not None})


def strings(faulty: Any, kind: pa.DataType | None = None) -> pa.Array:
    """A column of strings whose row 3 holds something else."""
    return pa.array(["a", "b", "c", faulty, "e"], kind)


def invalid(faulty: bytes = b"Os\xfflo") -> pa.Array:
    """A column of strings whose row 3 is not UTF-8."""
    return as_strings([b"Oslo", b"Bern", b"Aden", faulty, b"Faro"])


def as_strings(values: list[bytes]) -> pa.Array:
    """Bytes as an arrow string, which arrow does not check."""
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(values)))


def answers(
    text: Any = ("Oslo",),
    starts: Any = (0,),
    texts_type: pa.DataType = TEXTS,
    starts_type: pa.DataType = STARTS,
) -> pa.Array:
    """A column of answers whose row 3 has other texts or starts."""
    fields = [("text", texts_type), ("answer_start", starts_type)]
    good: list[dict[str, Any]] = [{"text": [], "answer_start": []}] * 3
    faulty = {"text": text if text is None or isinstance(text, str) else list(text), "answer_start": starts}
    return pa.array([*good, faulty, good[0]], pa.struct(fields))


def of_fields(**fields: pa.Array) -> pa.Array:
    """A column of structs."""
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))


def same(value: Any, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array([value] * ROWS, kind)


def starts_of(*values: Any, kind: pa.DataType) -> dict[str, pa.Array]:
    """Answers in row 3 with starts of some type."""
    return {"answers": answers(["Oslo"] * len(values), values, starts_type=pa.list_(kind))}


NOW = datetime(2026, 1, 1)
DOUBLE = pa.float64()
JSON = '{"text": ["Oslo"], "answer_start": [0]}'
STRUCT = "struct<text: list<string>, answer_start: list<int>>"

#: A changed column, the row that must be named with its id, and what else the message must hold.
VALUES: dict[str, tuple[dict[str, pa.Array], str]] = {
    "a null context": ({"context": strings(None)}, f"row 3, id 'q3': context is null: {FILL}"),
    "a null question": ({"question": strings(None)}, f"row 3, id 'q3': question is null: {FILL}"),
    "a null in a dictionary": ({"context": strings(None).dictionary_encode()}, "row 3, id 'q3': context is null"),
    "a null in a large string": ({"question": strings(None, pa.large_string())}, "row 3, id 'q3': question is null"),
    "a null id": ({"id": strings(None)}, f"row 3: id is null: {FILL}"),
    "only null contexts": ({"context": same(None, pa.string())}, "row 0, id 'q0': context is null"),
    "an id that comes twice": ({"id": strings("b")}, "row 3: id 'b' comes twice, first in row 1: make each id unique"),
    "an id that comes twice in a dictionary": (
        {"id": strings("b").dictionary_encode()},
        "row 3: id 'b' comes twice, first in row 1: make each id unique",
    ),
    "a null among the texts": (
        {"answers": answers(["Oslo", None], [0, 0])},
        f"row 3, id 'q3': answers.text[1] is null: {FILL}",
    ),
    "a null among the starts": (
        starts_of(0, None, kind=pa.int32()),
        f"row 3, id 'q3': answers.answer_start[1] is null: {WHOLE}",
    ),
    "a null among untyped texts": (
        {"answers": answers([None], [0], texts_type=pa.list_(pa.null()))},
        "row 3, id 'q3': answers.text[0] is null",
    ),
    "a null among untyped starts": (
        starts_of(None, kind=pa.null()),
        f"row 3, id 'q3': answers.answer_start[0] is null: {WHOLE}",
    ),
    "fewer starts": (
        {"answers": answers(["a", "b"], [0])},
        "row 3, id 'q3': answers has 2 text but 1 answer_start: give as many of each",
    ),
    "more starts": (
        {"answers": answers([], [0])},
        "row 3, id 'q3': answers has 0 text but 1 answer_start: give as many of each",
    ),
    "a fraction": (starts_of(0, 14.7, kind=DOUBLE), f"row 3, id 'q3': answers.answer_start[1] is 14.7: {WHOLE}"),
    "a fraction in single precision": (starts_of(14.5, kind=pa.float32()), f"answer_start[0] is 14.5: {WHOLE}"),
    "a fraction in half precision": (starts_of(14.5, kind=pa.float16()), f"answer_start[0] is 14.5: {WHOLE}"),
    "a NaN": (starts_of(math.nan, kind=DOUBLE), f"row 3, id 'q3': answers.answer_start[0] is nan: {WHOLE}"),
    "an infinity": (starts_of(math.inf, kind=DOUBLE), f"answer_start[0] is inf: {WHOLE}"),
    "a float beyond all integers": (starts_of(1e300, kind=DOUBLE), f"answer_start[0] is 1e+300: {WHOLE}"),
    "a float beyond 32 bits": (starts_of(2.0**31, kind=DOUBLE), f"answer_start[0] is 2147483648.0: {WHOLE}"),
    "a negative float": (starts_of(-1.0, kind=DOUBLE), f"answer_start[0] is -1.0: {WHOLE}"),
    "a negative start": (starts_of(5, -1, kind=pa.int64()), f"row 3, id 'q3': answers.answer_start[1] is -1: {WHOLE}"),
    "a negative start of 8 bits": (starts_of(-128, kind=pa.int8()), f"answer_start[0] is -128: {WHOLE}"),
    "a start beyond 32 bits": (starts_of(2**31, kind=pa.int64()), f"answer_start[0] is 2147483648: {WHOLE}"),
    "a start beyond 32 bits, unsigned": (starts_of(2**32 - 1, kind=pa.uint32()), f"is 4294967295: {WHOLE}"),
    "a start beyond 63 bits": (starts_of(2**64 - 1, kind=pa.uint64()), f"is 18446744073709551615: {WHOLE}"),
    "a context that is not UTF-8": (
        {"context": invalid()},
        r"row 3, id 'q3': context is b'Os\xfflo', which is not UTF-8: write it as UTF-8",
    ),
    "a cut question": (
        {"question": invalid(b"Malm\xc3")},
        r"row 3, id 'q3': question is b'Malm\xc3', which is not UTF-8",
    ),
    "a lone surrogate": ({"question": invalid(b"\xed\xa0\x80")}, "row 3, id 'q3': question is b'"),
    "an id that is not UTF-8": ({"id": invalid()}, r"row 3: id is b'Os\xfflo', which is not UTF-8"),
    "a title that is not UTF-8": ({"title": invalid()}, "row 3, id 'q3': title is b'"),
    "a text that is not UTF-8": (
        {
            "answers": of_fields(
                text=pa.ListArray.from_arrays(pa.array([0, 0, 0, 0, 2, 2], pa.int32()), as_strings([b"Oslo", b"\xff"])),
                answer_start=pa.array([[], [], [], [0, 0], []], STARTS),
            )
        },
        r"row 3, id 'q3': answers.text[1] is b'\xff', which is not UTF-8",
    ),
}

#: A changed column, the place, the found and the needed type.
TYPES: dict[str, tuple[dict[str, pa.Array], str, str, str]] = {
    "numbers as context": ({"context": same(1)}, "context", "int64", "string"),
    "floats as question": ({"question": same(1.5)}, "question", "double", "string"),
    "NaN as id": ({"id": same(math.nan)}, "id", "double", "string"),
    "numbers as id": ({"id": pa.array(range(ROWS))}, "id", "int64", "string"),
    "decimals as id": ({"id": same(Decimal("1.5"))}, "id", "decimal128(2, 1)", "string"),
    "lists as context": ({"context": same(["a"])}, "context", "list<element: string>", "string"),
    "structs as question": ({"question": same({"a": "b"})}, "question", "struct<a: string>", "string"),
    "timestamps as context": ({"context": same(NOW, pa.timestamp("us"))}, "context", "timestamp[us]", "string"),
    "dates as question": ({"question": same(NOW.date())}, "question", "date32[day]", "string"),
    "bytes as context": ({"context": same(b"Oslo")}, "context", "binary", "string"),
    "bytes as id": ({"id": pa.array([b"a", b"b", b"c", b"d", b"e"])}, "id", "binary", "string"),
    "truth values as question": ({"question": same(True)}, "question", "bool", "string"),
    "a dictionary of numbers as context": (
        {"context": same(1).dictionary_encode()},
        "context",
        "int64",  # parquet keeps dictionaries of strings only
        "string",
    ),
    "nothing as context": ({"context": same(None)}, "context", "null", "string"),
    "nothing as id": ({"id": same(None)}, "id", "null", "string"),
    "numbers as title": ({"title": same(1)}, "title", "int64", "string"),
    "JSON as answers": ({"answers": same(JSON)}, "answers", "string", STRUCT),
    "a list as answers": (
        {"answers": same([{"text": "a", "answer_start": 0}], pa.list_(pa.struct([("text", pa.string())])))},
        "answers",
        "list<element: struct<text: string>>",
        STRUCT,
    ),
    "a plain string as text": (
        {"answers": of_fields(text=same("Oslo"), answer_start=same([0]))},
        "answers.text",
        "string",
        "list<string>",
    ),
    "a plain number as start": (
        {"answers": of_fields(text=same(["Oslo"]), answer_start=same(0))},
        "answers.answer_start",
        "int64",
        "list<int>",
    ),
    "texts nested too deep": (
        {"answers": of_fields(text=same([["Oslo"]]), answer_start=same([0]))},
        "answers.text",
        "list<element: list<element: string>>",
        "list<string>",
    ),
    "starts nested too deep": (
        {"answers": of_fields(text=same(["Oslo"]), answer_start=same([[0]]))},
        "answers.answer_start",
        "list<element: list<element: int64>>",
        "list<int>",
    ),
    "strings as starts": (
        {"answers": of_fields(text=same(["Oslo"]), answer_start=same(["abc"]))},
        "answers.answer_start",
        "list<element: string>",
        "list<int>",
    ),
    "truth values as starts": (
        {"answers": of_fields(text=same(["Oslo"]), answer_start=same([True]))},
        "answers.answer_start",
        "list<element: bool>",
        "list<int>",
    ),
    "decimals as starts": (
        {"answers": of_fields(text=same(["Oslo"]), answer_start=same([Decimal("1.5")]))},
        "answers.answer_start",
        "list<element: decimal128(2, 1)>",
        "list<int>",
    ),
    "bytes as texts": (
        {"answers": of_fields(text=same([b"Oslo"]), answer_start=same([0]))},
        "answers.text",
        "list<element: binary>",
        "list<string>",
    ),
    "numbers as texts": (
        {"answers": of_fields(text=same([1]), answer_start=same([0]))},
        "answers.text",
        "list<element: int64>",
        "list<string>",
    ),
}


@pytest.fixture(autouse=True)
def no_outside_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRBERT_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.parquet"


def refused(folder: Path, error: type[Exception] = ValueError) -> str:
    """The one line that loading ends in."""
    with pytest.raises(error) as caught:
        load_examples("squad_v2", "train", "local", str(folder))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize("row_group_size", [ROWS, 2], ids=["one row group", "three row groups"])
@pytest.mark.parametrize("fault", VALUES)
def test_faulty_values(fault: str, row_group_size: int, file: Path) -> None:
    changed, expected = VALUES[fault]
    pq.write_table(table(**changed), file, row_group_size=row_group_size)
    message = refused(file.parent)
    assert message.startswith(f"{file}, row ")
    assert expected in message


@pytest.mark.parametrize("fault", TYPES)
def test_faulty_types(fault: str, file: Path) -> None:
    changed, place, found, needed = TYPES[fault]
    pq.write_table(table(**changed), file)
    assert refused(file.parent) == (
        f"{file}: column {place} has type {found}, but {needed} is needed: write the column as {needed}"
    )


def test_there_are_many_faults() -> None:
    assert len(VALUES) + len(TYPES) >= 40


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"id": None, "answers": None}, "id, answers"),
        ({"answers": of_fields(text=same(["Oslo"]))}, "answers.answer_start"),
        ({"answers": of_fields(Text=same(["Oslo"]), answer_start=same([0]))}, "answers.text"),
        ({"context": None, "Context": same("Oslo")}, "context"),
    ],
)
def test_missing_columns(changed: dict[str, Any], missing: str, file: Path) -> None:
    pq.write_table(table(**changed), file)
    assert refused(file.parent) == (
        f"{file} lacks the columns {missing}: squad_v2 needs id, context, question, answers{{text, answer_start}}"
    )


def test_columns_that_come_twice(file: Path) -> None:
    good = table()
    twice = pa.Table.from_arrays([*good.columns, good["context"]], [*good.column_names, "context"])
    pq.write_table(twice, file)
    assert refused(file.parent) == f"{file} has more than one column context: leave one of each name"
    fields = [same(["Oslo"]), same([0]), same(["Oslo"])]
    double = pa.StructArray.from_arrays(fields, names=["text", "answer_start", "text"])
    with pytest.raises(ValueError, match=r"^here has more than one column answers.text: leave one of each name$"):
        checked_table(table(answers=double), SQUAD_V2, "here")


# -- files ---------------------------------------------------------------------------------------------------------


def test_shards_are_checked_one_by_one(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "train-00000-of-00002.parquet")
    second = tmp_path / "train-00001-of-00002.parquet"
    pq.write_table(table(question=same(1)), second)
    assert refused(tmp_path).startswith(f"{second}: column question has type int64, but string is needed")
    pq.write_table(table(question=strings(None)), second)
    assert refused(tmp_path).startswith(f"{second}, row 3, id 'q3': question is null")
    pq.write_table(table().slice(0, 0), second)
    assert refused(tmp_path).startswith(f"{second} has no rows")


def test_shards_of_different_but_right_types_go_together(tmp_path: Path) -> None:
    ids = pa.array([f"p{row}" for row in range(ROWS)], pa.large_string())
    empty = of_fields(text=same([], pa.list_(pa.null())), answer_start=same([], pa.list_(pa.null())))
    pq.write_table(table(), tmp_path / "train-00000-of-00002.parquet")
    pq.write_table(table(id=ids, title=same(None), answers=empty), tmp_path / "train-00001-of-00002.parquet")
    found = load_examples("squad_v2", "train", "local", str(tmp_path)).dataset
    assert found["id"][:] == [*GOOD["id"].to_pylist(), *ids.to_pylist()]
    assert found[ROWS] == {
        "id": "p0",
        "title": None,
        "context": "Oslo lies by the sea.",
        "question": "Where?",
        "answers": {"text": [], "answer_start": []},
    }


def parquet_bytes(file: Path) -> bytes:
    pq.write_table(table(), file)
    return file.read_bytes()


def damaged_footer(content: bytes) -> bytes:
    """The same file with the beginning of its footer overwritten."""
    first = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    return content[:first] + b"\xff" * 40 + content[first + 40 :]


def damaged_page(content: bytes) -> bytes:
    """The same file with the header of its first page overwritten."""
    return content[:4] + b"\xff" * 40 + content[44:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"PAR1",
        lambda content: b"id,context\nq0,Oslo\n" * 20,
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        damaged_footer,
        damaged_page,
    ],
    ids=["zero bytes", "four bytes", "CSV", "half of it", "one byte less", "a damaged footer", "a damaged page"],
)
def test_files_that_are_no_parquet(damage: Callable[[bytes], bytes], file: Path) -> None:
    file.write_bytes(damage(parquet_bytes(file)))
    message = refused(file.parent)
    assert message.startswith(f"{file} is not a readable parquet file (")
    assert message.endswith("): write it anew")


def test_a_flipped_bit_that_a_checksum_shows(file: Path) -> None:
    pq.write_table(table(), file, compression="none", use_dictionary=False, write_page_checksum=True)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"\x06\x00\x00\x00Where?", b"\x06\x00\x00\x00There?", 1))
    assert refused(file.parent).startswith(f"{file} is not a readable parquet file (")
    assert "checksum" in refused(file.parent)


def test_a_folder_in_place_of_the_file(file: Path) -> None:
    file.mkdir()
    pq.write_table(table(), file / "part-0.parquet")
    assert refused(file.parent) == (f"{file} is a folder: put one parquet file in its place, or train-*-of-*.parquet")


def test_a_file_without_permission(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in: the tests may run as root, who may read everything."""

    def forbidden(path: Path, **_: Any) -> None:
        raise PermissionError(13, f"Failed to open local file '{path}'. Detail: [errno 13] Permission denied")

    pq.write_table(table(), file)
    monkeypatch.setattr(pq, "ParquetFile", forbidden)
    assert refused(file.parent, PermissionError) == (
        f"{file} cannot be opened: give yourself the permission to read it"
    )


# -- what is accepted ----------------------------------------------------------------------------------------------

ACCEPTED: dict[str, dict[str, pa.Array]] = {
    "as it is": {},
    "large strings": {name: GOOD[name].cast(pa.large_string()) for name in ("id", "context", "question")},
    "views": {name: GOOD[name].cast(pa.string_view()) for name in ("id", "context", "question")},
    "dictionaries": {name: GOOD[name].dictionary_encode() for name in ("id", "title", "context", "question")},
    "large lists": {
        "answers": GOOD["answers"].cast(
            pa.struct([("text", pa.large_list(pa.large_string())), ("answer_start", pa.large_list(pa.uint64()))])
        )
    },
    "lists of a fixed size": {
        "answers": GOOD["answers"].cast(
            pa.struct([("text", pa.list_(pa.string(), 2)), ("answer_start", pa.list_(pa.int16(), 2))])
        )
    },
    "whole floats": {
        "answers": GOOD["answers"].cast(pa.struct([("text", TEXTS), ("answer_start", pa.list_(pa.float32()))]))
    },
    "fields in another order": {
        "answers": of_fields(answer_start=GOOD["answers"].field(1), more=same(1), text=GOOD["answers"].field(0))
    },
    "more columns": {"more": same([[1.5]]), "answers.text": same(1)},
}


@pytest.mark.parametrize("form", ACCEPTED)
def test_other_forms_give_the_same_rows(form: str, file: Path) -> None:
    pq.write_table(table(**ACCEPTED[form]), file)
    found = load_examples("squad_v2", "train", "local", str(file.parent)).dataset
    assert found.to_list() == table().to_pylist()
    assert found.column_names == list(GOOD)
    assert found.data.table.schema == pa.schema([(name, kind.type) for name, kind in SQUAD_V2.columns.items()])


@pytest.mark.parametrize("kind", [pa.string(), pa.null()])
def test_titles_may_be_missing(kind: pa.DataType, file: Path) -> None:
    pq.write_table(table(title=same(None, kind)), file)
    assert load_examples("squad_v2", "train", "local", str(file.parent)).dataset["title"][:] == [None] * ROWS


def test_a_folder_named_like_a_partition_adds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "title=7"
    folder.mkdir()
    pq.write_table(table(), folder / "train.parquet")
    assert load_examples("squad_v2", "train", "local", str(folder)).dataset["title"][:] == ["towns"] * ROWS


def test_features_in_the_metadata_are_not_believed(file: Path) -> None:
    wrong = {"huggingface": '{"info": {"features": {"id": {"dtype": "int64", "_type": "Value"}}}}'}
    pq.write_table(table().replace_schema_metadata(wrong), file)
    assert load_examples("squad_v2", "train", "local", str(file.parent)).dataset.to_list() == table().to_pylist()


def test_the_embedded_corpus_is_unchanged_by_the_check() -> None:
    raw = embedded_squad2("validation", seed=0)
    assert load_examples("squad_v2", "validation", "embedded").dataset.to_list() == raw.to_list()


def test_slices_and_shuffled_rows_are_read_rightly() -> None:
    """Arrow keeps a slice as an offset into the whole, and a shuffled data set as pieces of one row."""
    rows = [
        {
            **table().to_pylist()[0],
            "id": str(row),
            "answers": {"text": ["Oslo"] * (row % 3), "answer_start": [0] * (row % 3)},
        }
        for row in range(3000)
    ]
    whole = pa.Table.from_pylist(rows)
    assert checked_table(whole.slice(7, 1500), SQUAD_V2, "here").to_pylist() == rows[7:1507]
    shuffled = Dataset.from_list(rows).shuffle(seed=0)
    assert checked_dataset(shuffled, SQUAD_V2, "here").to_pylist() == shuffled.to_list()
    broken = [*rows[:2000], {**rows[2000], "answers": {"text": ["a", "b"], "answer_start": [0, -4]}}]
    with pytest.raises(ValueError, match=r"^here, row 1993, id '2000': answers.answer_start\[1\] is -4: give"):
        checked_table(pa.Table.from_pylist(broken).slice(7), SQUAD_V2, "here")


def test_the_check_is_fast() -> None:
    """As many rows as SQuAD 2.0 has, in well under a second; the bound leaves room for a busy machine."""
    rows = 130_000
    many = pa.table(
        {
            "id": pa.array([str(row) for row in range(rows)]),
            "title": pa.array(["towns"] * rows),
            "context": pa.array(["Oslo lies by the sea. " * 20] * rows),
            "question": pa.array(["Where?"] * rows),
            "answers": pa.array([{"text": ["Oslo"], "answer_start": [0]}] * rows, ANSWERS),
        }
    )
    begun = time.perf_counter()
    assert checked_table(many, SQUAD_V2, "here").num_rows == rows
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(
    "answers",
    [
        pa.array([*[{"text": [], "answer_start": []}] * 3, None, None], ANSWERS),
        answers(None, []),
        answers([], None),
        answers(None, None),
        same(None),
        of_fields(text=same(None), answer_start=same(None)),
        of_fields(text=same([], pa.list_(pa.null())), answer_start=same(None)),
        same(None, pa.list_(pa.struct([("text", pa.string()), ("answer_start", pa.int64())]))),
    ],
)
def test_null_stands_for_no_answer(answers: pa.Array, file: Path) -> None:
    pq.write_table(table(answers=answers), file)
    found = load_examples("squad_v2", "train", "local", str(file.parent)).dataset
    assert found[3]["answers"] == {"text": [], "answer_start": []}
    assert [row.golds for row in checked_rows(Dataset(table(answers=answers)))][3] == ()


def test_texts_without_starts_are_refused(file: Path) -> None:
    for missing in (answers(["Oslo"], None), of_fields(text=same(["Oslo"]), answer_start=same(None))):
        pq.write_table(table(answers=missing), file)
        assert "answers has 1 text but 0 answer_start: give as many of each" in refused(file.parent)


# -- other ways in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [name for name in VALUES if not {"title"} & set(VALUES[name][0])])
def test_data_given_in_python(fault: str) -> None:
    """The task checks what did not pass the loader, by the same schema."""
    changed, expected = VALUES[fault]
    with pytest.raises(ValueError, match=r"^the data set, row ") as caught:
        list(checked_rows(Dataset(table(**changed, title=None))))
    assert expected in str(caught.value)


@pytest.mark.parametrize("fault", [name for name in TYPES if not {"title"} & set(TYPES[name][0])])
def test_types_given_in_python(fault: str) -> None:
    changed, place, found, needed = TYPES[fault]
    with pytest.raises(ValueError, match=rf"^the data set: column {place} has type {found[:4]}") as caught:
        list(checked_rows(Dataset(table(**changed))))
    assert f"but {needed} is needed" in str(caught.value)


def test_no_rows_given_in_python() -> None:
    nothing = Dataset.from_dict({name: [] for name in ("id", "question", "context")})
    with pytest.raises(ValueError, match=r"^the data set lacks the columns answers: span question answering needs id"):
        list(checked_rows(nothing))
    assert list(checked_rows(Dataset(table().slice(0, 0)))) == []


def test_the_hub_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "load_dataset", lambda name, split: Dataset(table(question=strings(None))))
    with pytest.raises(
        ValueError, match=rf"^rajpurkar/squad_v2 on the hub, row 3, id 'q3': question is null: {FILL}; skip_bad"
    ):
        load_examples("squad_v2", "train", "hub")


def test_a_schema_of_another_form() -> None:
    """A schema is a declaration: another form of record needs no new check."""
    schema = Schema("texts", {"id": Text(unique=True), "text": Text(), "label": Integer(0, 1), "tags": ListOf(Text())})
    right = {"id": ["a", "b"], "text": ["x", "y"], "label": [0, 1], "tags": [[], ["t"]]}
    assert checked_table(pa.table(right), schema, "here").to_pydict() == right
    with pytest.raises(ValueError, match=r"^here, row 1, id 'b': label is 2: give a whole number from 0 to 1$"):
        checked_table(pa.table({**right, "label": [0, 2]}), schema, "here")
    assert str(schema) == "id, text, label, tags"
    assert str(SPAN_QA) == "id, context, question, answers{text, answer_start}"
