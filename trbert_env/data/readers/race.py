"""RACE: multiple choice over passages of English exams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.columns import Schema
from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import json_record, value_of
from trbert_env.data.hub import Hub
from trbert_env.data.kinds import ListOf, Text
from trbert_env.data.readers.base import Reader, first_folder, told
from trbert_env.data.records import RACE
from trbert_env.data.rows import Place, Rows, rows_of_records
from trbert_env.data.source_kinds import OneOf

LETTERS = ("A", "B", "C", "D")
LEVELS = ("high", "middle")
_COLUMNS = {
    "example_id": Text(),
    "article": Text(),
    "question": Text(),
    "options": ListOf(Text()),
    "answer": OneOf(names=LETTERS),
}
#: How the official folders name the splits.
_FOLDERS = {"train": "train", "validation": "dev", "test": "test"}


def _convert(config: str, rows: Rows, split: str, faults: Faults) -> Rows:
    if config != "all":
        level = pc.starts_with(rows.table.column("example_id"), pattern=config)
        rows = rows.keep(level.to_numpy(zero_copy_only=False))
    table = rows.table
    columns = {name: table.column(name) for name in ("article", "question", "options")}
    files = table.column("example_id")
    answers = pc.index_in(table.column("answer"), pa.array(LETTERS)).cast(pa.int64())
    levels = pc.struct_field(pc.extract_regex(files, f"^(?P<level>{'|'.join(LEVELS)})"), "level")
    return rows.with_columns({"id": files, "group": files, **columns, "answer": answers, "subset": levels})


def _finish(rows: Rows, split: str, faults: Faults) -> Rows:
    """Number the questions of each file."""
    seen: Counter[str] = Counter()
    ids = []
    for file in rows.table.column("group").to_pylist():
        ids.append(f"{file}-{seen[file]}")
        seen[file] += 1
    index = rows.table.column_names.index("id")
    return rows.with_table(rows.table.set_column(index, "id", pa.array(ids, pa.string())))


def _official(config: str, folder: Path, split: str, faults: Faults) -> Rows | None:
    levels = LEVELS if config == "all" else (config,)
    root = first_folder(folder, ("RACE", "."), f"{_FOLDERS[split]}/{levels[0]}")
    if root is None:
        return None
    root = root / _FOLDERS[split]
    if missing := [level for level in levels if not (root / level).is_dir()]:
        raise FileNotFoundError(
            f"{root} lacks the folder {missing[0]}: unpack RACE.tar.gz whole, or read one level by config={levels[0]}"
        )
    files = [file for level in levels for file in sorted((root / level).glob("*.txt"), key=_by_number)]
    place = Place(str(root), lambda number: f"{files[number].parent.name}/{files[number].name}")

    def records() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, file in enumerate(files):
            try:
                article, columns = _content(file)
            except BadRecordError as fault:
                faults.report(place.name, place.locate(number), fault.kind, fault.problem)
                continue
            for count, (question, options, answer) in enumerate(zip(*columns, strict=True)):
                if answer not in LETTERS:
                    problem = f": answer is {answer!r}: give one of {', '.join(LETTERS)}"
                    where = f"{place.locate(number)}, question {count}"
                    faults.report(place.name, where, "with a faulty answer", problem)
                    continue
                record = {"question": question, "options": options, "answer": LETTERS.index(answer)}
                yield number, {**article, **record, "subset": file.parent.name}

    return rows_of_records(records(), RACE, place, faults)


def _by_number(file: Path) -> tuple[int, str]:
    return len(file.stem), file.stem


def _content(file: Path) -> tuple[dict[str, Any], list[list[Any]]]:
    """The article of one file, under its name, and its questions, options and answers."""
    try:
        content = json_record(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRecordError("that are not UTF-8", f": not UTF-8 ({error.reason}): write the file as UTF-8") from error
    article = value_of(content, "article", str, "the file")
    columns = [value_of(content, name, list, "the file") for name in ("questions", "options", "answers")]
    if len({len(column) for column in columns}) > 1:
        counts = " and ".join(
            f"{len(column)} {name}" for column, name in zip(columns, ("questions", "options", "answers"), strict=True)
        )
        raise BadRecordError("with as many questions as not answers", f": {counts}: give as many of each")
    name = content.get("id") or f"{file.parent.name}{file.name}"
    return {"id": name, "group": name, "article": article}, columns


@told
def race(config: str = "all") -> Reader:
    """Return the reader of RACE.

    Args:
        config: ``"all"``, or ``"high"`` or ``"middle"`` for the questions of one kind of school.

    Raises:
        ValueError: The configuration is unknown.
    """
    if config not in ("all", *LEVELS):
        raise ValueError(f"RACE has no configuration {config!r}: choose from all, high, middle")
    return Reader(
        name="race",
        form=RACE,
        hub=Hub("ehovy/race", config),
        splits={"train": "train", "validation": "validation", "test": "test"},
        columns=Schema("race", _COLUMNS, key="example_id"),
        convert=partial(_convert, config),
        official=partial(_official, config),
        official_files="RACE/{train,dev,test}/{middle,high}/<number>.txt",
        finish=_finish,
    )
