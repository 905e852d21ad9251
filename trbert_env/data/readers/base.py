"""What a reader is: the one place that knows how the files of a data set look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.hub import Hub
from trbert_env.data.parquet import shard_of
from trbert_env.data.rows import Rows

Settings = ParamSpec("Settings")

#: From checked columns of the hub to records; called for one piece of a split after another.
Convert = Callable[[Rows, str, Faults], Rows]
#: From a folder of official files to the records of a split; None where the folder has no such files.
Official = Callable[[Path, str, Faults], Rows | None]
#: From all records of what was read to those of a split, such as a part of them.
Finish = Callable[[Rows, str, Faults], Rows]


def _as_they_are(rows: Rows, split: str, faults: Faults) -> Rows:
    return rows


def _all(rows: Rows, split: str, faults: Faults) -> Rows:
    return rows


@dataclass(frozen=True)
class Reader:
    """How the splits of a data set are read, from the hub's columns or from official files.

    Attributes:
        name: The data set's name, and that of its folder in a data folder.
        form: The form of its records.
        hub: Place on the hub.
        splits: The splits that it has; the name of each on the hub, and of its parquet files.
        columns: The columns that the hub has and that records are made of.
        convert: Makes records of those columns, piece by piece.
        official: Makes records of official files.
        official_files: The names of the official files, for messages.
        finish: Takes the split from all that was read, once the pieces are together.
        labels: The names of all classes in their order, where records have a label that is a name.
        settings: Settings that it was made with, where they are not as they come.
    """

    name: str
    form: Schema
    hub: Hub
    splits: dict[str, str]
    columns: Schema
    official: Official
    official_files: str
    convert: Convert = _as_they_are
    finish: Finish = _all
    labels: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def folders(self, root: Path) -> Sequence[Path]:
        """Return the folders that may hold the files, those of the data set's own name first.

        Args:
            root: A data folder, or the data set's own folder.
        """
        own = [root / self.name, root]
        if self.hub.config is not None:  # as in a folder cloned from the hub
            own = [folder for parent in own for folder in (parent / self.hub.config, parent)]
        return [folder for folder in own if folder.is_dir()]


def told(factory: Callable[Settings, Reader]) -> Callable[Settings, Reader]:
    """Make the readers of a function tell the settings that they were made with.

    Args:
        factory: The function; its parameters are the settings.
    """

    @wraps(factory)
    def make(*args: Settings.args, **kwargs: Settings.kwargs) -> Reader:
        given = signature(factory).bind(*args, **kwargs)
        defaults = {name: parameter.default for name, parameter in signature(factory).parameters.items()}
        # None asks for nothing, as max_words of all words does.
        settings = {n: value for n, value in given.arguments.items() if value is not None and value != defaults[n]}
        return replace(factory(*args, **kwargs), settings=settings)

    return make


def numbered_ids(rows: Rows, split: str, first: int = 0) -> pa.Array:
    """Make ids of the split, the shard behind the first, and the number of the row, for columns without ids.

    Args:
        rows: The rows.
        split: The name of the split.
        first: The number of the first row.

    Example:
        ``"train:17"`` for row 17 of the training split, ``"train:2:17"`` for that of its third shard.
    """
    shards = [shard_of(place.name) for place in rows.places]
    prefixes = np.array([f"{split}:{shard}:" if shard else f"{split}:" for shard in shards])
    numbers = pa.array(rows.numbers + first).cast(pa.string())
    return pc.binary_join_element_wise(pa.array(prefixes[rows.place_of]), numbers, "")


def labelled(rows: Rows, ids: pa.Array, text: pa.Array, labels: pa.Array) -> Rows:
    """Build rows of labelled or scored texts without second texts.

    Args:
        rows: The rows that the columns were made of.
        ids: The id of each.
        text: The text of each.
        labels: The name of the class of each, or its number.
    """
    pairs = pa.nulls(len(rows), pa.string())
    return rows.with_columns({"id": ids, "text": text, "text_pair": pairs, "label": labels})


def names_of(indices: pa.ChunkedArray, names: Sequence[str]) -> pa.ChunkedArray:
    """Return the name of each class.

    Args:
        indices: Indices of classes, all in range.
        names: The names of the classes.
    """
    return pc.take(pa.array(names), indices)


def first_folder(folder: Path, inner: Sequence[str], needed: str) -> Path | None:
    """Return the folder that an official archive has been unpacked to, or None.

    Args:
        folder: A data folder, the data set's folder, or the archive's own.
        inner: Folders that the archive is known to hold, outermost first; ``"."`` for none.
        needed: File or folder that must exist, relative to the returned folder.
    """
    for name in inner:
        if (folder / name / needed).exists():
            return folder / name
    return None
