"""Further kinds of values, mostly of sources: truth values, names of a fixed set, nested records of any layout."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.faults import BadRecordError
from trbert_env.data.kinds import FaultyValueError, Kind, Text


@dataclass(frozen=True)
class Truth(Kind):
    """Truth values; the numbers 0 and 1 are accepted."""

    @property
    def type(self) -> pa.DataType:
        """Return arrow's bool."""
        return pa.bool_()

    @property
    def needed(self) -> str:
        """Return ``bool``."""
        return "bool"

    def accepts(self, found: pa.DataType) -> bool:
        """Accept truth values and integers."""
        return bool(pa.types.is_boolean(found) or pa.types.is_integer(found))

    def conform(self, values: pa.Array) -> pa.Array:
        """Refuse nulls and other numbers than 0 and 1."""
        refused = values.is_null()
        if pa.types.is_integer(values.type):
            refused = pc.or_(refused, pc.fill_null(pc.invert(pc.is_in(values, pa.array([0, 1], values.type))), True))
        _refuse(values, refused, "give true or false")
        return values.cast(pa.bool_())


@dataclass(frozen=True)
class OneOf(Text):
    """Strings of a fixed set.

    Attributes:
        names: The strings that are accepted.
    """

    names: tuple[str, ...] = ()

    def conform(self, values: pa.Array) -> pa.Array:
        """Refuse nulls and strings that are not in the set."""
        strings = super().conform(values)
        _refuse(strings, pc.invert(pc.is_in(strings, pa.array(self.names))), f"give one of {', '.join(self.names)}")
        return strings


@dataclass(frozen=True)
class Nested(Kind):
    """Records within a record, which come as a list of records or as a record of lists; see :func:`each`.

    Attributes:
        fields: The names of the fields, for messages; what they hold is checked by whoever reads them.
    """

    fields: tuple[str, ...]

    @property
    def type(self) -> pa.DataType:
        """Return arrow's null, for tables without rows; nested records keep the type that they come with."""
        return pa.null()

    @property
    def needed(self) -> str:
        """Return the fields in ``list<>``."""
        return f"list<struct<{', '.join(self.fields)}>>"

    def accepts(self, found: pa.DataType) -> bool:
        """Accept lists of structs and structs of lists that have every field."""
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        record = found.value_type if is_list else found
        return bool(pa.types.is_struct(record)) and all(
            len(record.get_all_field_indices(name)) == 1 for name in self.fields
        )

    def conform(self, values: pa.Array) -> pa.Array:
        """Refuse nulls."""
        _refuse(values, values.is_null(), "give a list, which may be empty")
        return values


def each(nested: Any) -> Iterator[Mapping[str, Any]]:
    """Iterate over nested records in either layout.

    Args:
        nested: A list of mappings, or a mapping of lists of one length, of which some may be null.

    Raises:
        BadRecordError: It is neither.

    Example:
        >>> list(each({"start": [1, 5], "end": [2, 7]})) == list(each([{"start": 1, "end": 2}, {"start": 5, "end": 7}]))
        True
    """
    if isinstance(nested, Mapping):
        nested = {name: values for name, values in nested.items() if values is not None}
    lists = list(nested.values()) if isinstance(nested, Mapping) else [nested]
    if not all(isinstance(values, (list, tuple)) for values in lists) or len({len(values) for values in lists}) > 1:
        problem = ": nested records are no list, or lists of several lengths: restore them"
        raise BadRecordError("with faulty nested records", problem)
    if isinstance(nested, Mapping):
        for values in zip(*lists, strict=True):
            yield dict(zip(nested, values, strict=True))
    else:
        yield from nested


def _refuse(values: pa.Array, faulty: pa.Array, fix: str) -> None:
    """Raise for the first value of which ``faulty`` is true."""
    row = pc.index(faulty, True).as_py()
    if row >= 0:
        value = values[row].as_py()
        raise FaultyValueError(row, f"is {'null' if value is None else reprlib.repr(value)}: {fix}")
