"""Load a split of a data set from a local folder, the hub or the embedded corpora."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint
from datasets.table import InMemoryTable

from trbert_env.data.checking import conforming, unique
from trbert_env.data.columns import Schema, check_columns
from trbert_env.data.faults import Faults
from trbert_env.data.hub import hub_is_offline, load_from_hub
from trbert_env.data.own.reader import OwnReader
from trbert_env.data.parquet import parquet_files, read_parquet, rows_at_once
from trbert_env.data.readers import READERS, Reader
from trbert_env.data.rows import Place, Rows
from trbert_env.data.rules import obeying
from trbert_env.data.sampling import hold_out, sample

__all__ = ["SOURCES", "Examples", "Source", "hold_out", "load_examples", "sample"]

Source = Literal["local", "hub", "embedded"]

SOURCES = ("auto", "local", "hub", "embedded")
DATA_DIR_VARIABLE = "TRBERT_DATA"
#: Files that a message lists before it stops.
_SHOWN = 8
_INSTEAD = "give --data-dir or --data-source embedded"


@dataclass(frozen=True)
class Examples:
    """A split, and where it was really taken from.

    Attributes:
        dataset: The examples, at least one, with just the columns and the types of the form of records.
        source: Source that they came from.
        description: One line for reports: the split, its size, its origin, and what was left out.
        labels: The names of all classes in their order, where labels are names; else empty.
        left_out: Number of records left out, by kind of fault.
        noted: Number of records that are read, but not as they should be, by kind of oddity.
    """

    dataset: Dataset
    source: Source
    description: str
    labels: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)


def load_examples(
    dataset: str | Reader | OwnReader,
    split: str,
    source: str = "auto",
    data_dir: str | None = None,
    *,
    skip_bad_records: bool = False,
) -> Examples:
    """Load a split.

    ``auto`` takes the local folder if one is named, else the hub, else the embedded corpus, and warns when
    it ends with the last. A folder that is named but cannot be read is an error, never a reason to go on.

    Args:
        dataset: A key of :data:`~trbert_env.data.readers.READERS`, a reader, or a reader of own files, which
            knows its files by itself.
        split: A split that the data set has, such as ``"train"`` or ``"validation"``.
        source: ``"auto"``, or ``"local"``, ``"hub"`` or ``"embedded"`` for just that; the latter two pay no
            heed to a folder.
        data_dir: The folder that holds ``<dataset>/<split>.parquet`` or official files, or that data set's own
            folder; without it, the environment variable ``TRBERT_DATA`` names the folder.
        skip_bad_records: Leave malformed records out and count them, instead of raising an error at the first.

    Raises:
        FileNotFoundError: If the folder, the file of the split or the data set on the hub cannot be found.
        NotADirectoryError: If a file is given as the folder.
        ValueError: If the data set, split or source is unknown, or the data lack columns or rows, or hold
            other types or values than the data set's form declares.
    """
    _check_known("data source", source, SOURCES)
    faults = Faults(skip_bad_records)
    if isinstance(dataset, OwnReader):
        if source == "embedded":
            raise ValueError("own files do not come from the embedded corpora: leave out --data-source embedded")
        own = dataset.read(split, faults)
        return _examples(own.rows, own.form, own.source, dataset.name, split, own.origin, faults, own.labels)
    reader = dataset if isinstance(dataset, Reader) else _reader(dataset)
    folder = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE) or None
    if source == "local" or (source == "auto" and folder is not None):
        return _load_local(reader, split, folder, faults)
    if split not in reader.splits:
        raise ValueError(_no_split(reader, split))
    if source == "hub":
        return _load_hub(reader, split, faults)
    if source == "embedded":
        return _load_embedded(reader, split, faults)
    return _load_hub_or_embedded(reader, split, faults)


def _reader(name: str) -> Reader:
    _check_known("data set", name, tuple(READERS))
    return READERS[name]


def _check_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose from {', '.join(known)}"
        raise ValueError(f"unknown {what} {name!r}: {hint}")


def _no_split(reader: Reader, split: str) -> str:
    return f"{reader.name} has no split {split!r}: choose from {', '.join(reader.splits)}"


def _load_local(reader: Reader, split: str, data_dir: str | None, faults: Faults) -> Examples:
    if data_dir is None:
        raise ValueError(f"the local data source needs a folder: give --data-dir or set {DATA_DIR_VARIABLE}")
    root = Path(data_dir).expanduser()
    if root.is_file():
        raise NotADirectoryError(
            f"data folder {root} is a file: give the folder that it lies in, with {reader.name}'s files, as --data-dir "
            f"or {DATA_DIR_VARIABLE}"
        )
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist: check --data-dir or {DATA_DIR_VARIABLE}")
    folders = reader.folders(root)
    # A file may be there for a split that the data set does not have officially.
    files = parquet_files(folders, reader.splits.get(split, split))
    if files:
        pieces = (piece for file in files for piece in read_parquet(file, reader.columns))
        origin = str(files[0]) if len(files) == 1 else f"{len(files)} files in {files[0].parent}"
        return _finished(reader, _converted(reader, pieces, split, faults), "local", split, origin, faults)
    if split in reader.splits:
        for folder in folders:
            official = reader.official(folder, split, faults)
            if official is not None:
                return _finished(reader, official, "local", split, official.places[0].name, faults)
    fix = (
        f"check --data-dir or {DATA_DIR_VARIABLE}, and the split, or put the official files there: "
        f"{reader.official_files}"
    )
    raise FileNotFoundError(
        f"data folder {root} has no {reader.name}/{reader.splits.get(split, split)}.parquet and no official files of "
        f"{split} (it has {_content(root, reader.name)}): "
        f"{fix if split in reader.splits else _no_split(reader, split)}"
    )


def _content(root: Path, name: str) -> str:
    """What lies in a data folder, and in the data set's own folder there, for messages."""
    own = root / name
    names = [f"{name}/{path.name}" for path in own.iterdir()] if own.is_dir() else []
    names += [path.name + "/" * path.is_dir() for path in root.iterdir() if path != own]
    shown = sorted(names)[:_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") if names else "no files"


def _load_hub(reader: Reader, split: str, faults: Faults) -> Examples:
    return _read_hub(reader, _from_hub(reader, split), split, faults)


def _from_hub(reader: Reader, split: str) -> Dataset:
    return load_from_hub(reader.hub, reader.splits[split], f"{_INSTEAD} (official files: {reader.official_files})")


def _read_hub(reader: Reader, loaded: Dataset, split: str, faults: Faults) -> Examples:
    origin = f"{reader.hub} on the hub"
    pieces = _pieces(loaded, reader.columns, origin)
    return _finished(reader, _converted(reader, pieces, split, faults), "hub", split, origin, faults)


def _pieces(dataset: Dataset, schema: Schema, origin: str) -> Iterator[Rows]:
    """The declared columns of a loaded data set, piece by piece."""
    check_columns(dataset.features.arrow_schema, schema, origin)
    present = schema.found_in(dataset.features.arrow_schema)
    arrow, place = dataset.select_columns(present).with_format("arrow"), Place(origin)
    size = rows_at_once(len(dataset.data), dataset.data.nbytes)
    for first in range(0, max(len(dataset), 1), size):
        yield Rows.of(arrow[first : first + size], place, first)


def _converted(reader: Reader, pieces: Iterator[Rows], split: str, faults: Faults) -> Rows:
    """Check pieces of the hub's columns, and make records of them."""
    return Rows.concat([reader.convert(conforming(piece, reader.columns, faults), split, faults) for piece in pieces])


def _load_embedded(reader: Reader, split: str, faults: Faults) -> Examples:
    from trbert_env.data.embedded import EMBEDDED, check_known_to_corpus

    if reader.name not in EMBEDDED:
        raise ValueError(f"there is no embedded corpus for {reader.name}: give --data-dir or --data-source hub")
    check_known_to_corpus(reader.name, reader.settings)
    corpus = EMBEDDED[reader.name](split, **reader.settings)
    rows = Rows.concat(list(_pieces(corpus, reader.form, "the embedded corpus")))
    origin = "the embedded corpus: generated text, not the real one"
    labels = reader.labels
    if labels and not (found := set(corpus.unique("label"))) <= set(labels):  # a stand-in with classes of its own
        labels = tuple(sorted(found))
    return _examples(rows, reader.form, "embedded", reader.name, split, origin, faults, labels)


def _load_hub_or_embedded(reader: Reader, split: str, faults: Faults) -> Examples:
    from trbert_env.data.embedded import EMBEDDED

    if hub_is_offline():
        reason = "HF_HUB_OFFLINE is set, so the hub is not asked"
    else:
        try:
            loaded = _from_hub(reader, split)
        except FileNotFoundError as error:
            reason = str(error)
        else:
            return _read_hub(reader, loaded, split, faults)
    folder = f"no data folder is named (--data-dir or {DATA_DIR_VARIABLE})"
    if reader.name not in EMBEDDED:
        raise FileNotFoundError(f"{reader.name} {split} cannot be loaded: {folder}, and {reason}")
    warnings.warn(
        f"{reader.name} {split} comes from the EMBEDDED corpus, generated text and not the real data set: "
        f"{folder}, and {reason}",
        stacklevel=3,
    )
    return _load_embedded(reader, split, faults)


def _finished(reader: Reader, rows: Rows, source: Source, split: str, origin: str, faults: Faults) -> Examples:
    rows = reader.finish(rows, split, faults) if len(rows) else rows
    return _examples(rows, reader.form, source, reader.name, split, origin, faults, reader.labels)


def _examples(
    rows: Rows,
    form: Schema,
    source: Source,
    name: str,
    split: str,
    origin: str,
    faults: Faults,
    labels: tuple[str, ...],
) -> Examples:
    """Check the records, whatever they were made of, and describe them."""
    checked = obeying(unique(conforming(rows, form, faults), form, faults), form, faults)
    left_out = f"; {faults.summary}" if faults.summary else ""
    if not len(checked):
        raise ValueError(f"{name} {split} from {origin} has no rows{left_out}: give at least one example")
    # In memory, not through the cache of `datasets`: that needs a writable home and may serve an older file.
    # With a fingerprint of its own, because working one out would copy all of the text.
    loaded = Dataset(InMemoryTable(_few_chunks(checked.table)), fingerprint=generate_random_fingerprint())
    description = f"{name} {split}, {len(loaded):,} examples from {origin}{left_out}"
    return Examples(loaded, source, description, labels, faults.counts, faults.noted)


def _few_chunks(table: pa.Table) -> pa.Table:
    """Put many small pieces together, so that rows are found fast."""
    chunks = max(column.num_chunks for column in table.columns)
    return table.combine_chunks() if chunks * 1024 > table.num_rows else table
