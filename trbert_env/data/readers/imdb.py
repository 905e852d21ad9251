"""IMDB: film reviews, negative or positive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.hub import Hub
from trbert_env.data.kinds import Integer, Text
from trbert_env.data.readers.base import Reader, first_folder, labelled, names_of, numbered_ids
from trbert_env.data.records import LABELLED_TEXT
from trbert_env.data.rows import Place, Rows, rows_of_records

LABELS = ("neg", "pos")
#: Line breaks between paragraphs; they become blanks.
_BREAK = r"<br\s*/?>"


def _convert(rows: Rows, split: str, faults: Faults) -> Rows:
    labelled_rows = pc.greater_equal(rows.table.column("label"), 0).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(~labelled_rows):
        faults.leave_out(*rows.where(int(row)), "without a class (label -1)")
    rows = rows.keep(labelled_rows)
    text = pc.replace_substring_regex(rows.table.column("text"), _BREAK, " ")
    return labelled(rows, numbered_ids(rows, split), text, names_of(rows.table.column("label"), LABELS))


def _official(folder: Path, split: str, faults: Faults) -> Rows | None:
    root = first_folder(folder, ("aclImdb", "."), f"{split}/pos")
    if root is None:
        return None
    if missing := [label for label in LABELS if not (root / split / label).is_dir()]:
        raise FileNotFoundError(f"{root / split} lacks the folder {missing[0]}: unpack aclImdb_v1.tar.gz whole")
    files = [(label, file) for label in LABELS for file in sorted((root / split / label).glob("*.txt"))]
    place = Place(str(root / split), lambda number: f"{files[number][0]}/{files[number][1].name}")

    def records() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, (label, file) in enumerate(files):
            try:
                text = file.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                problem = f": not UTF-8 ({error.reason}): write the file as UTF-8"
                faults.report(place.name, place.locate(number), "that are not UTF-8", problem)
                continue
            yield number, {"id": f"{split}/{label}/{file.stem}", "text": re.sub(_BREAK, " ", text), "label": label}

    return rows_of_records(records(), LABELLED_TEXT, place, faults)


IMDB = Reader(
    name="imdb",
    form=LABELLED_TEXT,
    hub=Hub("stanfordnlp/imdb"),
    splits={"train": "train", "test": "test"},
    columns=Schema("imdb", {"text": Text(), "label": Integer(-1, len(LABELS) - 1)}),
    convert=_convert,
    official=_official,
    official_files="aclImdb/{train,test}/{pos,neg}/*.txt",
    labels=LABELS,
)
