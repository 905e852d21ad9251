"""Names of classes: from the data, from a fine-tuned encoder, and how the two go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedConfig

#: Labels that a message lists before it stops.
_SHOWN = 8


def sorted_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Return distinct names in the order of their classes: numbers by value, other names by alphabet.

    Example:
        >>> sorted_labels(["10", "9", "9"]), sorted_labels(["pos", "neg"])
        (('9', '10'), ('neg', 'pos'))
    """
    distinct = set(names)
    if all(_number(name) is not None for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (_number(name) or 0.0, name)))
    return tuple(sorted(distinct))


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


def has_head(config: PreTrainedConfig, auto_model: Any) -> bool:
    """Return whether a configuration says that the checkpoint has the head of an auto class."""
    ending = auto_model.__name__.removeprefix("AutoModel")
    return any(str(name).endswith(ending) for name in config.architectures or [])


def match_labels(found: Sequence[str], outputs: Sequence[str]) -> dict[str, int]:
    """Map the names in the data to an encoder's outputs: by name, by number, or in their order.

    Names match whatever their case. Names that count from 0 match outputs by number. Outputs without names of their
    own (``LABEL_0`` and so on) match as many names in the order of :func:`sorted_labels`.

    Args:
        found: Names in the data.
        outputs: Names of the encoder's outputs.

    Raises:
        ValueError: They do not go together; the message lists both.

    Example:
        >>> match_labels(["neg", "pos"], ["LABEL_0", "LABEL_1"])
        {'neg': 0, 'pos': 1}
    """
    by_name = {name.casefold(): index for index, name in enumerate(outputs)}
    names = sorted_labels(found)
    if all(name.casefold() in by_name for name in names):
        return {name: by_name[name.casefold()] for name in names}
    if all(name.isdecimal() and int(name) < len(outputs) for name in names):
        return {name: int(name) for name in names}
    if tuple(outputs) == unnamed_labels(len(outputs)) and len(names) == len(outputs):
        return {name: index for index, name in enumerate(names)}
    raise ValueError(
        f"the data have the labels {_listed(names)}, and the encoder's outputs are {_listed(outputs)}: rename the "
        "labels in the data, or fine-tune an encoder on them"
    )


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
