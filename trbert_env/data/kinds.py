"""Kinds of values that a column may hold: each knows which arrow types it accepts and turns them into one."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.list_records import as_lists, filled_lists, is_list_of_structs, type_as_lists

#: The largest offset of a character: arrow strings are at most 2 GiB long.
MAX_OFFSET = 2**31 - 1
_MAX_INT64 = 2**63 - 1


class FaultyValueError(ValueError):
    """A value that its kind refuses.

    Attributes:
        row: Index of the value in the array that was checked.
        path: Path of the value within a row of that array, such as ``.text[0]``.
        problem: Fault with it, and the fix.
    """

    def __init__(self, row: int, problem: str, path: str = "") -> None:
        """Keep the place and the problem."""
        super().__init__(problem)
        self.row = row
        self.path = path
        self.problem = problem


class Kind(ABC):
    """What a column, a field of a struct or an item of a list may hold."""

    @property
    @abstractmethod
    def type(self) -> pa.DataType:
        """The arrow type that accepted values are turned into."""

    @property
    @abstractmethod
    def needed(self) -> str:
        """The type as error messages name it."""

    @abstractmethod
    def accepts(self, found: pa.DataType) -> bool:
        """Return whether values of an arrow type can be of this kind.

        Args:
            found: The type of a column of a file, of the hub or of a user's data.
        """

    @abstractmethod
    def conform(self, values: pa.Array) -> pa.Array:
        """Check every value and return all of them in the type :attr:`type`.

        Args:
            values: An array of a type that the kind accepts.

        Raises:
            FaultyValueError: The first value that is refused.
        """


@dataclass(frozen=True)
class Text(Kind):
    """Strings.

    Attributes:
        nullable: True if a value may be missing.
        unique: True if no value may come twice in a table.
    """

    nullable: bool = False
    unique: bool = False

    @property
    def type(self) -> pa.DataType:
        """Return arrow's string."""
        return pa.string()

    @property
    def needed(self) -> str:
        """Return ``string``."""
        return "string"

    def accepts(self, found: pa.DataType) -> bool:
        """Accept strings of all layouts, dictionaries of strings, and nothing at all where that is allowed."""
        plain = found.value_type if pa.types.is_dictionary(found) else found
        layouts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        return any(is_layout(plain) for is_layout in layouts) or (self.nullable and pa.types.is_null(plain))

    def conform(self, values: pa.Array) -> pa.Array:
        """Refuse nulls and bytes that are not UTF-8."""
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if not self.nullable:
            _refuse_nulls(values, "fill it in or leave the row out")
        strings = values.cast(pa.string())
        try:
            strings.validate(full=True)
        except pa.ArrowInvalid:
            _refuse_bytes(strings)
        return strings


@dataclass(frozen=True)
class Integer(Kind):
    """Whole numbers of a range; numbers of a floating type are accepted where they are whole.

    Attributes:
        minimum: The smallest number accepted.
        maximum: The largest number accepted.
    """

    minimum: int = -_MAX_INT64
    maximum: int = _MAX_INT64

    @property
    def type(self) -> pa.DataType:
        """Return arrow's int64."""
        return pa.int64()

    @property
    def needed(self) -> str:
        """Return ``int``."""
        return "int"

    def accepts(self, found: pa.DataType) -> bool:
        """Accept every integer and floating type."""
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found))

    def conform(self, values: pa.Array) -> pa.Array:
        """Refuse nulls, fractions, NaN and what is out of range; nothing is rounded."""
        fix = f"give a whole number from {self.minimum} to {self.maximum}"
        _refuse_nulls(values, fix)
        if pa.types.is_floating(values.type):
            wide = values.cast(pa.float64())
            # A double of 2**53 or more may stand for a neighbour of the number that was meant.
            whole = pc.and_(pc.equal(pc.trunc(wide), wide), pc.less(pc.abs(wide), 2.0**53))
            _refuse(values, pc.invert(whole), fix)
        elif pa.types.is_uint64(values.type):
            _refuse(values, pc.greater(values, pa.scalar(_MAX_INT64, pa.uint64())), fix)
        numbers = values.cast(pa.int64())
        _refuse(values, pc.or_(pc.less(numbers, self.minimum), pc.greater(numbers, self.maximum)), fix)
        return numbers


@dataclass(frozen=True)
class Real(Kind):
    """Finite numbers."""

    @property
    def type(self) -> pa.DataType:
        """Return arrow's float64."""
        return pa.float64()

    @property
    def needed(self) -> str:
        """Return ``float``."""
        return "float"

    def accepts(self, found: pa.DataType) -> bool:
        """Accept every integer and floating type, and truth values."""
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_boolean(found))

    def conform(self, values: pa.Array) -> pa.Array:
        """Refuse nulls, NaN and infinities."""
        fix = "give a finite number"
        _refuse_nulls(values, fix)
        plain = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
        numbers = plain.cast(pa.float64(), safe=False)
        _refuse(values, pc.invert(pc.is_finite(numbers)), fix)
        return numbers


@dataclass(frozen=True)
class ListOf(Kind):
    """Lists of any length.

    Attributes:
        item: The kind of every item.
        optional: True if null stands for an empty list.
    """

    item: Kind
    optional: bool = False

    @property
    def type(self) -> pa.DataType:
        """Return the list of the items' type."""
        return pa.list_(self.item.type)

    @property
    def needed(self) -> str:
        """Return the items' type in ``list<>``."""
        return f"list<{self.item.needed}>"

    def accepts(self, found: pa.DataType) -> bool:
        """Accept lists whose items are accepted; lists that are all empty may have items of no type."""
        if self.optional and pa.types.is_null(found):
            return True
        # Not list views: arrow 26 casts slices of them wrongly.
        layouts = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
        if not any(is_layout(found) for is_layout in layouts):
            return False
        return pa.types.is_null(found.value_type) or self.item.accepts(found.value_type)

    def conform(self, values: pa.Array) -> pa.Array:
        """Refuse null lists, where they do not stand for empty ones, and what the items' kind refuses."""
        if pa.types.is_null(values.type) and self.optional:
            values = pa.nulls(len(values), self.type)
        if not self.optional:
            _refuse_nulls(values, "give a list, which may be empty")
        values = filled_lists(values.cast(pa.list_(values.type.value_type)))
        offsets = pa.array([0], pa.int32()) if not len(values) else pc.subtract(values.offsets, values.offsets[0])
        items = values.flatten()
        if pa.types.is_null(items.type):  # then arrow knows nothing of what they would be
            items = pa.nulls(len(items), self.item.type)
        try:
            items = self.item.conform(items)
        except FaultyValueError as fault:
            row = pc.list_parent_indices(values)[fault.row].as_py()
            position = fault.row - offsets[row].as_py()
            raise FaultyValueError(row, fault.problem, f"[{position}]{fault.path}") from None
        return pa.ListArray.from_arrays(offsets, items)


@dataclass(frozen=True)
class Struct(Kind):
    """Named fields; fields that are not declared are left out.

    Attributes:
        fields: The kind of each field.
        aligned: True if the fields are lists whose items belong together, so that all are of one length.
        optional: True if null stands for a struct whose fields are null.
    """

    fields: Mapping[str, Kind]
    aligned: bool = False
    optional: bool = False

    @property
    def type(self) -> pa.DataType:
        """Return the struct of the fields' types."""
        return pa.struct([(name, kind.type) for name, kind in self.fields.items()])

    @property
    def needed(self) -> str:
        """Return the fields with their types in ``struct<>``."""
        return f"struct<{', '.join(f'{name}: {kind.needed}' for name, kind in self.fields.items())}>"

    def accepts(self, found: pa.DataType) -> bool:
        """Accept structs that have every field once, each of an accepted type, and aligned ones as lists of structs."""
        if self.optional and pa.types.is_null(found):
            return True
        if self.aligned and is_list_of_structs(found):
            found = type_as_lists(found)
        return bool(pa.types.is_struct(found)) and all(
            len(found.get_all_field_indices(name)) == 1 and kind.accepts(found.field(name).type)
            for name, kind in self.fields.items()
        )

    def conform(self, values: pa.Array) -> pa.Array:
        """Refuse null structs, where they do not stand for empty ones, faulty fields and lists of different lengths."""
        if pa.types.is_null(values.type) and self.optional:
            values = pa.nulls(len(values), self.type)
        if not self.optional:
            _refuse_nulls(values, f"give its {' and '.join(self.fields)}")
        if is_list_of_structs(values.type):
            values = as_lists(values)
        found = dict(zip((field.name for field in values.type), values.flatten(), strict=True))  # null where it is null
        fields = {}
        for name, kind in self.fields.items():
            try:
                fields[name] = kind.conform(found[name])
            except FaultyValueError as fault:
                raise FaultyValueError(fault.row, fault.problem, f".{name}{fault.path}") from None
        if self.aligned:
            _refuse_unequal(fields)
        return pa.StructArray.from_arrays(list(fields.values()), fields=list(self.type))


def _refuse(values: pa.Array, faulty: pa.Array, fix: str) -> None:
    """Raise for the first value of which ``faulty`` is true."""
    row = pc.index(faulty, True).as_py()
    if row >= 0:
        raise FaultyValueError(row, f"is {reprlib.repr(values[row].as_py())}: {fix}")


def _refuse_nulls(values: pa.Array, fix: str) -> None:
    if values.null_count:
        raise FaultyValueError(pc.index(values.is_null(), True).as_py(), f"is null: {fix}")


def _refuse_bytes(strings: pa.Array) -> None:
    """Raise for the first of some strings that is not UTF-8."""
    for row, value in enumerate(strings.cast(pa.binary()).to_pylist()):
        try:
            (value or b"").decode()
        except UnicodeDecodeError:
            raise FaultyValueError(row, f"is {reprlib.repr(value)}, which is not UTF-8: write it as UTF-8") from None


def _refuse_unequal(lists: Mapping[str, pa.Array]) -> None:
    (first, first_values), *others = lists.items()
    lengths = pc.list_value_length(first_values)
    for name, values in others:
        found = pc.list_value_length(values)
        row = pc.index(pc.not_equal(lengths, found), True).as_py()
        if row >= 0:
            raise FaultyValueError(row, f"has {lengths[row]} {first} but {found[row]} {name}: give as many of each")
