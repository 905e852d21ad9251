"""Options by name: on the command line, in errors, and as JSON.

The *name* of an option is its flag without the dashes, ``total_texts`` or ``policy.total_texts``: it keys
``config.json`` and names the option in errors. Groups are flattened; see :mod:`runners.cli.options`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from runners.cli.items import plain_value
from runners.cli.options import OptionsT, RunnerOptions, Unprefixed
from trbert_env.ranges import check_ranges

T = TypeVar("T")
#: Options that came later than FORMAT 3, with what a run does that was begun before them.
LATER_OPTIONS: Mapping[str, Any] = {
    "cloning_scores": "residual",
    "reward_temperature": 1.0,
    "unlabelled_columns": [],
    "unlabelled_file": [],
}


def option_paths(kind: Any) -> Mapping[str, tuple[str, ...]]:
    """Return the names of all options of a dataclass, and the fields that lead to each.

    Example:
        >>> from runners.cli.options import RunOptions
        >>> option_paths(RunOptions)["output_dir"]
        ('output_dir',)
    """
    return _paths(kind)


@functools.cache  # whose own signature takes no dataclass for hashable
def _paths(kind: Any) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, *notes = typing.get_args(hints[field.name]) if _is_annotated(hints[field.name]) else (hints[field.name],)
        if not dataclasses.is_dataclass(hint):
            found[field.name] = (field.name,)
            continue
        prefix = "" if any(isinstance(note, Unprefixed) for note in notes) else f"{field.name}."
        for name, path in option_paths(hint).items():
            if prefix + name in found:
                raise TypeError(f"{kind.__name__} has two options {prefix + name!r}")
            found[prefix + name] = (field.name, *path)
    return MappingProxyType(found)  # all callers have the same


def flag(name: str) -> str:
    """Return an option as it stands on the command line: ``data_dir`` is ``--data-dir``."""
    return "--" + name.replace("_", "-")


def option_values(options: Any) -> dict[str, Any]:
    """Return the values of all options by name, groups flattened."""
    return {name: functools.reduce(getattr, path, options) for name, path in option_paths(type(options)).items()}


def default_options(options: OptionsT) -> OptionsT:
    """Return the defaults where these options are given: those of the class, or of its method ``defaults``.

    Some defaults follow from other options, such as those of joint training from the device.
    """
    settle: Callable[[], OptionsT] = getattr(options, "defaults", type(options))
    return settle()


def changed_options(options: Any) -> list[str]:
    """Return the flags whose value is not the default, such as ``["--seed"]``, in the order of the fields."""
    defaults = option_values(default_options(options))
    return [flag(name) for name, value in option_values(options).items() if value != defaults[name]]


def given_flags(arguments: Sequence[str]) -> list[str]:
    """Return the flags of a command line as they are told, each once.

    Args:
        arguments: The command line without the script's name.

    Example:
        >>> given_flags(["--resume", "runs/a", "--total_texts=500", "--seed", "-1"])
        ['--resume', '--total-texts', '--seed']
    """
    flags = (argument.partition("=")[0].replace("_", "-") for argument in arguments if argument.startswith("--"))
    return list(dict.fromkeys(flags))


def command_line(options: Any) -> list[str]:
    """Return the arguments that give these options: those that are not at their default.

    Example:
        >>> from pathlib import Path
        >>> from runners.cli.options import RunOptions
        >>> command_line(RunOptions(seed=3, output_dir=Path("other")))
        ['--seed', '3', '--output-dir', 'other']
    """
    values, changed = option_values(options), changed_options(options)
    arguments: list[str] = []
    for name, value in values.items():
        if flag(name) not in changed:
            continue
        if isinstance(value, bool):
            group, dot, own = name.rpartition(".")
            arguments.append(flag(name if value else f"{group}{dot}no_{own}"))
            continue
        plain = plain_value(value)
        arguments += [flag(name), *map(str, plain if isinstance(plain, list) else [plain])]
    return arguments


# -- checks ------------------------------------------------------------------------------------------------


def check_options(options: RunnerOptions) -> None:
    """Refuse values outside of the ranges that the fields declare, then options that do not go together.

    Not done in ``__post_init__``, whose errors tyro would frame as its own.

    Raises:
        ValueError: The message names the option, its value and its range.
    """
    names = {".".join(path): name for name, path in option_paths(type(options)).items()}
    check_ranges(options, lambda path: flag(names[path]))
    options.check()


def refuse_unused(options: RunnerOptions, **hints: str) -> None:
    """Refuse options that all runners share and this one has no use for.

    Args:
        options: The options of the runner.
        **hints: Name of an option -> the fix.

    Raises:
        ValueError: One of them is given.
    """
    for name, hint in hints.items():
        if flag(name) in changed_options(options):
            raise ValueError(f"{flag(name)} has no meaning here: {hint}")


def refuse_beside_resume(flags: Collection[str]) -> None:
    """Refuse options beside ``--resume``, those at their default too: the run goes on with its own.

    Args:
        flags: Flags that are given.

    Raises:
        ValueError: There are others than ``--resume``.
    """
    if others := [name for name in flags if name != "--resume"]:
        raise ValueError(f"--resume takes all options from config.json; leave out {' '.join(others)}")


def refuse_given(options: Any, flags: Collection[str], reason: str) -> None:
    """Refuse options that another option leaves without effect; one at its default is never refused.

    Args:
        options: The options of the runner.
        flags: Flags that have no effect, such as ``--seed``.
        reason: The reason, such as ``"--unreduced skips nothing"``.

    Raises:
        ValueError: Some of them are given; the message names all of these.
    """
    if given := [name for name in changed_options(options) if name in flags]:
        raise ValueError(f"{reason}: leave {' '.join(given)} out")


# -- JSON --------------------------------------------------------------------------------------------------


def options_to_json(options: Any) -> dict[str, Any]:
    """Return all options by name as JSON values: paths become strings, tuples lists."""
    return {name: plain_value(value) for name, value in option_values(options).items()}


def options_from_json(kind: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Restore what :func:`options_to_json` wrote, each value in the type of its field.

    Raises:
        ValueError: An option is unknown or missing, not of its field's type, or refused by :func:`check_options`.
    """
    options = group_from_json(kind, values)
    check_options(options)
    return options


def group_from_json(kind: type[T], values: Mapping[str, Any]) -> T:
    """Restore a group of options, or all of a runner's, unchecked; see :func:`options_from_json`.

    Raises:
        ValueError: An option is unknown or missing, or not of its field's type.
    """
    paths = option_paths(kind)
    if unknown := sorted(values.keys() - paths.keys()):
        raise ValueError(f"unknown saved options {unknown}; they come from another runner or version")
    known = {name: LATER_OPTIONS[path[-1]] for name, path in paths.items() if path[-1] in LATER_OPTIONS} | dict(values)
    if missing := sorted(paths.keys() - known.keys()):
        raise ValueError(f"missing saved options {missing}; they come from another runner or version")
    tree: dict[str, Any] = {}
    for name, (*groups, field) in paths.items():
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[field] = known[name]
    try:
        # As JSON, where a tuple is a list and a path is a string, also to a strict reader.
        return TypeAdapter(kind).validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = next(name for name, path in paths.items() if first["loc"][: len(path)] == path)
        said = first["msg"].removeprefix("Input ")
        raise ValueError(f"saved option {name} is {first['input']!r}; it {said}: fix config.json") from error


def _is_annotated(hint: Any) -> bool:
    return typing.get_origin(hint) is Annotated
