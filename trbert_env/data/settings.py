"""Check named settings against types, before anything is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from trbert_env.suggestions import suggestion


def check_settings(owner: str, settings: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Refuse settings that there are not, or of another type.

    Args:
        owner: The thing that has the settings, for messages, such as ``"task 'span_qa'"``.
        settings: The settings that are given, as JSON values.
        types: The type of each setting that there is.

    Raises:
        ValueError: One is unknown or of another type; the message names it and what is needed.

    Example:
        >>> check_settings("task 'span_qa'", {"stride": "x"}, {"stride": int, "golds": str})
        Traceback (most recent call last):
        ValueError: setting 'stride' of task 'span_qa' is 'x': give int
    """
    for name, value in settings.items():
        if name not in types:
            hint = suggestion(name, types, f"it has {', '.join(types) or 'none'}")
            raise ValueError(f"{owner} has no setting {name!r}: {hint}")
        try:
            TypeAdapter(types[name]).validate_json(json.dumps(value), strict=True)
        except (ValidationError, TypeError) as error:
            raise ValueError(f"setting {name!r} of {owner} is {value!r}: give {_spelt(types[name])}") from error


def _spelt(hint: Any) -> str:
    """A type as a message names it: ``int``, ``'a' or 'b'``, ``bool or None``."""
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return " or ".join(map(_spelt, get_args(hint)))
    if hint is NoneType:
        return "None"
    return str(hint) if get_args(hint) else str(hint.__name__)
