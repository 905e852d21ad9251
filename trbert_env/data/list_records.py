"""Columns of records come as a list of structs or as a struct of lists: the first is turned into the second."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def is_list_of_structs(found: pa.DataType) -> bool:
    """Return whether a type is a list of structs.

    Args:
        found: The type of a column.
    """
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
    return bool(is_list and pa.types.is_struct(found.value_type))


def type_as_lists(found: pa.DataType) -> pa.DataType:
    """Return the type that :func:`as_lists` gives.

    Args:
        found: The type of a column.
    """
    return pa.struct([(field.name, pa.list_(field.type)) for field in found.value_type.fields])


def as_lists(values: pa.Array) -> pa.Array:
    """Turn a list of structs into a struct of lists.

    Args:
        values: Lists of structs without null lists.
    """
    plain = values.cast(pa.list_(values.type.value_type))
    offsets = pc.subtract(plain.offsets, plain.offsets[0]) if len(plain) else pa.array([0], pa.int32())
    items = plain.flatten()
    lists = [pa.ListArray.from_arrays(offsets, part) for part in items.flatten()]
    return pa.StructArray.from_arrays(lists, names=[field.name for field in items.type.fields])
