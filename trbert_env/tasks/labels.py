"""Names of classes: from the data, from a fine-tuned encoder, and how the two go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import transformers
from transformers import PreTrainedConfig

#: Labels that a message lists before it stops.
_SHOWN = 8


class HeadMismatchError(ValueError):
    """A task head that does not fit the data, and that a new one can take the place of.

    Attributes:
        reason: Difference between the two, such as ``"the data have 5 labels, the head 3"``.
    """

    def __init__(self, reason: str, fix: str) -> None:
        """Keep the reason, and say how to fix it too."""
        super().__init__(f"{reason}: {fix}")
        self.reason = reason


def labels_of(config: PreTrainedConfig) -> tuple[str, ...]:
    """Return the names that an encoder's configuration gives its outputs."""
    names: Mapping[Any, Any] = config.id2label or {}
    return tuple(str(names[index]) for index in sorted(names))


def unnamed_labels(count: int) -> tuple[str, ...]:
    """Return what transformers calls outputs that nobody named."""
    return tuple(f"LABEL_{index}" for index in range(count))


def write_labels(config: PreTrainedConfig, labels: Sequence[str]) -> None:
    """Name an encoder's outputs in its configuration."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: index for index, name in enumerate(labels)}


def tells_head(config: PreTrainedConfig) -> bool:
    """Return whether a configuration names a class of transformers, whose name tells the checkpoint's head."""
    return any(hasattr(transformers, str(name)) for name in config.architectures or [])


def has_head(config: PreTrainedConfig, auto_model: Any) -> bool:
    """Return whether a configuration says that the checkpoint has the head of an auto class."""
    ending = auto_model.__name__.removeprefix("AutoModel")
    return any(str(name).endswith(ending) for name in config.architectures or [])


def match_labels(found: Sequence[str], outputs: Sequence[str], *, numbered: bool = False) -> dict[str, int]:
    """Map the names in the data to an encoder's outputs: by name, by number, or in their order.

    Names match whatever their case. Names that count from 0, with a 0 among them, match outputs by number: those from
    1 to 4 of five outputs could be stars of which one is missing as well. Outputs without names of their own
    (``LABEL_0`` and so on) match as many names in the order that is given.

    Args:
        found: Distinct names in the data, in the order of their classes.
        outputs: Names of the encoder's outputs.
        numbered: True if names that are numbers are known to count from 0; see :func:`are_numbers_of`.

    Raises:
        HeadMismatchError: They do not go together; the message lists both.

    Example:
        >>> match_labels(["neg", "pos"], ["LABEL_0", "LABEL_1"])
        {'neg': 0, 'pos': 1}
    """
    by_name = _by_name(found, outputs)
    if by_name is not None:
        return by_name
    by_number = all(is_number_of(name, outputs) for name in found)
    if by_number and (numbered or are_numbers_of(found, outputs)):
        return {name: int(name) for name in found}
    if tuple(outputs) == unnamed_labels(len(outputs)) and len(found) == len(outputs):
        return {name: index for index, name in enumerate(found)}
    raise HeadMismatchError(
        f"the data have the labels {listed(found)}, and the encoder's outputs are {listed(outputs)}"
        + (", and whether numbers count them from 0 or from 1 cannot be told without a 0" if by_number else ""),
        "rename the labels in the data, or fine-tune an encoder on them",
    )


def _by_name(found: Sequence[str], outputs: Sequence[str]) -> dict[str, int] | None:
    """Return the output of each name; None where one is no output's."""
    known = {name.casefold(): index for index, name in enumerate(outputs)}
    known |= {name: index for index, name in enumerate(outputs)}  # where two differ in case alone
    places = {name: known.get(name, known.get(name.casefold())) for name in found}
    matched = {name: place for name, place in places.items() if place is not None}
    return matched if len(matched) == len(places) else None


def are_numbers_of(found: Sequence[str], outputs: Sequence[str]) -> bool:
    """Return whether names in the data are numbers of outputs that have other names, with a 0 among them.

    A later split of the same data may lack the class 0, and counts from 0 all the same.

    Args:
        found: Distinct names in the data.
        outputs: Names of the encoder's outputs.

    Example:
        >>> are_numbers_of(["0", "2"], ["neg", "neutral", "pos"]), are_numbers_of(["1", "2"], ["neg", "neutral", "pos"])
        (True, False)
    """
    counts = all(is_number_of(name, outputs) for name in found) and any(int(name) == 0 for name in found)
    return counts and _by_name(found, outputs) is None


def is_number_of(name: str, outputs: Sequence[str]) -> bool:
    """Return whether a name in the data is the number of an output, counted from 0."""
    return name.isdecimal() and int(name) < len(outputs)


def listed(names: Sequence[str]) -> str:
    """Return names for a message, the first few where there are many."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
