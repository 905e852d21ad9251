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


def filled_lists(values: pa.Array) -> pa.Array:
    """Return lists with empty ones in the place of nulls.

    Args:
        values: Lists of variable length.

    Example:
        >>> filled_lists(pa.array([[1], None, [2, 3]])).to_pylist()
        [[1], [], [2, 3]]
    """
    if not values.null_count:
        return values
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    offsets = pa.array([0, *pc.cumulative_sum(lengths).to_pylist()], pa.int32())
    return pa.ListArray.from_arrays(offsets, values.flatten())


def as_lists(values: pa.Array) -> pa.Array:
    """Turn a list of structs into a struct of lists.

    Args:
        values: Lists of structs; null counts as an empty one.
    """
    plain = filled_lists(values.cast(pa.list_(values.type.value_type)))
    offsets = pc.subtract(plain.offsets, plain.offsets[0]) if len(plain) else pa.array([0], pa.int32())
    items = plain.flatten()
    lists = [pa.ListArray.from_arrays(offsets, part) for part in items.flatten()]
    return pa.StructArray.from_arrays(lists, names=[field.name for field in items.type.fields])
