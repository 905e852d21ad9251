"""Compared systems by their names on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from baselines.base import ComparedSystem
from baselines.deformer import Deformer
from baselines.distilled import Distilled
from baselines.dynabert import DynaBert
from baselines.early_exit import EarlyExit
from baselines.length_adaptive import LengthAdaptive
from baselines.ltp import Ltp
from baselines.options import SystemOptions, options_from
from baselines.pooled import Pooled
from baselines.power_bert import PowerBert, RestoringPowerBert
from trbert_env.ranges import check_ranges
from trbert_env.suggestions import suggestion

#: What --system can name.
SYSTEMS: dict[str, type[ComparedSystem[Any]]] = {
    kind.title: kind
    for kind in (Distilled, PowerBert, RestoringPowerBert, LengthAdaptive, Ltp, Pooled, DynaBert, Deformer, EarlyExit)
}


def system_class(name: str) -> type[ComparedSystem[Any]]:
    """Return the class of a system.

    Args:
        name: A key of :data:`SYSTEMS`.

    Raises:
        ValueError: It is unknown.
    """
    if name not in SYSTEMS:
        known = f"use one of {', '.join(SYSTEMS)}"
        raise ValueError(f"system {name!r} is unknown: {suggestion(name, SYSTEMS, known)}")
    return SYSTEMS[name]


def system_options(name: str, values: Mapping[str, Any]) -> SystemOptions:
    """Return the options of a system, checked.

    Args:
        name: A key of :data:`SYSTEMS`.
        values: Options by name, as JSON values.

    Raises:
        ValueError: The system or an option is unknown, or a value is of another type or out of its range.
    """
    kind = system_class(name).options_class
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)}
    for key, value in values.items():
        if key not in known:
            has = ", ".join(sorted(known)) or "none"
            raise ValueError(f"system {name!r} has no option {key!r}: it has {has}")
        try:
            TypeAdapter(hints[key]).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise ValueError(f"option {key!r} of system {name!r} is {value!r}: {_expected(error)}") from error
    options = options_from(kind, values)
    check_ranges(options, lambda field: f"option {field!r} of system {name!r}")
    return options


def _expected(error: ValidationError) -> str:
    return f"it {error.errors()[0]['msg'].removeprefix('Input ')}"
