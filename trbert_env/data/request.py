"""DataRequest: the names that say which records are to be loaded, and how a task is to read them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_type_hints

from datasets import Dataset

from trbert_env.data.fingerprints import fingerprint_path
from trbert_env.data.own import MultipleChoice, OwnFiles, OwnReader, SpanQA, TextClassification
from trbert_env.data.readers import Reader, make_reader, reader_defaults, reader_settings
from trbert_env.data.settings import check_settings
from trbert_env.data.sources import Examples, load_examples
from trbert_env.parameters import Naming, ParameterError
from trbert_env.presets import OWN, Preset, get_preset
from trbert_env.suggestions import nearest_name
from trbert_env.tasks import make_task, task_class
from trbert_env.tasks.fitting import shortened_settings

DataSource = Literal["auto", "local", "hub", "embedded"]
LabelKind = Literal["auto", "class", "score"]

#: Readers of own data, by the name of the environment.
_OWN_READERS: dict[str, type[MultipleChoice | SpanQA | TextClassification]] = {
    "MultipleChoice": MultipleChoice,
    "TextClassification": TextClassification,
    "SpanQA": SpanQA,
}
#: Fields of these readers that are no columns.
_NO_COLUMNS = ("files", "label_kind", "ranking")
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
        label_kind: Kind of own labels, classes or numbers; ``"auto"`` tells by the values, and takes 0 and 1 for
            numbers where the task's setting ``ranking`` is true.
        validation_share: Share of the own training data that is held out where there is no validation data.
        split_seed: Seed of what is held out, where a data set comes without splits.
        reader_settings: Settings of the data set's reader, such as ``{"ranking": "order.json"}``; see
            :func:`~trbert_env.data.readers.reader_settings`.
        skip_bad_records: True to leave malformed records out and count them, instead of an error at the first.
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
    reader_settings: Mapping[str, Any] = field(default_factory=dict)
    skip_bad_records: bool = False
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    max_length: int | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        preset = get_preset(self.env)
        if self.max_length is not None and "max_tokens" in self.task_settings:
            tokens = self.task_settings["max_tokens"]
            raise ParameterError(
                lambda name: (
                    f"{name('max_length')} {self.max_length} and the setting max_tokens {tokens} are one: leave one out"
                )
            )
        _check_task(preset, self._settings, self.length)
        given = [name for name in _OWN_FIELDS if getattr(self, name) != _default(name)]
        if given and not self.is_own:
            known = " or ".join(OWN)
            raise ParameterError(
                lambda name: f"{name(given[0])} is for own data, and {self.env} is none: use {name('env')} {known}"
            )
        self._check_reader(preset.dataset)
        if self.data_dir is not None and self.data_source in ("hub", "embedded"):
            raise ParameterError(
                lambda name: (
                    f"{name('data_dir')} is {self.data_dir!r}, and {name('data_source')} {self.data_source!r} reads no "
                    "folder: leave one out"
                )
            )
        if self.is_own:
            if self.data_source == "embedded" or self.data_dir is not None:
                raise ParameterError(
                    lambda name: (
                        f"{self.env} reads own files: leave {name('data_dir')} and {name('data_source')} 'embedded' out"
                    )
                )
            source = self._own_reader().files.source
            if self.data_source not in ("auto", source):
                raise ParameterError(
                    lambda name: (
                        f"{name('data_source')} is {self.data_source!r}, and own data come from where they are named "
                        f"({source}): leave it out"
                    )
                )

    def _check_reader(self, dataset: str) -> None:
        known = reader_settings(dataset)
        if self.split_seed and not (self.is_own or "split_seed" in known):
            raise ParameterError(
                lambda name: (
                    f"{name('split_seed')} has no meaning for {self.env}, which comes with its splits: leave it out"
                )
            )
        types = {name: kind for name, kind in known.items() if name != "split_seed"}
        check_settings(f"the reader of {self.env}", self.reader_settings, types)
        if self._read_with:
            reader = make_reader(dataset, **self._read_with)
            if self.data_source == "embedded":
                from trbert_env.data.embedded import check_known_to_corpus

                check_known_to_corpus(dataset, reader.settings)

    @property
    def _read_with(self) -> dict[str, Any]:
        """Settings of the reader that are not as they come."""
        seed = {"split_seed": self.split_seed} if self.split_seed and not self.is_own else {}
        return {**self.reader_settings, **seed}

    @property
    def is_own(self) -> bool:
        """Whether the records are a user's own."""
        return self.env in _OWN_READERS

    @property
    def drawn_split(self) -> dict[str, Any]:
        """What decides the splits, by name, where they are drawn by a seed; empty where data come with theirs."""
        if self.is_own:
            drawn = self.validation_file is None
            return {"validation_share": self.validation_share, "split_seed": self.split_seed} if drawn else {}
        settings = reader_defaults(self.preset.dataset)
        return {**settings, **self._read_with} if "split_seed" in settings else {}

    @cached_property
    def preset(self) -> Preset:
        """The data set's record, with the settings that are asked for; a shorter length shortens the overlap too."""
        preset = get_preset(self.env)
        return replace(preset, settings={**_own_settings(preset, self.length), **self._settings})

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
        """Return what tells fine-tuned encoders of these data apart in a cache: the source, and what is read how.

        Of own files the content counts, and how they are split: an encoder that was fine-tuned on other texts, or on
        another part of them, is another one.

        Args:
            source: Source of the records.
        """
        told = self._own_values() if self.is_own else self._reader_values()
        asked = self._settings
        told = {**told, **({"task_settings": asked} if asked else {})}
        if not told:
            return source
        digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=dict).encode()).hexdigest()
        return f"{source}-{digest[:12]}"

    def _reader_values(self) -> dict[str, Any]:
        values = self._read_with
        ranking = values.get("ranking")
        if ranking is not None and (file := Path(ranking).expanduser()).is_file():
            values["ranking"] = fingerprint_path(file)
        return values

    def _own_values(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in _OWN_FIELDS}
        for name in ("train_file", "validation_file", "dataset"):
            if own[name] is not None and (path := Path(own[name]).expanduser()).exists():
                own[name] = fingerprint_path(path)
        return own | self.drawn_split

    def load(self, split: str, source: str | None = None) -> Examples:
        """Read a split.

        Args:
            split: A split of the data set.
            source: Source of another split, so that both come from one place.

        Raises:
            FileNotFoundError: A folder, file or data set is missing.
            ValueError: The data are malformed, or there is no such split.
        """
        where, skip = source or self.data_source, self.skip_bad_records
        return load_examples(self._reader, split, where, self.data_dir, skip_bad_records=skip)

    def settling(self, found: Examples, split: str) -> Dataset:
        """Return the records that settle a task for a split, as whether some questions have no answer.

        These are own training records where there are some and the task leaves open what its data tell: few records
        that are evaluated on may tell another thing than those that were learned from.

        Args:
            found: Records of the split, as :meth:`load` returned them.
            split: The split.
        """
        task, reader = make_task(self.preset), self._reader
        is_open = any(getattr(task, name) is None for name in task.settled_by_data)
        if split == "train" or not is_open or not isinstance(reader, OwnReader) or "train" not in reader.files.tables:
            return found.dataset
        return self.load("train").dataset

    @cached_property
    def _reader(self) -> Reader | OwnReader | str:
        if self.is_own:
            return self._own_reader()
        dataset = self.preset.dataset
        return make_reader(dataset, **self._read_with) if self._read_with else dataset

    def _own_reader(self) -> OwnReader:
        kind = _OWN_READERS[self.env]
        if self.train_file is None and self.validation_file is None and self.dataset is None:
            raise ParameterError(
                lambda name: (
                    f"{self.env} reads own data: give {name('train_file')} (and {name('validation_file')}), or "
                    f"{name('dataset')}"
                )
            )
        known = [field.name for field in fields(kind) if field.init and field.name not in _NO_COLUMNS]
        for column in self.columns:
            if column not in known:
                raise ParameterError(functools.partial(_unknown_column, self.env, column, known))
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
            ranking = bool(self._settings.get("ranking"))
            return TextClassification(files, label_kind=self.label_kind, ranking=ranking, **named)
        if self.label_kind != "auto":
            raise ParameterError(lambda name: f"{name('label_kind')} has no meaning for {self.env}: leave it out")
        return kind(files, **named)


def _unknown_column(env: str, column: str, known: Sequence[str], name: Naming) -> str:
    near = nearest_name(column, known)
    hint = "" if near is None else f"did you mean {near!r}? "
    return f"{name('columns')} names {column!r}, and {env} reads no such column: {hint}it reads {', '.join(known)}"


def _default(name: str) -> Any:
    defaults = {field.name: field for field in fields(DataRequest)}
    return {} if name == "columns" else defaults[name].default


def _own_settings(preset: Preset, length: int | None) -> Mapping[str, Any]:
    """The settings of a data set; a shorter length shortens what windows share and questions."""
    return preset.settings if length is None else shortened_settings(preset.settings, length)


def _check_task(preset: Preset, settings: Mapping[str, Any], length: int | None) -> None:
    """Refuse settings that a task does not have, or of another type.

    Raises:
        ValueError: One is given; the message names it and what the task has.
    """
    kind = task_class(preset.task)
    hints = get_type_hints(kind)
    types = {field.name: hints[field.name] for field in fields(kind) if field.init}
    check_settings(f"task {preset.task!r}", settings, types)
    kind(**{**_own_settings(preset, length), **settings})
