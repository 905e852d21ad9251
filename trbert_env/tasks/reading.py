"""Texts for readers: the part that each token belongs to, the tokens of the answers, and texts of a reader's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trbert_env.encoder.texts import EncodedText

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TokenNotes:
    """What a reader is told of the tokens of a text.

    Attributes:
        parts: Name of the part of the text that each token belongs to, such as ``"question"``.
        gold: ``(n,)`` bool, True for the tokens of the gold answer.
        predicted: ``(n,)`` bool, True for the tokens of the predicted answer.
    """

    parts: tuple[str, ...]
    gold: Bools
    predicted: Bools


@dataclass(frozen=True)
class OwnField:
    """A field of a form in which a reader gives a text of their own.

    Attributes:
        name: Key of its value.
        label: Text above the field.
        hint: Form of the value, where it has one: "one a line".
        required: False where the field may stay empty.
        plain: False where the value has a form, as options that stand one a line.
        lines: Height of the field; 1 for a field of one line.
    """

    name: str
    label: str
    hint: str = ""
    required: bool = True
    lines: int = 6
    plain: bool = True


def second_segments(text: EncodedText) -> Bools:
    """Return which tokens stand behind the first separator of their sequence: ``(n,)`` bool.

    The separator is the token that the sequence ends with. Token type ids do not tell: some families have none.

    Args:
        text: The text.

    Example:
        >>> ids = np.array([1, 7, 2, 5, 6, 2, 1, 8, 2], dtype=np.int32)  # [CLS] 7 [SEP] 5 6 [SEP], [CLS] 8 [SEP]
        >>> text = EncodedText("", ids, 0 * ids, (6, 3), np.zeros(1, dtype=np.int64))
        >>> second_segments(text).astype(int).tolist()
        [0, 0, 0, 1, 1, 1, 0, 0, 0]
    """
    found = []
    for ids in sequences_of(text):
        separators = ids == ids[-1]
        found.append(separators.cumsum() - separators > 0)
    return np.concatenate(found)


def sequences_of(text: EncodedText) -> list[npt.NDArray[np.int32]]:
    """Return the token ids of each sequence of a text."""
    return np.split(text.input_ids, np.cumsum(text.sequence_lengths)[:-1])


def no_tokens(text: EncodedText) -> Bools:
    """Return ``(n,)`` bool, all False."""
    return np.zeros(len(text), dtype=np.bool_)


def touched(offsets: npt.NDArray[np.int32], start: int, end: int) -> Bools:
    """Return which tokens touch the characters from ``start`` to one before ``end``: ``(n,)`` bool.

    Args:
        offsets: ``(n, 2)``, where each token begins and ends, in characters.
        start: First character.
        end: One past the last character.

    Example:
        >>> touched(np.array([[0, 3], [4, 9], [9, 10]], dtype=np.int32), 4, 9).tolist()
        [False, True, False]
    """
    found: Bools = (offsets[:, 1] > start) & (offsets[:, 0] < end)
    return found


def lines_of(value: str) -> list[str]:
    r"""Return the lines of a field's value that hold something.

    Example:
        >>> lines_of(" a coat\n\na hat ")
        ['a coat', 'a hat']
    """
    return [line.strip() for line in value.splitlines() if line.strip()]


def checked_values(fields: Sequence[OwnField], values: Mapping[str, str | None]) -> dict[str, str]:
    """Return the values of all fields as they are; empty where a field was left out.

    Args:
        fields: The fields of a task.
        values: Values by name; None for one that is left out.

    Raises:
        ValueError: There are no fields, a value is no string or of no field, or a required field is blank.
    """
    if not fields:
        raise ValueError("this kind of task takes no text of one's own: it declares no own_fields")
    names = [field.name for field in fields]
    if unknown := [name for name in values if name not in names]:
        raise ValueError(f"there is no field {unknown[0]!r}: give {', '.join(names)}")
    if odd := [name for name, value in values.items() if not (value is None or isinstance(value, str))]:
        raise ValueError(f"the field {odd[0]!r} is no text: give a string")
    found = {name: values.get(name) or "" for name in names}
    if empty := [field.label for field in fields if field.required and not found[field.name].strip()]:
        raise ValueError(f"the field {empty[0]!r} is empty: fill it in")
    return found
