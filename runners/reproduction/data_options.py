"""Options of the texts of a reproduction, which takes several data sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from runners.cli.options import DataOptions
from trbert_env.ranges import Items, Range


@dataclass(frozen=True)
class ReproducedDataOptions:
    """The texts."""

    env: Annotated[tuple[str, ...], Items(1, distinct=True)] = ("SQuAD2",)
    """The data sets: names in TRBERT/<name>-v0."""

    data_source: Literal["auto", "local", "hub", "embedded"] = "auto"
    """Source of the texts: a local folder, the hub, the embedded corpus, or the first of them that is there."""

    data_dir: Path | None = None
    """A folder with one folder for each data set; the environment variable TRBERT_DATA when not given."""

    max_train_texts: Annotated[int, Range(1)] | None = None
    """Train on a random sample of this many texts of each data set; on all when not given."""

    max_eval_texts: Annotated[int, Range(1)] | None = None
    """Evaluate on a random sample of this many texts of each data set; on all when not given."""

    skip_bad_records: bool = False
    """Leave malformed records out and count them, instead of stopping at the first."""

    def of(self, env: str) -> DataOptions:
        """Return the options of one data set.

        Args:
            env: Name of the data set.
        """
        return DataOptions(
            env=env,
            data_source=self.data_source,
            data_dir=self.data_dir,
            max_train_texts=self.max_train_texts,
            max_eval_texts=self.max_eval_texts,
            skip_bad_records=self.skip_bad_records,
        )
