"""What a reader of own files is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.rows import Rows


@dataclass(frozen=True)
class OwnSplit:
    """A split of own data as it was read.

    Attributes:
        rows: The records.
        form: Their form.
        source: Whether they come from files or from the hub.
        origin: Where they come from, and how columns were understood: one line.
        labels: The names of all classes in their order, where labels are names.
    """

    rows: Rows
    form: Schema
    source: Literal["local", "hub"]
    origin: str
    labels: tuple[str, ...] = ()


class OwnReader(ABC):
    """Reads splits of a user's own data."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name of the data, for messages and descriptions."""

    @abstractmethod
    def read(self, split: str, faults: Faults) -> OwnSplit:
        """Read a split.

        Args:
            split: ``"train"`` or ``"validation"``, or another one that the data have.
            faults: What becomes of malformed records.

        Raises:
            FileNotFoundError: A file or data set is not there.
            ValueError: The data cannot be read, columns cannot be told, or a record is malformed.
        """
