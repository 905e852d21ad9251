"""Load a split of a data set from a local folder, the hub or the embedded corpus."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset
from datasets.table import InMemoryTable

from trbert_env.data.records import SQUAD_V2
from trbert_env.data.schema import Schema, check_columns, checked_dataset, checked_table

Source = Literal["local", "hub", "embedded"]

SOURCES = ("auto", "local", "hub", "embedded")
#: The name on the hub of each data set; the key is also the name of its local folder.
HUB_NAMES = {"squad_v2": "rajpurkar/squad_v2"}
#: The columns that each data set must have, and what they hold.
SCHEMAS = {"squad_v2": SQUAD_V2}
DATA_DIR_VARIABLE = "TRBERT_DATA"


@dataclass(frozen=True)
class Examples:
    """A split, and where it was really taken from.

    Attributes:
        dataset: The examples, at least one, with just the columns and the types of the data set's schema.
        source: Which source gave them.
        description: One line for reports: the split, its size and its origin.
    """

    dataset: Dataset
    source: Source
    description: str


def load_examples(dataset: str, split: str, source: str = "auto", data_dir: str | None = None) -> Examples:
    """Load a split.

    ``auto`` takes the local folder if one is named, else the hub, else the embedded corpus, and warns when
    it ends with the last. A folder that is named but cannot be read is an error, never a reason to go on.

    Args:
        dataset: A key of :data:`HUB_NAMES`.
        split: ``"train"`` or ``"validation"``.
        source: ``"auto"``, or ``"local"``, ``"hub"`` or ``"embedded"`` for just that; the latter two pay no
            heed to a folder.
        data_dir: The folder that holds ``<dataset>/<split>.parquet``, or that data set's own folder; without
            it, the environment variable ``TRBERT_DATA`` names the folder.

    Raises:
        FileNotFoundError: If the folder, the file of the split or the data set on the hub cannot be found.
        ValueError: If the data set or source is unknown, or the data lack columns or rows, or hold
            other types or values than the data set's schema declares.
    """
    _check_known("data set", dataset, tuple(HUB_NAMES))
    _check_known("data source", source, SOURCES)
    folder = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE) or None
    if source == "local" or (source == "auto" and folder is not None):
        return _load_local(dataset, split, folder)
    if source == "hub":
        return _load_hub(dataset, split)
    if source == "embedded":
        return _load_embedded(dataset, split)
    return _load_hub_or_embedded(dataset, split)


def sample(dataset: Dataset, max_examples: int | None, seed: int = 0) -> Dataset:
    """A random sample in random order, the same for the same seed; a smaller one begins a larger one.

    Args:
        dataset: The examples to choose from.
        max_examples: How many to take at most; None takes all, shuffled too.
        seed: Seed of the order.

    Raises:
        ValueError: If ``max_examples`` is less than 1.
    """
    if max_examples is not None and max_examples < 1:
        raise ValueError(f"the number of examples is {max_examples}: give at least 1, or none for all")
    return dataset.select(_order(dataset, seed)[:max_examples])


def hold_out(dataset: Dataset, count: int, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Set examples aside, to watch training on or to choose settings by: the last of :func:`sample`'s order.

    A :func:`sample` of the same seed has none of them, unless it takes nearly all.

    Args:
        dataset: The examples of a split.
        count: How many to set aside.
        seed: Seed of the order.

    Returns:
        The rest in random order, and those set aside.

    Raises:
        ValueError: It would leave nothing to train on.
    """
    if not 0 <= count < len(dataset):
        raise ValueError(f"{count} of {len(dataset)} examples cannot be held out: some must be left to train on")
    order, rest = _order(dataset, seed), len(dataset) - count
    return dataset.select(order[:rest]), dataset.select(order[rest:])


def _order(dataset: Dataset, seed: int) -> npt.NDArray[np.int64]:
    """The random order that samples are the beginning of, and what is held out the end."""
    return np.random.default_rng(seed).permutation(len(dataset))


def _check_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose from {', '.join(known)}"
        raise ValueError(f"unknown {what} {name!r}: {hint}")


def _load_local(dataset: str, split: str, data_dir: str | None) -> Examples:
    if data_dir is None:
        raise ValueError(f"the local data source needs a folder: give --data-dir or set {DATA_DIR_VARIABLE}")
    files = _parquet_files(dataset, split, Path(data_dir).expanduser())
    # Each file by itself, so that messages name it and files of different but accepted types go together.
    tables = [_read_parquet(SCHEMAS[dataset], file) for file in files]
    origin = str(files[0]) if len(files) == 1 else f"{len(files)} files in {files[0].parent}"
    return _examples(pa.concat_tables(tables), "local", dataset, split, origin)


def _parquet_files(dataset: str, split: str, root: Path) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist: check --data-dir or {DATA_DIR_VARIABLE}")
    folders = [folder for folder in (root / dataset, root) if folder.is_dir()]
    for folder in folders:
        single = folder / f"{split}.parquet"
        if single.is_dir():
            raise ValueError(f"{single} is a folder: put one parquet file in its place, or {split}-*-of-*.parquet")
        # The second form is that of a folder cloned from the hub.
        files = [single] if single.is_file() else sorted(folder.glob(f"{split}-*-of-*.parquet"))
        if files:
            if not single.is_file():
                _check_shards(files, split)
            return files
    found = sorted(path.name for folder in folders for path in folder.glob("*.parquet"))
    raise FileNotFoundError(
        f"data folder {root} has no {dataset}/{split}.parquet (parquet files there: "
        f"{', '.join(found) or 'none'}): check --data-dir or {DATA_DIR_VARIABLE}, and the split"
    )


def _check_shards(files: Sequence[Path], split: str) -> None:
    """Refuse a split of which some shards are missing, or that is there more than once.

    Raises:
        FileNotFoundError: Files named ``<split>-<i>-of-<n>.parquet`` are not all that their names promise.
    """
    names = {file.name for file in files}
    totals = {name.removesuffix(".parquet").rpartition("-of-")[2] for name in names}
    total = totals.pop()
    if totals:
        raise FileNotFoundError(
            f"{files[0].parent} has shards of {split} of {len(totals) + 1} different counts "
            f"({', '.join(sorted(names))}): leave those of one"
        )
    if not total.isdigit():
        raise FileNotFoundError(f"{files[0]} is no shard of a known number: name it {split}-00000-of-00001.parquet")
    wanted = {f"{split}-{index:0{len(total)}d}-of-{total}.parquet" for index in range(int(total))}
    if missing := sorted(wanted - names):
        raise FileNotFoundError(f"{files[0].parent} lacks {missing[0]} ({len(missing)} of {int(total)} shards): add it")


def _read_parquet(schema: Schema, file: Path) -> pa.Table:
    """Read a file's declared columns and check them."""
    try:
        # Not `pq.read_table`: it adds columns for folders that are named like `key=value`.
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            check_columns(opened.schema_arrow, schema, str(file))
            table = opened.read(columns=list(schema.columns))
    except PermissionError as error:
        raise PermissionError(f"{file} cannot be opened: give yourself the permission to read it") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk, not of what the file holds
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file} is not a readable parquet file ({reason}): write it anew") from error
    if table.num_rows == 0:
        raise ValueError(f"{file} has no rows: give a file with at least one example")
    return checked_table(table, schema, str(file))


def _load_hub(dataset: str, split: str) -> Examples:
    name = HUB_NAMES[dataset]
    try:
        loaded = load_dataset(name, split=split)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise FileNotFoundError(
            f"cannot load split {split!r} of {name} from the hub ({reason}): "
            f"check the network and the split, or give --data-dir or --data-source embedded"
        ) from error
    origin = f"{name} on the hub"
    return _examples(checked_dataset(loaded, SCHEMAS[dataset], origin), "hub", dataset, split, origin)


def _load_embedded(dataset: str, split: str) -> Examples:
    from trbert_env.data.embedded.corpus import embedded_squad2

    table = checked_dataset(embedded_squad2(split, seed=0), SCHEMAS[dataset], "the embedded corpus")
    return _examples(table, "embedded", dataset, split, "the embedded corpus: generated text, not the real one")


def _load_hub_or_embedded(dataset: str, split: str) -> Examples:
    if _hub_is_offline():
        reason = "HF_HUB_OFFLINE is set, so the hub is not asked"
    else:
        try:
            return _load_hub(dataset, split)
        except FileNotFoundError as error:
            reason = str(error)
    warnings.warn(
        f"{dataset} {split} comes from the EMBEDDED corpus, generated text and not the real data set: "
        f"no data folder is named (--data-dir or {DATA_DIR_VARIABLE}), and {reason}",
        stacklevel=3,
    )
    return _load_embedded(dataset, split)


def _hub_is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _examples(table: pa.Table, source: Source, dataset: str, split: str, origin: str) -> Examples:
    if table.num_rows == 0:
        raise ValueError(f"{dataset} {split} from {origin} has no rows: give at least one example")
    # In memory, not through the cache of `datasets`: that needs a writable home and may serve an older file.
    loaded = Dataset(InMemoryTable(table))
    return Examples(loaded, source, f"{dataset} {split}, {len(loaded):,} examples from {origin}")
