"""Ledger of a run: the time that each part of it has really taken, and the plan that it goes by, over interruptions."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runners.faster.plan import Plan
from runners.runs.files import read_record, write_json

#: Name of the file in the run's folder.
LEDGER_FILE = "progress.json"
#: Name of what comes before the stages: loading, and measuring the pace.
BEGINNING = "beginning"


class Ledger:
    """Time that was spent, by parts of the run, and the plan; each change is on the disk at once.

    Args:
        folder: Folder of the run.
        plan: Plan that the run began with.
        started: Reading of ``time.monotonic`` when the command began.

    Attributes:
        plan: Plan that the run goes by now.
        seconds: Seconds that each part has taken, over all sessions.
        planned_again: True once another plan has taken the place of the first.

    Raises:
        ValueError: The file of an earlier session is damaged.
    """

    def __init__(self, folder: Path, plan: Plan, started: float) -> None:
        self._path = folder / LEDGER_FILE
        record: dict[str, Any] = {"seconds": {}, "unknown": [], "working_on": None, "plan": None}
        if self._path.exists():
            record = read_record(self._path, tuple(record))
        self.seconds: dict[str, float] = record["seconds"]
        self.planned_again = record["plan"] is not None
        self.plan = Plan(**record["plan"]) if self.planned_again else plan
        # A session that was killed could not say how long it worked.
        self._unknown: set[str] = {*record["unknown"], *filter(None, [record["working_on"]])}
        self._earlier, self._started = sum(self.spent(stage) for stage in {*self.seconds, *self._unknown}), started
        self._add(BEGINNING, time.monotonic() - started)
        self._write()

    @contextmanager
    def spending(self, stage: str) -> Iterator[None]:
        """Count the time of a block for a stage, however it ends.

        Args:
            stage: Name of the stage in the plan.
        """
        started = time.monotonic()
        self._write(stage)
        try:
            yield
        finally:
            self._add(stage, time.monotonic() - started)
            self._write()

    def plan_again(self, plan: Plan) -> None:
        """Go by another plan from now on."""
        self.plan, self.planned_again = plan, True
        self._write()

    def spent(self, stage: str) -> float:
        """Return the seconds that a stage has taken; those that were planned where a killed session took more.

        Args:
            stage: Name of the stage in the plan.
        """
        known = self.seconds.get(stage, 0.0)
        return max(known, self.plan.seconds.get(stage, 0.0)) if stage in self._unknown else known

    @property
    def total(self) -> float:
        """Seconds that the run has taken so far."""
        return self._earlier + time.monotonic() - self._started

    def slower(self, ended: Collection[str]) -> float:
        """Return how many times as long as planned the stages took that have ended; 1 where nothing is known of it.

        Args:
            ended: Names of the stages that have ended.
        """
        known = [stage for stage in ended if stage in self.seconds and stage not in self._unknown]
        planned = sum(self.plan.seconds.get(stage, 0.0) for stage in known)
        return sum(self.seconds[stage] for stage in known) / planned if planned > 0 else 1.0

    def _add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def _write(self, working_on: str | None = None) -> None:
        record = {
            "seconds": self.seconds,
            "unknown": sorted(self._unknown),
            "working_on": working_on,
            "plan": asdict(self.plan) if self.planned_again else None,
        }
        write_json(self._path, record)
