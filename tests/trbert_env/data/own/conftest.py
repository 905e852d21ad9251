"""Files of own data in every format, and their texts."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trbert_env.data import load_examples
from trbert_env.data.own import OwnFiles, TextClassification

Columns = dict[str, list[Any]]


def delimited(columns: Columns, delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return file.getvalue().encode()


def parquet(columns: Columns) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def records(columns: Columns) -> list[Columns]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


FORMATS = {
    "csv": lambda columns: delimited(columns, ","),
    "tsv": lambda columns: delimited(columns, "\t"),
    "json": lambda columns: json.dumps(records(columns)).encode(),
    "data.json": lambda columns: json.dumps({"version": 1, "data": records(columns)}, indent=1).encode(),
    "jsonl": lambda columns: "\n\n".join(map(json.dumps, records(columns))).encode(),
    "ndjson": lambda columns: b"\xef\xbb\xbf" + "\n".join(map(json.dumps, records(columns))).encode(),
    "parquet": parquet,
}


@pytest.fixture(params=FORMATS)
def ending(request: pytest.FixtureRequest) -> str:
    """The end of the name of a file in each format."""
    return str(request.param)


@pytest.fixture(scope="session")
def make_file() -> Callable[..., Path]:
    """Write columns in the format that a name's end tells."""

    def make(folder: Path, ending: str, columns: Columns, stem: str = "mine") -> Path:
        file = folder / f"{stem}.{ending}"
        content = FORMATS[ending.removesuffix(".gz")](columns)
        file.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
        return file

    return make


@pytest.fixture(scope="session")
def load_texts() -> Callable[..., Any]:
    """Load a file as a validation file, so that nothing is held out."""

    def load(file: Path | None = None, split: str = "validation", **named: Any) -> Any:
        skip = named.pop("skip", False)
        files = named.pop("files", None) or OwnFiles(validation_file=str(file))
        return load_examples(TextClassification(files, **named), split, skip_bad_records=skip)

    return load
