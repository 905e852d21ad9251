"""A run's folder: ``runs/<env>/<stage>-<agent>/<time>-<seed>/`` and what lies in it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from runners.cli.flags import (
    changed_options,
    flag,
    option_values,
    options_from_json,
    options_to_json,
    refuse_beside_resume,
)
from runners.cli.items import spelled_columns, spelled_out
from runners.cli.options import OptionsT, RunnerOptions
from runners.evaluation.record import OF_TRAINING
from runners.runs.checkpoint import FORMAT
from runners.runs.files import read_json, read_record, write_json
from runners.runs.versions import git_commit, versions

#: Facts that the runs of earlier versions do not have.
LATER_FACTS = ("budget_scope",)
#: Options that are the name of a folder, or of something on the hub.
NAMED_OR_PLACED = ("backbone", "model", "teacher", "dataset")
#: Options that are items ``name=value``, or a file of them, with what spells a file out.
ITEMS = dict.fromkeys(("task_options", "system_options", "agent_options"), spelled_out) | {"columns": spelled_columns}
#: Options that name a place, and nothing of what a run does with it.
PLACES = ("data_dir", "output_dir", "model", "backbone", "teacher", "policy", "full_from", "resume")


@dataclass(frozen=True)
class RunFolder:
    """One run on the disk.

    Attributes:
        path: The folder itself.
    """

    path: Path

    @classmethod
    def create(cls, output_dir: Path, env: str, stage: str, agent: str, seed: int) -> RunFolder:
        """Make a new run's folder.

        Args:
            output_dir: The folder of all runs.
            env: The name in ``TRBERT/<name>-v0``.
            stage: The job, such as ``policy``.
            agent: Name of the agent, such as ``reinforce``, or ``module:Class``.
            seed: The run's seed.
        """
        parent = output_dir / _file_name(env) / _file_name(f"{stage}-{agent}")
        parent.mkdir(parents=True, exist_ok=True)
        time = datetime.now()
        while True:
            path = parent / f"{time:%Y%m%d-%H%M%S}-{seed}"
            try:
                path.mkdir()
            except FileExistsError:  # another run began in this second: take the next one
                time += timedelta(seconds=1)
            else:
                return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a folder that :meth:`create` and :meth:`write_config` made.

        Raises:
            FileNotFoundError: There is no such folder, or it is not a run's folder.
            NotADirectoryError: It is a file.
        """
        fix = "give a folder like runs/<env>/<stage>-<agent>/<time>-<seed>"
        if not path.exists():
            raise FileNotFoundError(f"there is no run folder {path}; {fix}")
        if not path.is_dir():
            raise NotADirectoryError(f"{path} is a file, not a run folder; {fix}")
        run = cls(path)
        if not run.config_path.exists():
            raise FileNotFoundError(f"{path} is not a run folder: it has no config.json; {fix}")
        return run

    @property
    def config_path(self) -> Path:
        """Every option and version."""
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        """The final metrics, one flat record."""
        return self.path / "metrics.json"

    @property
    def model_dir(self) -> Path:
        """The trained model."""
        return self.path / "model"

    @property
    def checkpoint_dir(self) -> Path:
        """All that a resume needs."""
        return self.path / "checkpoint"

    @property
    def events_dir(self) -> Path:
        """TensorBoard's events: the run's folder itself, so that TensorBoard shows the run by its name."""
        return self.path

    def write_config(self, options: RunnerOptions, facts: Mapping[str, Any] | None = None) -> None:
        """Write every option, the versions of the libraries, and the project's commit.

        Args:
            options: The run's options.
            facts: Facts beyond the options, as JSON values: the data source and the backbone that were really used,
                for example.
        """
        record = {
            "run_id": uuid.uuid4().hex,
            "format": FORMAT,
            "options": (saved := lasting_options(options)),
            "options_digest": options_digest(saved),
            "facts": dict(facts or {}),
            "versions": versions(),
            "git_commit": git_commit(),
        }
        write_json(self.config_path, record)

    def read_config(self) -> dict[str, Any]:
        """Return the record of :meth:`write_config`: ``run_id``, ``options``, ``facts``, ``versions``, ``git_commit``.

        Raises:
            ValueError: It is not such a record.
        """
        record = read_json(self.config_path)
        if not isinstance(record, dict) or not isinstance(record.get("options"), dict):
            raise ValueError(f"{self.config_path} has no options; restore it or start a new run")
        return record

    @property
    def run_id(self) -> str:
        """The run's own name, which its checkpoints carry too."""
        return str(self.read_config().get("run_id", ""))

    @property
    def ended(self) -> bool:
        """Whether the run has come to its end: ``metrics.json`` is the last thing that is written.

        Raises:
            ValueError: ``metrics.json`` is damaged.
        """
        return self.metrics_path.exists() and bool(read_record(self.metrics_path, OF_TRAINING))

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Check that what was really used when the run began is what is found now.

        Where it lies does not count: fingerprints tell whether it is the same.

        Raises:
            ValueError: A fact differs; a resumed run would go on with something else.
        """
        recorded = self.read_config().get("facts")
        if not isinstance(recorded, dict):
            raise ValueError(f"{self.config_path} has no facts; restore it or start a new run")
        unknown = {*PLACES, *(name for name in LATER_FACTS if name not in recorded)}
        changed = [name for name, value in facts.items() if name not in unknown and recorded.get(name) != value]
        if changed:
            told = ", ".join(f"{name} {recorded.get(name)!r}, now it is {facts[name]!r}" for name in changed)
            raise ValueError(f"{self.path} began with {told}: restore what it began with, or start a new run")

    def move_to(self, options: RunnerOptions) -> None:
        """Take over places from options that are the run's own otherwise: a folder of runs may have moved."""
        record = self.read_config()
        now = lasting_options(options)
        places = {name: now[name] for name in PLACES if name in record["options"] and name in now}
        if record["options"] | places != record["options"]:
            record["options"] |= places
            write_json(self.config_path, record)

    def check_recorded(self, facts: Mapping[str, Any]) -> None:
        """Check those facts that were known when the run began; see :meth:`check_facts`."""
        recorded = self.read_config().get("facts") or {}
        self.check_facts({name: value for name, value in facts.items() if name in recorded})

    def read_options(self, options_type: type[OptionsT]) -> OptionsT:
        """Restore the options.

        Raises:
            ValueError: They are not those of ``options_type``.
        """
        record = self.read_config()
        values = record["options"]
        if record.get("format") != FORMAT:
            found = record.get("format", FORMAT - 1)
            raise ValueError(
                f"{self.config_path} has options of format {found}, this version reads {FORMAT}: "
                "finish the run with the version that began it, or start a new run"
            )
        if record.get("options_digest") != options_digest(values):
            raise ValueError(
                f"{self.config_path} has other options than the run began with: restore them, or start a new run"
            )
        try:
            return options_from_json(options_type, values)
        except ValueError as error:
            raise ValueError(f"{self.config_path}: {error}") from error

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the final metrics; JSON knows neither NaN nor infinity, so both become null.

        Raises:
            TypeError: A metric is not a number, string, boolean or None.
        """
        write_json(self.metrics_path, {name: _metric(name, value) for name, value in metrics.items()})


def lasting_options(options: object) -> dict[str, Any]:
    """Return options as JSON values that name the same inputs in any working folder: paths are absolute.

    Args:
        options: Options of a run, or a group of them.
    """
    kinds = option_values(options)
    return {name: _lasting(name, kinds[name], value) for name, value in options_to_json(options).items()}


def _lasting(name: str, kind: object, value: Any) -> Any:
    """An option's JSON value, of a value that may be a path, the name of a folder or hold the names of files."""
    last = name.rpartition(".")[2]
    if last == "output_dir":  # a resumed run writes where it lies
        return value
    if isinstance(kind, Path) or (isinstance(value, str) and last in NAMED_OR_PLACED and Path(value).is_dir()):
        return _absolute(value)
    if isinstance(kind, tuple) and any(isinstance(item, Path) for item in kind):
        return [_absolute(item) for item in value]
    if last in ITEMS and any("=" not in item for item in value):  # a file of them
        return list(ITEMS[last](flag(name), value))
    if last == "reader_options":
        return [_lasting_item(item) for item in value]
    return value


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _lasting_item(item: str) -> str:
    """``name=value``, where the value may name a file, or the name of a file of such items."""
    name, equals, value = item.rpartition("=")
    file = Path(value).expanduser()
    return f"{name}{equals}{file.absolute()}" if file.is_file() else item


def options_digest(values: Mapping[str, Any]) -> str:
    """Return the digest of options as JSON values, without those that only say where something lies.

    What lies there is told by fingerprints; a run whose data have moved can be pointed to them in ``config.json``.
    """
    settled = {name: value for name, value in values.items() if name not in PLACES}
    return hashlib.sha256(json.dumps(settled, sort_keys=True).encode()).hexdigest()[:16]


def reopen(options: OptionsT, path: Path) -> tuple[OptionsT, RunFolder]:
    """Open a run to go on with it, with the options that it was begun with.

    Args:
        options: The options of this call, in which nothing but ``resume`` may be set.
        path: The run's folder.

    Raises:
        ValueError: Other options were given too, or the run is another runner's.
        FileNotFoundError: It is not a run's folder.
    """
    run = RunFolder.open(path)
    refuse_beside_resume(changed_options(options))
    return run.read_options(type(options)), run


def _file_name(text: str) -> str:
    """The text with everything that is not safe in a file name, such as ``:`` and ``/``, made ``_``."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _metric(name: str, value: Any) -> float | int | str | bool | None:
    """Return one metric as a JSON value."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return None
    if plain is None or isinstance(plain, (bool, int, float, str)):
        return plain
    raise TypeError(f"metric {name!r} is a {type(value).__name__}; metrics are one flat record of numbers and strings")
