"""Load splits from the hub, where old repositories have scripts that are no longer run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from datasets import load_dataset

#: The branch that holds the hub's own conversion of a data set to parquet.
CONVERSION = "refs/convert/parquet"
_NO_SCRIPTS = "Dataset scripts are no longer supported"


@dataclass(frozen=True)
class Hub:
    """A data set on the hub.

    Attributes:
        name: Its name, such as ``"stanfordnlp/imdb"``.
        config: The name of its configuration, or None for the default one.
        options: Further arguments of ``load_dataset``, such as filters of rows.
    """

    name: str
    config: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name, with the configuration if there is one."""
        return self.name if self.config is None else f"{self.name} ({self.config})"


def load_from_hub(hub: Hub, split: str | None, instead: str) -> Any:
    """Load a split, if need be from the hub's own conversion to parquet.

    Args:
        hub: The data set.
        split: The name of the split on the hub; None loads all.
        instead: The user's alternative to the hub, for the message.

    Returns:
        A ``Dataset``, or a ``DatasetDict`` of all splits.

    Raises:
        FileNotFoundError: It cannot be loaded.
    """
    try:
        try:
            return _load(hub, split)
        except RuntimeError as error:
            if _NO_SCRIPTS not in str(error):
                raise
            return _load(hub, split, revision=CONVERSION)
    except Exception as error:  # the library raises many kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        what = str(hub) if split is None else f"split {split!r} of {hub}"
        raise FileNotFoundError(
            f"cannot load {what} from the hub ({reason}): check the network and the split, or {instead}"
        ) from error


def _load(hub: Hub, split: str | None, **options: str) -> Any:
    names = [hub.name] if hub.config is None else [hub.name, hub.config]
    return load_dataset(*names, split=split, **hub.options, **options)


def hub_is_offline() -> bool:
    """Return whether ``HF_HUB_OFFLINE`` is set, so that asking the hub is useless."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
