"""Declared schemas of records, and the one check of a table against them.

A schema maps each column to its kind (:mod:`trbert_env.data.kinds`); forms of records are declared in
:mod:`trbert_env.data.records`.
"""

from __future__ import annotations

import pyarrow as pa
from datasets import Dataset

from trbert_env.data.checking import conforming, unique
from trbert_env.data.columns import Schema, check_columns, check_types
from trbert_env.data.faults import Faults
from trbert_env.data.rows import Place, Rows

__all__ = ["Schema", "check_columns", "check_types", "checked_dataset", "checked_table"]


def checked_table(table: pa.Table, schema: Schema, origin: str) -> pa.Table:
    """Check columns, types and values, and return the declared columns in their declared types.

    Args:
        table: The rows; columns that are not declared are left out.
        schema: The declared columns.
        origin: Origin of the table, for messages: a file, a name on the hub.

    Returns:
        A table with the same values in the types of the schema, without metadata.

    Raises:
        ValueError: A column is missing or of another type, or a value is refused.
    """
    faults = Faults(skippable=False)
    return unique(conforming(Rows.of(table, Place(origin)), schema, faults), schema, faults).table


def checked_dataset(dataset: Dataset, schema: Schema, origin: str) -> pa.Table:
    """Check a data set of the ``datasets`` library; see :func:`checked_table`.

    Args:
        dataset: The rows, in any format.
        schema: The declared columns.
        origin: Origin of the rows, for messages.

    Raises:
        ValueError: A column is missing or of another type, or a value is refused.
    """
    check_columns(dataset.features.arrow_schema, schema, origin)
    present = schema.found_in(dataset.features.arrow_schema)
    return checked_table(dataset.select_columns(present).with_format("arrow")[:], schema, origin)
