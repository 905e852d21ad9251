"""20 Newsgroups: messages, by the group that they were posted to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.hub import Hub
from trbert_env.data.kinds import Text
from trbert_env.data.readers.base import Reader, labelled, numbered_ids, told
from trbert_env.data.records import LABELLED_TEXT
from trbert_env.data.rows import Place, Rows, rows_of_records
from trbert_env.data.source_kinds import OneOf

LABELS = (
    "alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware", "comp.sys.mac.hardware",
    "comp.windows.x", "misc.forsale", "rec.autos", "rec.motorcycles", "rec.sport.baseball", "rec.sport.hockey",
    "sci.crypt", "sci.electronics", "sci.med", "sci.space", "soc.religion.christian", "talk.politics.guns",
    "talk.politics.mideast", "talk.politics.misc", "talk.religion.misc",
)  # fmt: skip

#: A header of that name, with the lines that continue it.
_NEWSGROUPS = re.compile(r"^newsgroups:[^\n]*(?:\n[ \t]+\S[^\n]*)*(?:\n|\Z)", re.IGNORECASE | re.MULTILINE)
#: The end of the headers.
_BLANK_LINE = re.compile(r"\r?\n[ \t]*\r?\n")


def without_newsgroups(text: str) -> str:
    r"""Take the header line that names the groups out of a message; its body stays as it is.

    Args:
        text: A message with or without headers.

    Example:
        >>> without_newsgroups("From: ada\nNewsgroups: sci.space\nSubject: mills\n\nNewsgroups: stay")
        'From: ada\nSubject: mills\n\nNewsgroups: stay'
    """
    end = _BLANK_LINE.search(text)
    headers = len(text) if end is None else end.start() + 1
    return _NEWSGROUPS.sub("", text[:headers]) + text[headers:]


def _text(text: str, keep_newsgroups: bool) -> str:
    return text if keep_newsgroups else without_newsgroups(text)


def _convert(keep_newsgroups: bool, rows: Rows, split: str, faults: Faults) -> Rows:
    texts = [_text(text, keep_newsgroups) for text in rows.table.column("text").to_pylist()]
    return labelled(rows, numbered_ids(rows, split), pa.array(texts, pa.string()), rows.table.column("label_text"))


def _official(keep_newsgroups: bool, folder: Path, split: str, faults: Faults) -> Rows | None:
    root = folder / f"20news-bydate-{split}"
    if not root.is_dir():
        return None
    groups = sorted(group for group in root.iterdir() if group.is_dir())
    if unknown := [group.name for group in groups if group.name not in LABELS]:
        raise ValueError(f"{root} has the folder {unknown[0]}, which is none of the 20 groups: remove it")
    if missing := sorted(set(LABELS) - {group.name for group in groups}):
        raise FileNotFoundError(f"{root} lacks the folder {missing[0]}: unpack 20news-bydate.tar.gz whole")
    files = [file for group in groups for file in sorted(group.iterdir(), key=lambda file: file.name.zfill(12))]
    files = [file for file in files if file.is_file() and not file.name.startswith(".")]
    place = Place(str(root), lambda number: f"{files[number].parent.name}/{files[number].name}")

    def records() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, file in enumerate(files):
            # Every byte is a Latin-1 character, so that no message is refused.
            text = _text(file.read_text(encoding="latin-1"), keep_newsgroups)
            yield number, {"id": f"{split}/{place.locate(number)}", "text": text, "label": file.parent.name}

    return rows_of_records(records(), LABELLED_TEXT, place, faults)


@told
def newsgroups(keep_newsgroups: bool = False) -> Reader:
    """Return the reader of 20 Newsgroups.

    The paper's accuracy needs messages with headers: the official by-date archive, not the hub's copy, whose
    headers, signatures and quotations are removed.

    Args:
        keep_newsgroups: True to keep the header line ``Newsgroups:``, which gives the class away.
    """
    return Reader(
        name="20_newsgroups",
        form=LABELLED_TEXT,
        hub=Hub("SetFit/20_newsgroups"),
        splits={"train": "train", "test": "test"},
        columns=Schema("20_newsgroups", {"text": Text(), "label_text": OneOf(names=LABELS)}),
        convert=partial(_convert, keep_newsgroups),
        official=partial(_official, keep_newsgroups),
        official_files="20news-bydate-{train,test}/<group>/<number>",
        labels=LABELS,
    )
