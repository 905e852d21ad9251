"""YELP.F: reviews of one to five stars."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.checking import conforming
from trbert_env.data.columns import Schema
from trbert_env.data.delimited import read_delimited
from trbert_env.data.faults import Faults
from trbert_env.data.hub import Hub
from trbert_env.data.kinds import Integer, Text
from trbert_env.data.readers.base import Reader, first_folder, labelled, names_of, numbered_ids
from trbert_env.data.records import LABELLED_TEXT
from trbert_env.data.rows import Rows
from trbert_env.data.source_kinds import OneOf

LABELS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
_STARS = tuple("12345")


def _plain(text: pa.ChunkedArray) -> pa.ChunkedArray:
    r"""Turn the release's escapes ``\n`` and ``\"`` back; the hub's copy keeps them too."""
    if not pc.any(pc.match_substring(text, "\\")).as_py():
        return text
    return pc.replace_substring(pc.replace_substring(text, "\\n", "\n"), '\\"', '"')


def _convert(rows: Rows, split: str, faults: Faults) -> Rows:
    table = rows.table
    labels = names_of(table.column("label"), LABELS)
    return labelled(rows, numbered_ids(rows, split), _plain(table.column("text")), labels)


def _official(folder: Path, split: str, faults: Faults) -> Rows | None:
    root = first_folder(folder, ("yelp_review_full_csv", "."), f"{split}.csv")
    if root is None:
        return None
    columns = Schema("yelp_review_full", {"stars": OneOf(names=_STARS), "text": Text()})
    pieces = []
    for piece in read_delimited(root / f"{split}.csv", ["stars", "text"], faults, header=False):
        rows = conforming(piece, columns, faults)
        stars = pc.index_in(rows.table.column("stars"), pa.array(_STARS))
        ids = numbered_ids(rows, split, first=0)
        pieces.append(labelled(rows, ids, _plain(rows.table.column("text")), names_of(stars, LABELS)))
    return Rows.concat(pieces)


YELP = Reader(
    name="yelp_review_full",
    form=LABELLED_TEXT,
    hub=Hub("Yelp/yelp_review_full"),
    splits={"train": "train", "test": "test"},
    columns=Schema("yelp_review_full", {"label": Integer(0, len(LABELS) - 1), "text": Text()}),
    convert=_convert,
    official=_official,
    official_files="yelp_review_full_csv/{train,test}.csv",
    labels=LABELS,
)
