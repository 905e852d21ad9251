"""A clean environment, and a way to write small files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Write = Callable[[str, Any], Path]


@pytest.fixture(autouse=True)
def no_outside_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRBERT_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file below the temporary folder: text, bytes, parquet columns, JSON or lists of JSON lines."""

    def write(name: str, content: Any) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            pq.write_table(content if isinstance(content, pa.Table) else pa.table(content), file)
            return file
        if not isinstance(content, (str, bytes)):
            lines = ".jsonl" in file.suffixes
            content = "".join(json.dumps(line) + "\n" for line in content) if lines else json.dumps(content)
        data = content.encode() if isinstance(content, str) else content
        file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
        return file

    return write
