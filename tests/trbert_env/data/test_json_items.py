"""Items of long JSON lists, however they are laid out and wherever the pieces that are read end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trbert_env.data import json_items
from trbert_env.data.json_items import items_of

ITEMS: list[Any] = [{"a": [1, 2.5, -30], "b": 'ü "quoted" \\ [x]'}, [], 123456, "é\n", None, True, {"c": {}}]


@pytest.fixture(params=[1, 2, 7, 1 << 20], autouse=True)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "_CHUNK", request.param)


@pytest.mark.parametrize("indent", [None, 0, 4])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_lists_of_any_layout(name: str, indent: int | None, write: Any) -> None:
    assert list(items_of(write(name, json.dumps(ITEMS, indent=indent, ensure_ascii=False)))) == ITEMS
    assert list(items_of(write(name, json.dumps([], indent=indent)))) == []


def test_numbers_that_go_on_in_the_next_piece(write: Any) -> None:
    assert list(items_of(write("a.json", "[1.5, -20.25e3 , 7E-2,8]"))) == [1.5, -20250.0, 0.07, 8]
    assert list(items_of(write("a.json", '{"Version": 1.5, "Data": [2.5]}'), "Data")) == [2.5]


@pytest.mark.parametrize("before", [{}, {"Version": 1.0, "Other": {"Data": [5]}}])
def test_a_list_in_an_object(before: dict[str, Any], write: Any) -> None:
    file = write("a.json", json.dumps({**before, "Data": ITEMS, "Domain": "Wikipedia"}, indent=2))
    assert list(items_of(file, "Data")) == ITEMS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[1,\n2,\n{"a": }]', "line 3, is not JSON"),
        ("[1,\n2", "line 2, is not JSON"),
        ("[1\n2]", "line 2, is not JSON"),
        ("[1]\n[2]", "line 2, is not JSON"),
        ('{"a": 1}', "is not a JSON list: give a file that is"),
        ("", "is not a JSON list"),
        (b"[\xff]", "is not UTF-8"),
    ],
)
def test_faulty_files(text: Any, message: str, write: Any) -> None:
    file = write("a.json", text)
    with pytest.raises(ValueError, match=message) as caught:
        list(items_of(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"a": 1}, [1], {"Data": 5}, {}])
def test_objects_without_the_list(content: Any, write: Any) -> None:
    with pytest.raises(ValueError, match="is not a JSON object with a list 'Data'"):
        list(items_of(write("a.json", content), "Data"))


def test_a_damaged_gzip_file(write: Any) -> None:
    file = write("a.json.gz", json.dumps(ITEMS))
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(ValueError, match="is not a whole gzip file"):
        list(items_of(file))


def test_items_before_a_fault_are_given(write: Any) -> None:
    items = items_of(write("a.json", "[1, 2, x]"))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="line 1, is not JSON"):
        next(items)
