"""Values of options: as JSON, and items that are ``name=value`` or a file of them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def named_values(option: str, items: Sequence[str]) -> dict[str, Any]:
    """Return ``name=value`` items as a dict; values are JSON, or strings where they are none.

    Example:
        >>> named_values("--agent-options", ["clip=0.2", "form=sum"])
        {'clip': 0.2, 'form': 'sum'}

    Raises:
        ValueError: An item has no name or no value, or names a file that is missing or no mapping.
    """
    found: dict[str, Any] = {}
    for item in items:
        if _is_file(item):
            read = _read_mapping(option, Path(item))
            found |= {name: _value_of(value) if isinstance(value, str) else value for name, value in read.items()}
            continue
        name, value = _parted(option, item)
        if not value:
            raise ValueError(f"{option} has {item!r}: give name=value, or a file.yaml of them")
        found[name] = _value_of(value)
    return found


def named_columns(option: str, items: Sequence[str]) -> dict[str, str]:
    """Return ``role=column`` items as a dict; a column is a text whatever it looks like, and may be none at all.

    Example:
        >>> named_columns("--columns", ["label=2024.10", "text_pair="])
        {'label': '2024.10', 'text_pair': ''}

    Raises:
        ValueError: An item has no role, or names a file that is missing or no mapping.
    """
    found: dict[str, str] = {}
    for item in items:
        if _is_file(item):
            found |= {name: _column(value) for name, value in _read_mapping(option, Path(item)).items()}
        else:
            name, value = _parted(option, item)
            found[name] = _unquoted(value)
    return found


def _unquoted(value: str) -> str:
    """A JSON string as what it holds: so earlier versions recorded the columns of a file."""
    try:
        held = json.loads(value) if value.startswith('"') else value
    except json.JSONDecodeError:
        return value
    return held if isinstance(held, str) else value


def _column(value: Any) -> str:
    """The name of a column in a YAML file, where it may look like a number; nothing stands for none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def spelled_out(option: str, items: Sequence[str]) -> tuple[str, ...]:
    """Return the same items with files replaced by their content, so that a record needs no file."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in named_values(option, items).items())


def spelled_columns(option: str, items: Sequence[str]) -> tuple[str, ...]:
    """Return the same columns with files replaced by their content; see :func:`spelled_out`."""
    return tuple(f"{name}={value}" for name, value in named_columns(option, items).items())


def _is_file(item: str) -> bool:
    return item.endswith((".yaml", ".yml")) and "=" not in item


def _parted(option: str, item: str) -> tuple[str, str]:
    """The name and the value of an item."""
    name, equals, value = item.partition("=")
    if not name or not equals:
        raise ValueError(f"{option} has {item!r}: give name=value, or a file.yaml of them")
    return name, value


def _read_mapping(option: str, path: Path) -> dict[str, Any]:
    """Read a YAML file of names and values."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{option} names {path}, and there is no such file") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{option} names {path}, which is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{option} names {path}: it must hold lines of name: value")
    if odd := [name for name, value in values.items() if isinstance(value, datetime.date)]:
        raise ValueError(f"{option} names {path}, where {odd[0]} is a date: put it in quotes")
    return values


def _value_of(text: str) -> Any:
    """Parse JSON where the text is some; YAML 1.1 takes 1e-3 for a string."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def plain_value(value: Any) -> Any:
    """Return the value of an option as JSON.

    Raises:
        TypeError: It has no such form.
    """
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"an option of type {type(value).__name__} has no JSON form: {value!r}")
