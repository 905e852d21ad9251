"""Groups of options that all runners share.

A runner has one frozen dataclass, composed of groups; each group is handed whole to the object that uses it::

    @dataclass(frozen=True)
    class FinetuneOptions:
        resume: Path | None = None
        data: Group[DataOptions] = field(default_factory=DataOptions)
        encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
        run: Group[RunOptions] = field(default_factory=RunOptions)
        training: Group[FinetuneTrainingOptions] = field(default_factory=FinetuneTrainingOptions)

A :data:`Group` has a title in ``--help`` and no prefix on its flags. A group without the annotation has its own
name as the prefix, as ``policy`` of a sweep (``--policy.total-texts``); its own groups are :data:`Part`. For the
names of options see :mod:`runners.cli.flags`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeVar

import torch
import tyro

from runners.cli.items import named_columns, named_values, plain_value
from trbert_env.data.request import DataRequest
from trbert_env.encoder.cuts import MOST_CUTS
from trbert_env.ranges import LARGEST_SEED, Items, Range


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
    """Own validation or test data, which results are reported on; when not given, a share of the training data."""

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
            field.name: plain_value(getattr(self.own, field.name))
            for field in dataclasses.fields(self.own)
            if field.name != "columns"
        }
        return DataRequest(
            self.env,
            self.data_source,
            plain_value(self.data_dir),
            columns=named_columns("--columns", self.own.columns),
            reader_settings=named_values("--reader-options", self.reader_options),
            task_settings=named_values("--task-options", self.task_options),
            max_length=self.max_length,
            split_seed=self.split_seed,
            skip_bad_records=self.skip_bad_records,
            **own,
        )


#: Whole numbers stay integers, as they were before there were cuts within layers.
Cuts = Annotated[tuple[Annotated[int | float, Range(1.5)], ...], Items(1, MOST_CUTS, order="rising")]


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder, and where it is reduced."""

    backbone: str | None = None
    """Folder of an encoder or of a run of stage 1, hub name, or "embedded"; by default the data set's published one."""

    reduction_layers: Cuts | Literal["auto"] = "auto"
    """Reduce before these layers, counted from 1, or within them, behind their attention: 2 is before layer 2, 1.5
    within layer 1. auto measures which layer knows the answer, and cuts behind it, or half a layer earlier for great
    speed-ups."""

    @property
    def layers(self) -> tuple[float, ...] | None:
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
        """Refuse options that do not go together; see :func:`~runners.cli.flags.check_options` for ranges.

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
