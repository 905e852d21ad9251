"""Parquet files of a split: find them, and read them piece by piece."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trbert_env.data.columns import Schema, check_columns, check_types
from trbert_env.data.rows import Place, Rows

#: Rows that are read at once, and about how many bytes; arrow cannot hold two gigabytes of nested text in one piece.
_BATCH, _BYTES = 65536, 256 << 20


def parquet_files(folders: Sequence[Path], split: str) -> list[Path]:
    """Return the file of a split, or its shards, in the first of some folders that has any.

    Args:
        folders: Folders that may hold ``<split>.parquet`` or ``<split>-<i>-of-<n>.parquet``.
        split: The name of the split in file names.

    Raises:
        FileNotFoundError: Shards are missing.
        ValueError: A folder stands in place of the file.
    """
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
    return []


def shard_of(name: str) -> int:
    """Return the number of a shard from the name of its file; 0 for other files.

    Args:
        name: Path of a file, or any other origin of rows.

    Example:
        >>> shard_of("imdb/train-00002-of-00004.parquet"), shard_of("imdb/train.parquet")
        (2, 0)
    """
    found = re.search(r"-(\d+)-of-\d+\.parquet$", name)
    return 0 if found is None else int(found.group(1))


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


def read_parquet(file: Path, schema: Schema) -> Iterator[Rows]:
    """Read the declared columns of a file piece by piece; their values are not checked.

    Args:
        file: A parquet file.
        schema: The columns to read.

    Raises:
        PermissionError: The file cannot be opened.
        ValueError: The file is no parquet, is damaged, lacks columns or rows, or has columns of other types.
    """
    place, first, columns = Place(str(file)), 0, list(schema.columns)

    def check(opened: pq.ParquetFile) -> None:
        check_columns(opened.schema_arrow, schema, str(file))
        columns[:] = schema.found_in(opened.schema_arrow)
        if opened.metadata.num_rows:
            check_types(opened.schema_arrow, schema, str(file))

    for piece in parquet_tables(file, columns, check):
        yield Rows.of(piece, place, first)
        first += piece.num_rows
    if not first:
        raise ValueError(f"{file} has no rows: give a file with at least one example")


def parquet_tables(
    file: Path, columns: Sequence[str], check: Callable[[pq.ParquetFile], None] = lambda opened: None
) -> Iterator[pa.Table]:
    """Read columns of a file as tables of some thousand rows.

    Args:
        file: A parquet file.
        columns: The columns to read.
        check: Called with the opened file before anything is read.

    Raises:
        PermissionError: The file cannot be opened.
        ValueError: The file is no parquet or is damaged.
    """
    with _readable(file), parquet_file(file) as opened:
        check(opened)
        groups = (opened.metadata.row_group(index) for index in range(opened.num_row_groups))
        size = rows_at_once(opened.metadata.num_rows, sum(group.total_byte_size for group in groups))
        for batch in opened.iter_batches(size, columns=list(columns)):
            yield pa.Table.from_batches([batch])


def rows_at_once(num_rows: int, num_bytes: int) -> int:
    """Return how many rows of a table are read at once: fewer where rows are long.

    Args:
        num_rows: Rows of the table.
        num_bytes: Their size in memory.
    """
    return max(1, min(_BATCH, _BYTES * num_rows // max(num_bytes, 1)))


def parquet_schema(file: Path) -> pa.Schema:
    """Return the columns of a file, with the metadata that the writer left.

    Args:
        file: A parquet file.

    Raises:
        PermissionError: The file cannot be opened.
        ValueError: The file is no parquet or is damaged.
    """
    with _readable(file), parquet_file(file) as opened:
        return opened.schema_arrow


def parquet_file(file: Path) -> pq.ParquetFile:
    """Open a file, unpacked into memory if its name ends in ``.gz``.

    Args:
        file: A parquet file.
    """
    # Not `pq.read_table`: it adds columns for folders that are named like `key=value`.
    if file.suffix != ".gz":
        return pq.ParquetFile(file, page_checksum_verification=True)
    with pa.input_stream(str(file), compression="gzip") as stream:
        return pq.ParquetFile(pa.BufferReader(stream.read()), page_checksum_verification=True)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Say in one line what is wrong with a file that cannot be read."""
    try:
        yield
    except PermissionError as error:
        raise PermissionError(f"{file} cannot be opened: give yourself the permission to read it") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk, not of what the file holds
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file} is not a readable parquet file ({reason}): write it anew") from error
