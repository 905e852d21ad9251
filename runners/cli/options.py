"""Groups of options that all runners share, the names of options on the command line, and their way to JSON and back.

A runner has one frozen dataclass, composed of groups; each group is handed whole to the object that uses it::

    @dataclass(frozen=True)
    class FinetuneOptions:
        resume: Path | None = None
        data: Group[DataOptions] = field(default_factory=DataOptions)
        encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
        run: Group[RunOptions] = field(default_factory=RunOptions)
        training: Group[FinetuneTrainingOptions] = field(default_factory=FinetuneTrainingOptions)

A :data:`Group` has a title in ``--help`` and no prefix on its flags. A group without the annotation has its own
name as the prefix, as ``policy`` of a sweep (``--policy.total-texts``); its own groups are :data:`Part`.

The *name* of an option is its flag without the dashes, ``total_texts`` or ``policy.total_texts``: it keys
``config.json`` and names the option in errors.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import torch
import tyro
import yaml
from pydantic import TypeAdapter, ValidationError

from trbert_env.data.request import DataRequest
from trbert_env.ranges import LARGEST_SEED, Items, Range, check_ranges


class Unprefixed:
    """Marker of a group whose flags have no prefix of their own."""


T = TypeVar("T")
#: A group of a runner's options: a title in ``--help``, and no prefix on its flags.
Group = tyro.conf.OmitArgPrefixes[Annotated[T, Unprefixed()]]
#: A group inside of a group, under the title and the prefix of the outer one.
Part = Annotated[T, tyro.conf.arg(name=""), Unprefixed()]


@dataclass(frozen=True)
class OwnDataOptions:
    """Own data, for --env TextClassification, SpanQA or MultipleChoice."""

    train_file: Path | None = None
    """Own training data: a CSV, TSV, JSON, JSON lines or parquet file, plain or .gz."""

    validation_file: Path | None = None
    """Own validation data; when not given, a share of the training data."""

    dataset: str | None = None
    """Own data instead of files: a folder saved by datasets, or any data set of the hub."""

    dataset_config: str | None = None
    """Configuration of that data set on the hub."""

    columns: tuple[str, ...] = ()
    """Names of own columns, as text=review label=stars; others are guessed, which is announced."""

    label_kind: Literal["auto", "class", "score"] = "auto"
    """Kind of own labels: class, or score for one logit (relevance 0 and 1, or regression); by auto, strings and
    integers are classes and other numbers scores, and 0 and 1 are scores with --task-options ranking=true."""

    validation_share: Annotated[float, Range(above=0, below=1)] = 0.1
    """Share of own training data that is held out where there is no validation data."""


@dataclass(frozen=True)
class DataOptions:
    """The texts."""

    env: str = "SQuAD2"
    """The data set: the name in TRBERT/<name>-v0."""

    data_source: Literal["auto", "local", "hub", "embedded"] = "auto"
    """Source of the texts: a local folder, the hub, the embedded corpus, or the first of them that is there."""

    data_dir: Path | None = None
    """A folder with one folder for each data set; the environment variable TRBERT_DATA when not given."""

    max_train_texts: Annotated[int, Range(1)] | None = None
    """Train on a random sample of this many texts; on all when not given."""

    max_eval_texts: Annotated[int, Range(1)] | None = None
    """Evaluate on a random sample of this many texts; on all when not given."""

    skip_bad_records: bool = False
    """Leave malformed records out and count them, instead of stopping at the first."""

    split_seed: Annotated[int, Range(0, LARGEST_SEED)] = 0
    """Seed of the split of data that come without one: own data without a validation file, and Hyperpartisan."""

    reader_options: tuple[str, ...] = ()
    """Settings of how the data set's files are read, as name=value: config=fullwiki, ranking=order.json."""

    task_options: tuple[str, ...] = ()
    """Settings of the task instead of the data set's own, as name=value: stride=64, truncation=head+tail."""

    max_length: Annotated[int, Range(1)] | None = None
    """Most tokens of a sequence (the task's max_tokens); an encoder that has learned fewer positions is extended."""

    own: Part[OwnDataOptions] = dataclasses.field(default_factory=OwnDataOptions)

    def request(self) -> DataRequest:
        """Return the names of the records, checked.

        Raises:
            ValueError: The data set, a setting or a column is unknown, or an option has no meaning for the data set.
        """
        own = {
            field.name: _plain(getattr(self.own, field.name))
            for field in dataclasses.fields(self.own)
            if field.name != "columns"
        }
        return DataRequest(
            self.env,
            self.data_source,
            _plain(self.data_dir),
            columns={name: str(value) for name, value in named_values("--columns", self.own.columns).items()},
            reader_settings=named_values("--reader-options", self.reader_options),
            task_settings=named_values("--task-options", self.task_options),
            max_length=self.max_length,
            split_seed=self.split_seed,
            skip_bad_records=self.skip_bad_records,
            **own,
        )


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder, and the layers that it is reduced before."""

    backbone: str | None = None
    """Folder of an encoder or of a run of stage 1, hub name, or "embedded"; by default the data set's published one."""

    reduction_layers: Annotated[tuple[Annotated[int, Range(2)], ...], Items(1, 3, order="rising")] | Literal["auto"] = (
        "auto"
    )
    """Reduce before these layers, counted from 1; auto measures which layer knows the answer, and cuts behind it."""

    @property
    def layers(self) -> tuple[int, ...] | None:
        """The layers that are named; None where they are to be measured, or the encoder's own where nothing is."""
        return None if self.reduction_layers == "auto" else self.reduction_layers


@dataclass(frozen=True)
class RunOptions:
    """The run: device, number format, seed and folder."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto takes a CUDA device if there is one."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder; auto is bfloat16 for training where the processor has it, else float32."""

    seed: Annotated[int, Range(0, LARGEST_SEED)] = 0
    """Seed of every random choice."""

    output_dir: Path = Path("runs")
    """Folder of all run folders."""


class RunnerOptions(Protocol):
    """The options of any runner: a frozen dataclass with this group, among others."""

    @property
    def run(self) -> RunOptions: ...  # noqa: D102

    def check(self) -> None:
        """Refuse options that do not go together; ranges are checked by :func:`check_options` before.

        Raises:
            ValueError: The message names the options and says which to leave out or to change.
        """
        ...


class TextOptions(RunnerOptions, Protocol):
    """The options of a runner that reads texts."""

    @property
    def data(self) -> DataOptions: ...  # noqa: D102


class TaskOptions(TextOptions, Protocol):
    """The options of a runner that works on a task."""

    @property
    def encoder(self) -> EncoderOptions: ...  # noqa: D102


class ResumableOptions(RunnerOptions, Protocol):
    """The options of a runner whose interrupted runs can be resumed."""

    @property
    def resume(self) -> Path | None: ...  # noqa: D102


OptionsT = TypeVar("OptionsT", bound=RunnerOptions)
ResumableT = TypeVar("ResumableT", bound=ResumableOptions)


# -- names -------------------------------------------------------------------------------------------------


def option_paths(kind: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of all options of a dataclass, and the fields that lead to each.

    Example:
        >>> option_paths(RunOptions)["output_dir"]
        ('output_dir',)
    """
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
    return found


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


def command_line(options: Any) -> list[str]:
    """Return the arguments that give these options: those that are not at their default.

    Example:
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
        plain = _plain(value)
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


# -- name=value items --------------------------------------------------------------------------------------


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
        if item.endswith((".yaml", ".yml")) and "=" not in item:
            found |= _read_mapping(option, Path(item))
            continue
        name, equals, value = item.partition("=")
        if not name or not equals or not value:
            raise ValueError(f"{option} has {item!r}: give name=value, or a file.yaml of them")
        found[name] = _value_of(value)
    return found


def spelled_out(option: str, items: Sequence[str]) -> tuple[str, ...]:
    """Return the same items with files replaced by their content, so that a record needs no file."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in named_values(option, items).items())


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
    return {name: _value_of(value) if isinstance(value, str) else value for name, value in values.items()}


def _value_of(text: str) -> Any:
    """Parse JSON where the text is some; YAML 1.1 takes 1e-3 for a string."""
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


# -- JSON --------------------------------------------------------------------------------------------------


def options_to_json(options: Any) -> dict[str, Any]:
    """Return all options by name as JSON values: paths become strings, tuples lists."""
    return {name: _plain(value) for name, value in option_values(options).items()}


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
    if missing := sorted(paths.keys() - values.keys()):
        raise ValueError(f"missing saved options {missing}; they come from another runner or version")
    tree: dict[str, Any] = {}
    for name, (*groups, field) in paths.items():
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[field] = values[name]
    try:
        # As JSON, where a tuple is a list and a path is a string, also to a strict reader.
        return TypeAdapter(kind).validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = next(name for name, path in paths.items() if first["loc"][: len(path)] == path)
        said = first["msg"].removeprefix("Input ")
        raise ValueError(f"saved option {name} is {first['input']!r}; it {said}: fix config.json") from error


def _plain(value: Any) -> Any:
    """Return the value of an option as JSON."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"an option of type {type(value).__name__} has no JSON form: {value!r}")


def _is_annotated(hint: Any) -> bool:
    return typing.get_origin(hint) is Annotated
