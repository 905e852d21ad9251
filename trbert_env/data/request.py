"""DataRequest: the names that say which records are to be loaded, and how a task is to read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from trbert_env.data.own import MultipleChoice, OwnFiles, OwnReader, SpanQA, TextClassification
from trbert_env.data.readers import Reader, hyperpartisan
from trbert_env.data.sources import Examples, load_examples
from trbert_env.presets import OWN, Preset, get_preset
from trbert_env.suggestions import suggestion
from trbert_env.tasks import task_class

DataSource = Literal["auto", "local", "hub", "embedded"]
LabelKind = Literal["auto", "class", "score"]

#: Readers of own data, by the name of the environment.
_OWN_READERS: dict[str, type[MultipleChoice | SpanQA | TextClassification]] = {
    "MultipleChoice": MultipleChoice,
    "TextClassification": TextClassification,
    "SpanQA": SpanQA,
}
#: Fields that only own data have.
_OWN_FIELDS = (
    "train_file",
    "validation_file",
    "dataset",
    "dataset_config",
    "columns",
    "label_kind",
    "validation_share",
)


@dataclass(frozen=True)
class DataRequest:
    """Names of the records to load; all are JSON values, and nothing is read before :meth:`load`.

    Attributes:
        env: Name of the data set, as in ``TRBERT/<name>-v0``; ``TextClassification``,
            ``SpanQA`` and ``MultipleChoice`` read own data.
        data_source: ``"auto"``, or ``"local"``, ``"hub"`` or ``"embedded"`` for just that.
        data_dir: A folder of data sets, for ``"auto"`` and ``"local"``.
        train_file: Own training data: CSV, TSV, JSON, JSON lines or parquet, plain or ``.gz``.
        validation_file: Own validation data; a share of the training data where there is none.
        dataset: Own data instead of files: a folder of ``save_to_disk``, or a name on the hub.
        dataset_config: Configuration of that data set on the hub.
        columns: Names of own columns by what they hold, such as ``{"text": "review"}``; others are guessed.
        label_kind: Whether own labels are classes or numbers; ``"auto"`` tells by the values.
        validation_share: Share of the own training data that is held out where there is no validation data.
        split_seed: Seed of what is held out, where a data set comes without splits.
        skip_bad_records: Whether malformed records are left out and counted, instead of an error at the first.
        task_settings: Settings of the task instead of the data set's own, such as ``{"stride": 64}``.
        max_length: Tokens that a sequence may have, which is the task's ``max_tokens``; None for the data set's own.
            An encoder that has learned fewer positions is extended.

    Raises:
        ValueError: The data set or a setting is unknown, or a field has no meaning for it.
    """

    env: str = "SQuAD2"
    data_source: DataSource = "auto"
    data_dir: str | None = None
    train_file: str | None = None
    validation_file: str | None = None
    dataset: str | None = None
    dataset_config: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    label_kind: LabelKind = "auto"
    validation_share: float = 0.1
    split_seed: int = 0
    skip_bad_records: bool = False
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    max_length: int | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        preset = get_preset(self.env)
        if self.max_length is not None and "max_tokens" in self.task_settings:
            raise ValueError(
                f"max_length {self.max_length} and the setting max_tokens {self.task_settings['max_tokens']} are one: "
                "leave one out"
            )
        _check_settings(preset, self._settings)
        given = [name for name in _OWN_FIELDS if getattr(self, name) != _default(name)]
        if given and not self.is_own:
            raise ValueError(f"{given[0]} is for own data, and {self.env} is none: use env {' or '.join(OWN)}")
        if self.split_seed and not (self.is_own or preset.dataset == "hyperpartisan_news_detection"):
            raise ValueError(f"split_seed has no meaning for {self.env}, which comes with its splits: leave it out")
        if self.data_dir is not None and self.data_source in ("hub", "embedded"):
            raise ValueError(
                f"data_dir is {self.data_dir!r}, and data_source {self.data_source!r} reads no folder: leave one out"
            )
        if self.is_own:
            if self.data_source == "embedded" or self.data_dir is not None:
                raise ValueError(f"{self.env} reads own files: leave data_dir and data_source 'embedded' out")
            self._own_reader()

    @property
    def is_own(self) -> bool:
        """Whether the records are a user's own."""
        return self.env in _OWN_READERS

    @cached_property
    def preset(self) -> Preset:
        """The data set's record, with the settings that are asked for."""
        preset = get_preset(self.env)
        return replace(preset, settings={**preset.settings, **self._settings})

    @property
    def _settings(self) -> dict[str, Any]:
        """Return the settings of the task that are asked for."""
        asked = {} if self.max_length is None else {"max_tokens": self.max_length}
        return {**self.task_settings, **asked}

    @property
    def length(self) -> int | None:
        """Return the tokens that a sequence is asked to have at most; None where the data set's own will do."""
        asked: int | None = self._settings.get("max_tokens")
        return asked

    def cache_key(self, source: str) -> str:
        """Return what tells fine-tuned encoders of these data apart in a cache: the source, and which own data.

        Args:
            source: Source of the records.
        """
        if not self.is_own:
            return source
        own = {name: getattr(self, name) for name in _OWN_FIELDS}
        for name in ("train_file", "validation_file", "dataset"):
            if own[name] is not None and Path(own[name]).exists():
                own[name] = str(Path(own[name]).resolve())
        digest = hashlib.sha256(json.dumps(own, sort_keys=True, default=dict).encode()).hexdigest()
        return f"{source}-{digest[:12]}"

    def load(self, split: str, source: str | None = None) -> Examples:
        """Read a split.

        Args:
            split: A split of the data set.
            source: Where another split was found, so that both come from one place.

        Raises:
            FileNotFoundError: A folder, file or data set is missing.
            ValueError: The data are malformed, or there is no such split.
        """
        where, skip = source or self.data_source, self.skip_bad_records
        return load_examples(self._reader, split, where, self.data_dir, skip_bad_records=skip)

    @cached_property
    def _reader(self) -> Reader | OwnReader | str:
        if self.is_own:
            return self._own_reader()
        dataset = self.preset.dataset
        return hyperpartisan(self.split_seed) if dataset == "hyperpartisan_news_detection" else dataset

    def _own_reader(self) -> OwnReader:
        kind = _OWN_READERS[self.env]
        if self.train_file is None and self.validation_file is None and self.dataset is None:
            raise ValueError(f"{self.env} reads own data: give train_file (and validation_file), or dataset")
        known = [field.name for field in fields(kind) if field.init and field.name not in ("files", "label_kind")]
        for name in self.columns:
            if name not in known:
                hint = suggestion(name, known, f"use {', '.join(known)}")
                raise ValueError(f"columns names {name!r}, and {self.env} reads no such column: {hint}")
        files = OwnFiles(
            self.train_file,
            self.validation_file,
            self.dataset,
            self.dataset_config,
            self.validation_share,
            self.split_seed,
        )
        named: dict[str, Any] = dict(self.columns)
        if kind is TextClassification:
            return TextClassification(files, label_kind=self.label_kind, **named)
        if self.label_kind != "auto":
            raise ValueError(f"label_kind has no meaning for {self.env}: leave it out")
        return kind(files, **named)


def _default(name: str) -> Any:
    defaults = {field.name: field for field in fields(DataRequest)}
    return {} if name == "columns" else defaults[name].default


def _check_settings(preset: Preset, settings: Mapping[str, Any]) -> None:
    """Refuse settings that a task does not have, or of another type.

    Raises:
        ValueError: One is given; the message names it and what the task has.
    """
    task = preset.task
    kind = task_class(task)
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind) if field.init]
    for name, value in settings.items():
        if name not in known:
            hint = suggestion(name, known, f"it has {', '.join(known)}")
            raise ValueError(f"task {task!r} has no setting {name!r}: {hint}")
        try:
            TypeAdapter(hints[name]).validate_json(json.dumps(value), strict=True)
        except (ValidationError, TypeError) as error:
            raise ValueError(f"setting {name!r} of task {task!r} is {value!r}: give {_spelt(hints[name])}") from error
    kind(**{**preset.settings, **settings})


def _spelt(hint: Any) -> str:
    """A type as a message names it: ``int``, ``'a' or 'b'``, ``bool or None``."""
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return " or ".join(map(_spelt, get_args(hint)))
    if hint is NoneType:
        return "None"
    return str(hint) if get_args(hint) else str(hint.__name__)
