"""Hyperpartisan news (SemEval-2019 task 4): 645 articles, hyperpartisan or not."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.hub import Hub
from trbert_env.data.kinds import Text
from trbert_env.data.readers.base import Reader, labelled, names_of, numbered_ids, told
from trbert_env.data.records import LABELLED_TEXT
from trbert_env.data.rows import Place, Rows, rows_of_records
from trbert_env.data.source_kinds import Truth

LABELS = ("false", "true")
SPLITS = ("train", "validation", "test")
NUM_FOLDS = 10
_ARTICLES = "articles-training-byarticle-20181122.xml"
_GROUND_TRUTH = "ground-truth-training-byarticle-20181122.xml"

_LINK = re.compile(r"</?a(?:\s(?:[^<>\"']|\"[^\"]*\"|'[^']*')*)?>")
_TAG = re.compile(r"</?[A-Za-z](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")


def plain_text(serialised: str) -> str:
    """Return the text of serialised XML: tags are taken out, then entities are turned into characters.

    Links stand within words and leave nothing; other tags leave a blank. Entities may be escaped twice.

    Args:
        serialised: XML such as ``<p>Mills &amp;amp; <a href="...">barns</a>.</p>``.

    Example:
        >>> plain_text('<p>Mills &amp;amp; <a href="http://example.org">barns</a>.</p><p>Sold.</p>')
        'Mills & barns. Sold.'
    """
    text = _TAG.sub(" ", _LINK.sub("", serialised))
    return " ".join(html.unescape(html.unescape(text)).split())


def _convert(rows: Rows, split: str, faults: Faults) -> Rows:
    texts = pa.array([plain_text(text) for text in rows.table.column("text").to_pylist()], pa.string())
    names = names_of(rows.table.column("hyperpartisan").cast(pa.int8()), LABELS)
    return labelled(rows, numbered_ids(rows, "article"), texts, names)


def _official(folder: Path, split: str, faults: Faults) -> Rows | None:
    articles, truth = (_found(folder, name) for name in (_ARTICLES, _GROUND_TRUTH))
    if articles is None and truth is None:
        return None
    if articles is None or truth is None:
        raise FileNotFoundError(f"{folder} lacks {_GROUND_TRUTH if articles else _ARTICLES}: add it, both are needed")
    labels = {element.get("id"): element.get("hyperpartisan") for element in _elements(truth)}
    place = Place(str(articles), lambda number: f"article {number}")
    return rows_of_records(_records(articles, labels, place, faults), LABELLED_TEXT, place, faults)


def _records(
    articles: Path, labels: Mapping[str | None, str | None], place: Place, faults: Faults
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, element in enumerate(_elements(articles)):
        key = element.get("id")
        label = labels.get(key)
        if key is None or label not in LABELS:
            problem = f": no label true or false in {_GROUND_TRUTH}: add it there, or remove the article"
            faults.report(place.name, f"{place.locate(number)}, id {key!r}", "without a label", problem)
            continue
        yield number, {"id": key, "text": plain_text(ElementTree.tostring(element, "unicode")), "label": label}


def _found(folder: Path, name: str) -> Path | None:
    """The file, or the archive that it was released in."""
    for file in (folder / name, folder / f"{name}.zip", folder / f"{name.removesuffix('.xml')}.zip"):
        if file.is_file():
            return file
    return None


def _elements(file: Path) -> Iterator[ElementTree.Element]:
    """The articles of a file one by one.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        with _opened(file) as opened:
            for _, element in ElementTree.iterparse(opened):
                if element.tag == "article":
                    element.tail = None
                    yield element
                    element.clear()
    except ElementTree.ParseError as error:
        raise ValueError(f"{file} is not XML ({error}): copy it anew") from error
    except zipfile.BadZipFile as error:
        raise ValueError(f"{file} is not a whole zip file ({error}): copy it anew") from error


def _opened(file: Path) -> IO[bytes]:
    if file.suffix != ".zip":
        return file.open("rb")
    with zipfile.ZipFile(file) as archive:
        inside = [name for name in archive.namelist() if name.endswith(".xml")]
        if len(inside) != 1:
            raise ValueError(f"{file} holds {len(inside)} XML files: give the released archive, which holds one")
        return archive.open(inside[0])


def _finish(split_seed: int, fold: int, rows: Rows, split: str, faults: Faults) -> Rows:
    tenths = (_tenths(rows.table, split_seed) - fold) % NUM_FOLDS
    wanted = {"test": tenths == 0, "validation": tenths == 1, "train": tenths > 1}
    return rows.take(np.flatnonzero(wanted[split]))


def _tenths(table: pa.Table, seed: int) -> npt.NDArray[np.int64]:
    """The tenth of each article, a tenth of each class in each; equal texts stay together."""
    labels = np.array([LABELS.index(label) for label in table.column("label").to_pylist()])
    texts = table.column("text").to_pylist()
    first: dict[str, int] = {}
    same = np.array([first.setdefault(text, row) for row, text in enumerate(texts)])
    random = np.random.default_rng(seed)
    tenth_of = np.zeros(len(labels), np.int64)
    counts = np.bincount(labels, minlength=len(LABELS))
    copies = np.bincount(same, minlength=len(same))
    for label, size in enumerate(_shares(counts)):
        distinct = random.permutation(np.array([row for row in first.values() if labels[row] == label], np.int64))
        before = np.cumsum(copies[distinct]) - copies[distinct]
        # The first two, which are held out of fold 0, are as near a tenth as can be; the others share the rest.
        ends = np.r_[size, np.linspace(2 * size, counts[label], NUM_FOLDS - 1)]
        tenth_of[distinct] = np.searchsorted(ends[:-1], before, side="right")
    found: npt.NDArray[np.int64] = tenth_of[same]
    return found


def _shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A tenth of each class, rounded so that they add up to a tenth of all."""
    shares = counts // 10
    largest = np.argsort(-(counts % 10), kind="stable")[: counts.sum() // 10 - shares.sum()]
    shares[largest] += 1
    return shares


@told
def hyperpartisan(split_seed: int = 0, fold: int = 0) -> Reader:
    """Return the reader of the articles labelled one by one, split 8:1:1 by a seed, as only one split is published.

    The test splits of the ten folds of a seed are all articles, each once.

    Args:
        split_seed: Seed of the split, which is stratified by class.
        fold: The tenth that is the test split, 0 to 9; the next one is the validation split.

    Raises:
        ValueError: There is no such fold.
    """
    if not 0 <= fold < NUM_FOLDS:
        raise ValueError(f"fold is {fold}: give one from 0 to {NUM_FOLDS - 1}")
    return Reader(
        name="hyperpartisan_news_detection",
        form=LABELLED_TEXT,
        hub=Hub("SemEvalWorkshop/hyperpartisan_news_detection", "byarticle"),
        splits=dict.fromkeys(SPLITS, "train"),
        columns=Schema("hyperpartisan_news_detection", {"text": Text(), "hyperpartisan": Truth()}),
        convert=_convert,
        official=_official,
        official_files=f"{_ARTICLES} and {_GROUND_TRUTH}",
        finish=partial(_finish, split_seed, fold),
        labels=LABELS,
    )
