"""Load a split of a data set from a local folder, the hub or the embedded corpus."""

from __future__ import annotations

import difflib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset
from datasets.table import InMemoryTable

Source = Literal["local", "hub", "embedded"]

SOURCES = ("auto", "local", "hub", "embedded")
#: The name on the hub of each data set; the key is also the name of its local folder.
HUB_NAMES = {"squad_v2": "rajpurkar/squad_v2"}
#: The columns that each data set must have, and the fields of those that are structs.
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "squad_v2": {"id": (), "title": (), "context": (), "question": (), "answers": ("text", "answer_start")},
}
DATA_DIR_VARIABLE = "TRBERT_DATA"


@dataclass(frozen=True)
class Examples:
    """A split, and where it was really taken from.

    Attributes:
        dataset: The examples, at least one, with the columns of the hub's data set of that name.
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
        ValueError: If the data set or source is unknown, or the data lack columns or rows.
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
    table = pa.concat_tables([_read_parquet(dataset, file) for file in files])
    # In memory, not through the cache of `datasets`: that needs a writable home and may serve an older file.
    loaded = Dataset(InMemoryTable(table))
    origin = str(files[0]) if len(files) == 1 else f"{len(files)} files in {files[0].parent}"
    return _examples(loaded, "local", dataset, split, origin)


def _parquet_files(dataset: str, split: str, root: Path) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist: check --data-dir or {DATA_DIR_VARIABLE}")
    folders = [folder for folder in (root / dataset, root) if folder.is_dir()]
    for folder in folders:
        single = folder / f"{split}.parquet"
        # The second form is that of a folder cloned from the hub.
        files = [single] if single.is_file() else sorted(folder.glob(f"{split}-*-of-*.parquet"))
        if files:
            return files
    found = sorted(path.name for folder in folders for path in folder.glob("*.parquet"))
    raise FileNotFoundError(
        f"data folder {root} has no {dataset}/{split}.parquet (parquet files there: "
        f"{', '.join(found) or 'none'}): check --data-dir or {DATA_DIR_VARIABLE}, and the split"
    )


def _read_parquet(dataset: str, file: Path) -> pa.Table:
    try:
        schema = pq.read_schema(file)
        _check_columns(dataset, schema, str(file))
        table = pq.read_table(file)
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{file} is not a readable parquet file ({reason}): write it anew") from error
    if table.num_rows == 0:
        raise ValueError(f"{file} has no rows: give a file with at least one example")
    return table


def _check_columns(dataset: str, schema: pa.Schema, origin: str) -> None:
    missing = []
    for column, fields in COLUMNS[dataset].items():
        if column not in schema.names:
            missing.append(column)
        elif fields:
            kind = schema.field(column).type
            present = {field.name for field in kind} if pa.types.is_struct(kind) else set()
            missing += [f"{column}.{field}" for field in fields if field not in present]
    if missing:
        needed = ", ".join(
            f"{column}{{{', '.join(fields)}}}" if fields else column for column, fields in COLUMNS[dataset].items()
        )
        raise ValueError(f"{origin} lacks the columns {', '.join(missing)}: {dataset} needs {needed}")


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
    return _examples(loaded, "hub", dataset, split, f"{name} on the hub")


def _load_embedded(dataset: str, split: str) -> Examples:
    from trbert_env.data.embedded import embedded_squad2

    loaded = embedded_squad2(split, seed=0)
    return _examples(loaded, "embedded", dataset, split, "the embedded corpus: generated text, not the real one")


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


def _examples(loaded: Dataset, source: Source, dataset: str, split: str, origin: str) -> Examples:
    _check_columns(dataset, loaded.features.arrow_schema, origin)
    if len(loaded) == 0:
        raise ValueError(f"{dataset} {split} from {origin} has no rows: give at least one example")
    return Examples(loaded, source, f"{dataset} {split}, {len(loaded):,} examples from {origin}")
