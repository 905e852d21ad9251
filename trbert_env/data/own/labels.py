"""Labels of a user's own texts: names of classes, or numbers."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trbert_env.data.faults import Faults
from trbert_env.data.label_order import sorted_labels
from trbert_env.data.own.guesses import named_role
from trbert_env.data.own.tables import Table
from trbert_env.data.rows import Rows
from trbert_env.parameters import ParameterError

LabelKind = Literal["auto", "class", "score"]
LABEL_KINDS = ("auto", "class", "score")

#: More classes than that are taken for numbers or free text by mistake, unless the user says that they are meant.
_MOST_CLASSES = 1000
#: Classes that a message names, where there are more.
_SHOWN = 4
#: Characters of a name that a message shows.
_MOST_SHOWN = 40
_WHOLE = r"^-?\d{1,18}$"
_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Labels:
    """What a column of labels holds.

    Attributes:
        kind: ``"names"`` of classes, ``"indices"`` of classes, or ``"scores"``.
        names: The names of all classes in their order; empty for scores.
        declared: Names that the data declare for indices.
    """

    kind: Literal["names", "indices", "scores"]
    names: tuple[str, ...]
    declared: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what they are, for descriptions."""
        if self.kind == "scores":
            return "labels are numbers"
        return f"{len(self.names)} classes: {_abridged(self.names)}"

    def names_of(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the name of each label's class; null where it is the index of none.

        Args:
            values: Labels of classes.
        """
        return named(values, self.declared) if self.kind == "indices" else _plain(values)

    def conform(self, rows: Rows, column: str, faults: Faults) -> tuple[Rows, pa.ChunkedArray]:
        """Return the rows whose labels are right, and their names of classes or numbers.

        Args:
            rows: The rows.
            column: The column of labels.
            faults: Handling of the other rows.

        Raises:
            ValueError: A label is missing, no number or no known class.
        """
        rows = _kept(
            rows, column, ~_missing(rows.table.column(column)), "without a label", "is missing: fill it in", faults
        )
        if self.kind == "scores":
            right, fix = _are_numbers(rows.table.column(column)), "give a finite number"
            rows = _kept(rows, column, right, "with a label that is no number", fix, faults)
            values = rows.table.column(column)
            return rows, (_plain(values) if _type_kind(values.type) == "names" else values).cast(pa.float64())
        values = rows.table.column(column)
        names = self.names_of(values)
        known = pc.is_in(names, pa.array(self.names, pa.string())).to_numpy(zero_copy_only=False)
        shown = f"give one of the classes of the training data: {self}"
        kept = _kept(rows, column, known, "with a label that is no class of the training data", shown, faults)
        return kept, names.filter(pa.array(known))


def understood(rows: Rows, column: str, table: Table, kind: LabelKind) -> Labels:
    """Tell what a column of labels holds; missing labels do not count.

    Strings are names of classes, integers count classes, and other numbers are scores. In CSV and JSON
    files, strings that are all numbers count as numbers.

    Args:
        rows: All rows that the classes are taken from.
        column: The column.
        table: Origin of the table.
        kind: ``"class"`` or ``"score"`` where the user says so, or ``"auto"``.

    Raises:
        ValueError: The column has no values, or values that cannot be labels.
    """
    values = rows.table.column(column)
    if _type_kind(values.type) is None:
        shown = " ".join(str(values.type).split())
        raise ValueError(f"{table.name}: column {column!r} has type {shown}: labels are strings or numbers")
    values = values.filter(pa.array(~_missing(values)))
    if not len(values):
        raise ValueError(f"{table.name}: column {column!r} has no labels at all: fill it in, or name another column")
    found = _kind_of(values, table.typed)
    if kind == "score" or (kind == "auto" and found == "scores"):
        return Labels("scores", ())
    declared = table.class_names(column) if found == "indices" else ()
    whole = found == "indices" or (found == "scores" and bool(_whole(values).all()))
    if not whole:
        names = sorted_labels(pc.unique(_plain(values)).to_pylist())
    elif declared:
        names = declared
    else:
        if len(longer := values.filter(pa.array(~_whole(values)))):
            raise ValueError(
                f"{table.name}: column {column!r} has the label {longer[0].as_py()}, and numbers of classes have at "
                "most 18 digits: name another column with --columns label=NAME"
            )
        names = tuple(sorted(pc.unique(named(values, ())).to_pylist(), key=int))
    if kind == "auto" and len(names) > _MOST_CLASSES:
        raise ParameterError(
            lambda name: (
                f"{table.name}: column {column!r} has {len(names):,} different labels, as {_cut(names[0])!r} and "
                f"{_cut(names[-1])!r}: name another column with --columns label=NAME, or give {name('label_kind')} "
                "score if they are numbers, or class if each is a class"
            )
        )
    return Labels("indices" if whole else "names", names, declared)


def are_relevances(values: pa.ChunkedArray) -> bool:
    """Tell whether labels are numbers that are 0 or 1; missing ones do not count.

    Args:
        values: A column of labels.

    Example:
        >>> are_relevances(pa.chunked_array([[0, 1, None]])), are_relevances(pa.chunked_array([["0", "2"]]))
        (True, False)
    """
    if _type_kind(values.type) is None:
        return False
    return bool(_matching(values.filter(pa.array(~_missing(values))), r"^[01](\.0*)?$").all())


def warn_of_single_examples(rows: Rows, column: str, table: Table, labels: Labels) -> None:
    """Warn of classes that one row alone has, where most classes have more: they may be slips.

    Args:
        rows: All rows that the classes were taken from.
        column: The column of labels.
        table: Origin of the rows.
        labels: Kind and names of the labels, by :func:`understood`.
    """
    if labels.kind == "scores":
        return
    names = labels.names_of(rows.table.column(column)).to_pylist()
    counts = Counter(names)
    single = [name for name in labels.names if counts[name] == 1]
    if not single or 2 * len(single) > len(labels.names):
        return
    shown = ", ".join(f"{name!r} ({rows.where(names.index(name))[1]})" for name in single[:_SHOWN])
    more = "" if len(single) <= _SHOWN else f" and {len(single) - _SHOWN} more"
    have = "has" if len(single) == 1 else "have"
    warnings.warn(
        f"{table.name}: {len(single)} of {len(labels.names)} classes {have} a single example: {shown}{more}; correct "
        "what is a mistake",
        stacklevel=2,
    )


def warn_of_whole_scores(rows: Rows, column: str, table: Table, labels: Labels) -> None:
    """Warn of numbers with a point that are all whole, as an integer column with a gap becomes in pandas.

    Args:
        rows: All rows of the training data.
        column: The column of labels.
        table: Origin of the rows.
        labels: Kind of the labels, by :func:`understood`, which the user did not give.
    """
    values = rows.table.column(column)
    values = values.filter(pa.array(~_missing(values)))
    if labels.kind != "scores" or not len(values) or not _whole(values).all():
        return
    shown = ", ".join(map(repr, sorted_labels(pc.unique(_plain(values)).to_pylist())[:_SHOWN]))
    warnings.warn(
        f"{table.name}: labels such as {shown} (column {column!r}) are taken as numbers to predict: --label-kind class "
        "takes each as a class, --label-kind score says that numbers are meant",
        stacklevel=2,
    )


def warn_of_one_value(rows: Rows, column: str, table: Table) -> None:
    """Warn of labels that are all the same, as where only relevant passages are given.

    Args:
        rows: All rows of the training data.
        column: The column of labels.
        table: Origin of the rows.
    """
    values = rows.table.column(column)
    found = pc.unique(_plain(values.filter(pa.array(~_missing(values)))))
    if len(values) > 1 and len(found) == 1:
        warnings.warn(
            f"{table.name}: all labels are {found[0].as_py()!r} (column {column!r}), from which nothing can be learned "
            "or measured: give examples of other labels too",
            stacklevel=2,
        )


def _abridged(names: Sequence[str]) -> str:
    """The first names and the last: what is no label of its kind sorts to either end."""
    first = names if len(names) <= _SHOWN + 1 else names[:_SHOWN]
    return ", ".join([*map(repr, first), *(["...", repr(names[-1])] if len(first) < len(names) else [])])


def _cut(name: str) -> str:
    """As much of a name as a message has room for."""
    return name if len(name) <= _MOST_SHOWN else f"{name[: _MOST_SHOWN - 3]}..."


def named(values: pa.ChunkedArray, declared: Sequence[str]) -> pa.ChunkedArray:
    """Return the names of classes that are counted.

    Args:
        values: Indices, or strings that are numbers; what is none or out of range becomes null.
        declared: The names of the classes; without, the indices are the names.
    """
    whole = pa.array(_whole(values))
    plain = pc.if_else(whole, _plain(values), pa.scalar(None, pa.string()))
    numbers = pc.replace_substring_regex(plain, r"\.0*$", "").cast(pa.int64())
    if not declared:
        return numbers.cast(pa.string())
    in_range = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, len(declared)))
    return pc.take(pa.array(declared, pa.string()), pc.if_else(in_range, numbers, pa.scalar(None, pa.int64())))


def _kind_of(values: pa.ChunkedArray, typed: bool) -> Literal["names", "indices", "scores"] | None:
    kind = _type_kind(values.type)
    if typed or kind != "names":
        return kind
    if _matching(values, _WHOLE).all():
        return "indices"
    return "scores" if _matching(values, _NUMBER).all() else "names"


def _type_kind(found: pa.DataType) -> Literal["names", "indices", "scores"] | None:
    plain = found.value_type if pa.types.is_dictionary(found) else found
    if pa.types.is_integer(plain):
        return "indices"
    if pa.types.is_floating(plain):
        return "scores"
    names = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    return "names" if any(is_type(plain) for is_type in names) else None


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as strings; truth values are ``true`` and ``false``."""
    strings = values.cast(pa.string())
    return pc.utf8_trim_whitespace(strings)


def _missing(values: pa.ChunkedArray) -> Mask:
    """Which values are null or blank; NaN, as in pandas, is null."""
    missing = values.is_null(nan_is_null=True)
    plain = _plain(values)
    return np.asarray(pc.or_(missing, pc.fill_null(pc.equal(plain, ""), True)).to_numpy(zero_copy_only=False), np.bool_)


def _matching(values: pa.ChunkedArray, pattern: str) -> Mask:
    matching = pc.fill_null(pc.match_substring_regex(_plain(values), pattern), False)
    return np.asarray(matching.to_numpy(zero_copy_only=False), np.bool_)


def _whole(values: pa.ChunkedArray) -> Mask:
    return _matching(values, r"^-?\d{1,18}(\.0*)?$")


def _are_numbers(values: pa.ChunkedArray) -> Mask:
    if pa.types.is_boolean(values.type):
        return np.zeros(len(values), np.bool_)
    return _matching(values, _NUMBER)


def _kept(rows: Rows, column: str, right: Mask, kind: str, fix: str, faults: Faults) -> Rows:
    """The rows of which the mask is true; the others are reported."""
    for row in np.flatnonzero(~right):
        value = rows.table.column(column)[int(row)].as_py()
        label = named_role("label", column)
        what = f"{label} {fix}" if kind == "without a label" else f"{label} is {value!r}: {fix}"
        origin, at = rows.where(int(row))
        faults.report(origin, at, kind, f": {what}")
    return rows.keep(right)
