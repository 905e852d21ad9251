"""Data of earlier runs that lie elsewhere now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runners.cli.flags import flag, option_values
from runners.cli.options import DataOptions
from runners.cli.run import UserError
from runners.runs.earlier import OWN, data_of_run


@dataclass(frozen=True)
class MovedDataOptions:
    """Where the data of the runs lie, if they have moved since."""

    data_dir: Path | None = None
    """Folder of data sets."""

    train_file: Path | None = None
    """Training data of runs on own data."""

    validation_file: Path | None = None
    """Validation or test data of runs on own data."""

    dataset: str | None = None
    """Folder or hub name of own data."""

    @property
    def given(self) -> dict[str, Any]:
        """The places that are named."""
        return {name: value for name, value in option_values(self).items() if value is not None}

    def check(self, runs: Sequence[Path]) -> None:
        """Refuse places of data that no run has.

        Args:
            runs: Folders of the runs whose data are read.

        Raises:
            UserError: There is such a place.
        """
        known = [_places(data_of_run(run, DataOptions())) for run in runs]
        for name in self.given:
            if not any(name in places for places in known):
                raise UserError(f"no run has texts that {flag(name)} could name: leave it out")


def data_of(run: Path, moved: MovedDataOptions) -> DataOptions:
    """Return the source of a run's texts.

    Args:
        run: Folder of the run.
        moved: Where the data lie.
    """
    data = data_of_run(run, DataOptions())
    places = _places(data)
    given = {name: value for name, value in moved.given.items() if name in places}
    return replace(data, **given) if "data_dir" in places else replace(data, own=replace(data.own, **given))


def _places(data: DataOptions) -> tuple[str, ...]:
    """Names of the places that texts are read from."""
    own = option_values(data.own)
    named = tuple(name for name in OWN if own[name] is not None)
    return named or ("data_dir",)
