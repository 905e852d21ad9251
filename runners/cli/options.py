"""The options that all runners share, and their way to JSON and back."""

from __future__ import annotations

import dataclasses
import datetime
import json
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import yaml

from trbert_env.ranges import LARGEST_SEED, Items, Range, check_ranges

OptionsT = TypeVar("OptionsT", bound="CommonOptions")
TrainingOptionsT = TypeVar("TrainingOptionsT", bound="TrainingOptions")
GroupT = TypeVar("GroupT")


@dataclass(frozen=True)
class CommonOptions:
    """What every runner can be told on its command line."""

    env: str = "SQuAD2"
    """The data set: the name in TRBERT/<name>-v0."""

    data_source: Literal["auto", "local", "hub", "embedded"] = "auto"
    """Where texts come from: a local folder, the hub, the embedded corpus, or the first to be had."""

    data_dir: Path | None = None
    """A folder with one folder for each data set; the environment variable TRBERT_DATA when not given."""

    backbone: str | None = None
    """Folder or hub name of an encoder, or "embedded"; by default the published one for the data set."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a CUDA device if there is one."""

    seed: Annotated[int, Range(0, LARGEST_SEED)] = 0
    """Fixes every random choice."""

    output_dir: Path = Path("runs")
    """Where run folders are made."""

    max_train_texts: Annotated[int, Range(1)] | None = None
    """Train on a random sample of this many texts; on all when not given."""

    max_eval_texts: Annotated[int, Range(1)] | None = None
    """Evaluate on a random sample of this many texts; on all when not given."""

    reduction_layers: Annotated[tuple[Annotated[int, Range(2)], ...], Items(1, 3, order="rising")] | None = None
    """Reduce before these layers, counted from 1; before layers 2 and L/2 + 1 when not given."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the encoder computes in; auto is bfloat16 for training where the processor has it, else float32."""

    def check(self) -> None:
        """Refuse values outside of the ranges that the fields declare; a derived class adds what ties options.

        Not done in ``__post_init__``, whose errors tyro would frame as its own.

        Raises:
            ValueError: The message names the option, its value and what it may be.
        """
        check_ranges(self, flag)


@dataclass(frozen=True)
class TrainingOptions(CommonOptions):
    """What every runner that trains can be told."""

    resume: Path | None = None
    """Go on with this run, with the options that it was begun with."""


@dataclass(frozen=True)
class PolicyRunOptions(TrainingOptions):
    """What the runners of stage 2 and stage 3 can be told."""

    target_speedup: Annotated[float, Range(above=1)] | None = None
    """The FLOPs speed-up that is wanted; keep fractions and price then follow from it."""

    full_from: Path | None = None
    """A run's folder to take the unreduced backbone's figures from, instead of running it again."""


def flag(name: str) -> str:
    """How a field is written on the command line: ``data_dir`` is ``--data-dir``."""
    return "--" + name.replace("_", "-")


def named_values(option: str, items: Sequence[str]) -> dict[str, Any]:
    """``name=value`` items as a dict; values are JSON, or strings where they are none.

    Example:
        >>> named_values("--agent-options", ["clip=0.2", "form=sum"])
        {'clip': 0.2, 'form': 'sum'}

    Raises:
        ValueError: An item has no name or no value, or names a file that is missing or no mapping.
    """
    found: dict[str, Any] = {}
    for item in items:
        if item.endswith((".yaml", ".yml")) and "=" not in item:
            found |= _read_mapping(option, Path(item))
            continue
        name, equals, value = item.partition("=")
        if not name or not equals or not value:
            raise ValueError(f"{option} has {item!r}: give name=value, or a file.yaml of them")
        found[name] = _value_of(value)
    return found


def spelled_out(option: str, items: Sequence[str]) -> tuple[str, ...]:
    """The same items with files replaced by what they hold, so that a record needs no file."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in named_values(option, items).items())


def _read_mapping(option: str, path: Path) -> dict[str, Any]:
    """A YAML file of names and values."""
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
    return {name: _value_of(value) if isinstance(value, str) else value for name, value in values.items()}


def _value_of(text: str) -> Any:
    """JSON where it is some, else the string; YAML 1.1 takes 1e-3 for a string."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises:
        ValueError: CUDA was asked for and there is none, or the name is another one.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device is {name!r}; it must be auto, cpu or cuda")
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ValueError("--device is cuda, but torch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cpu" if name == "cpu" or not found else "cuda")


def options_to_json(options: Any) -> dict[str, Any]:
    """Turn an options dataclass into JSON values: paths become strings, tuples lists, groups of options dicts."""
    return {field.name: _plain(getattr(options, field.name)) for field in dataclasses.fields(options)}


def options_from_json(options_type: type[OptionsT], values: dict[str, Any]) -> OptionsT:
    """Restore what :func:`options_to_json` wrote, each value in the type of its field.

    Raises:
        ValueError: An option is unknown or missing, or a value is not of its field's type.
    """
    options: OptionsT = _restore_group(options_type, values)
    options.check()
    return options


def changed_options(options: CommonOptions) -> list[str]:
    """The flags whose value is not the default, such as ``["--seed"]``, in the order of the fields."""
    defaults = type(options)()
    names = [field.name for field in dataclasses.fields(options)]
    return [flag(name) for name in names if getattr(options, name) != getattr(defaults, name)]


def own_options(options: Any, kind: type[GroupT]) -> GroupT:
    """What of some options belongs to a base class of theirs, such as ``ReinforceOptions``."""
    return kind(**option_values(options, kind))


def option_values(options: Any, kind: type[Any]) -> dict[str, Any]:
    """The same as keywords, to make options of another class from."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}


def _plain(value: Any) -> Any:
    """One option as a JSON value."""
    if dataclasses.is_dataclass(value):
        return options_to_json(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"an option of type {type(value).__name__} has no JSON form: {value!r}")


def _restore_group(kind: Any, values: dict[str, Any]) -> Any:
    """A dataclass of options from its JSON values."""
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(values.keys() - names):
        raise ValueError(f"unknown saved options {unknown}; they come from another runner or version")
    if missing := sorted(names - values.keys()):
        raise ValueError(f"missing saved options {missing}; they come from another runner or version")
    return kind(**{name: _restore(value, hints[name], name) for name, value in values.items()})


def _restore(value: Any, hint: Any, name: str) -> Any:
    """One JSON value in the type that its field is annotated with."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _restore(value, hint, name)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _restore_group(hint, value)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(hints) == len(value):
            return tuple(_restore(item, hint_of_item, name) for item, hint_of_item in zip(value, hints, strict=True))
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    if hint in (bool, int, float, str) and type(value) is hint:
        return value
    raise ValueError(f"saved option {name} is {value!r}, not of its type {hint}; mend config.json")
