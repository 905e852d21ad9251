"""What folders hold for a report: runs with metrics and curves, and tables of runs that sweeps and the like leave."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from runners.evaluation.record import REQUIRED, Conditions, EvaluationRecord, Quality
from runners.faster.plan import STAGES
from runners.faster.speeds import Speeds
from runners.faster.stages import STAGES_FOLDER, ended_stages
from runners.reproduction.published import CONTROL
from runners.runs.earlier import saved_options
from runners.runs.files import read_csv, read_record
from runners.runs.models import is_token_reduced, unfinished
from runners.runs.run_folder import RunFolder, options_digest
from runners.runs.tracking import read_curves

#: Tables of runs: of a sweep, and of a comparison or a reproduction.
TABLES = ("frontier.csv", "runs.csv")
#: Options that name what a run began with.
_BEGUN_WITH = ("model", "backbone", "policy", "teacher")
#: Columns of such a table that name the line of a point, the first that is there.
_NAMES = ("series", "system", "agent")
#: Columns of text.
_TEXTS = frozenset(_NAMES) | {field.name for field in fields(Conditions) if "str" in str(field.type)}

#: Data set, name of a line, and the speed-up that was aimed at.
Line = tuple[str, str, float]

#: Curves of training that a report draws.
RETURN, SPEEDUP = "charts/episodic_return", "charts/flops_speedup"
LIKELIHOOD, LOSS = "charts/log_likelihood", "losses/task_loss"

Curves = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Point:
    """A measured model: one point of a frontier.

    Attributes:
        series: Line that it belongs to.
        target: FLOPs speed-up that was aimed at; 0 where none was.
        seed: Seed of the run, or of the heuristic.
        record: Record of the evaluation.
        settings: Settings that tell runs of one line and target apart that differ by more than their seed.
    """

    series: str
    target: float
    seed: int
    record: EvaluationRecord
    settings: str = ""

    @property
    def alike(self) -> tuple[str, float, str, str | None]:
        """What the runs have in common whose mean is told."""
        return self.series, self.target, self.settings, self.record.conditions.texts_fingerprint

    @property
    def line(self) -> Line:
        """Data set, line and target."""
        return self.record.conditions.env, self.series, self.target

    @property
    def flops_speedup(self) -> float:
        """FLOPs speed-up that was reached; 1 of the control, which skips nothing."""
        savings = self.record.reduced.savings
        skips_nothing = self.series == CONTROL or self.series.startswith(f"{CONTROL}, ")
        return 1.0 if savings is None or skips_nothing else savings.flops_speedup


@dataclass(frozen=True)
class Training:
    """The curves of a training.

    Attributes:
        name: Name for readers.
        curves: Its curves, by TensorBoard key; empty where nothing was trained.
    """

    name: str
    curves: Curves


@dataclass(frozen=True)
class Source:
    """A folder that a report is made of.

    Attributes:
        path: The folder.
        name: Name of the run for readers.
        config: Its ``config.json``.
        points: Measurements: one point of a run, several of a sweep and the like.
        trainings: Curves of its training: one of a run, or one of each of its stages; none of a table.
        is_run: True for a run, False for a table of runs.
        has_policy: True if it holds a token-reduced model, whose tokens can be shown.
        speeds: Speeds that were measured on held-out texts; None where none were.
    """

    path: Path
    name: str
    config: Mapping[str, Any]
    points: Sequence[Point]
    trainings: Sequence[Training]
    is_run: bool
    has_policy: bool = False
    speeds: Speeds | None = None

    def apart(self, shared: Container[Line]) -> Source:
        """Return it with its folder in the names of lines that other settings have too.

        Args:
            shared: These lines.
        """
        folder = self.path.resolve().name
        points = [
            replace(point, series=f"{point.series}, {folder}") if point.line in shared else point
            for point in self.points
        ]
        if not self.is_run or points[0].series == self.points[0].series:
            return replace(self, points=points)
        name = points[0].series
        trainings = [replace(one, name=name + one.name.removeprefix(self.name)) for one in self.trainings]
        return replace(self, name=name, points=points, trainings=trainings)

    @property
    def record(self) -> EvaluationRecord:
        """Record of a run."""
        return self.points[0].record

    @property
    def env(self) -> str:
        """Name of the data set."""
        return self.record.conditions.env


def main_metric(record: EvaluationRecord) -> str:
    """Return the name of the main metric of a record, which is the first one.

    Args:
        record: Record of an evaluation.
    """
    return next(iter(record.full.metrics or record.reduced.quality.metrics))


def quality_of(quality: Quality, metric: str) -> float | None:
    """Return a metric of a pass; None where the pass does not have it.

    Args:
        quality: Quality of the pass.
        metric: Name of the metric.
    """
    found = quality.metrics.get(metric)
    return None if found is None or found != found else found


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """Read what folders hold; lines of one name that differ by more than their seeds are told apart by their folders.

    Args:
        paths: Folders of runs, sweeps, comparisons and reproductions.

    Raises:
        FileNotFoundError: There is none, or it has not ended.
        ValueError: It holds nothing that was evaluated on a task.
    """
    sources = [read_source(path) for path in paths]
    settings: dict[Line, set[str]] = {}
    for source in sources:
        for point in source.points:
            settings.setdefault(point.line, set()).add(point.settings)
    shared = {line for line, found in settings.items() if len(found) > 1}
    return [source.apart(shared) for source in sources]


def read_source(path: Path) -> Source:
    """Read what a folder holds.

    Args:
        path: Folder of a run, a sweep, a comparison or a reproduction.

    Raises:
        FileNotFoundError: There is none, or it has not ended.
        ValueError: It holds nothing that was evaluated on a task.
    """
    folder = RunFolder.open(path)
    config = folder.read_config()
    table = next((path / name for name in TABLES if (path / name).is_file()), None)
    if table is not None:
        points = [replace(point, settings=settings_of(config["options"])) for point in read_table(table)]
        return Source(path, f"{path.parent.name} {path.name}", config, points, (), is_run=False)
    if not folder.metrics_path.exists():
        raise FileNotFoundError(f"{path} has no metrics.json: {unfinished(path) or 'the run has not ended'}")
    flat = read_record(folder.metrics_path)
    if missing := [name for name in REQUIRED if name not in flat]:
        raise ValueError(
            f"{folder.metrics_path} has no {missing[0]}: name a run of finetune, train_policy, joint_finetune, "
            "train_baseline or evaluate, or the folder of a sweep, a comparison or a reproduction with a table of runs"
        )
    record, options = EvaluationRecord.from_flat(flat), config["options"]
    series = series_of(path, record, options)
    target, seed = float(options.get("target_speedup") or 0.0), int(options.get("seed", 0))
    point = Point(series, target, seed, record, settings_of(options))
    name = f"{series}, seed {seed}"
    return Source(
        path,
        name,
        config,
        [point],
        read_trainings(path, name, record),
        is_run=True,
        has_policy=is_token_reduced(str(folder.model_dir)),
        speeds=Speeds.read(path),
    )


def settings_of(options: Mapping[str, Any]) -> str:
    """Return the digest of what tells runs apart that differ by more than their seed.

    Which model, encoder or policy a run began with counts: where that is of a run, by the settings of that one.

    Args:
        options: Options of a run, as JSON values.
    """
    began = {name: _begun_with(str(options[name])) for name in _BEGUN_WITH if options.get(name)}
    return options_digest({**options, "seed": None, "seeds": None, "began": began})


def _begun_with(place: str) -> str:
    """The settings of the run that a folder is of; the name of any other folder, and of the hub."""
    found = saved_options(Path(place))
    return place if found is None else settings_of(found)


def read_trainings(path: Path, name: str, record: EvaluationRecord) -> list[Training]:
    """Read the curves of a run, or those of the stages that lie in its folder.

    Args:
        path: Folder of the run.
        name: Name of the run for readers.
        record: Record of the run.
    """
    keys = {RETURN, SPEEDUP, LIKELIHOOD, LOSS, *(f"holdout/{metric}" for metric in _watched(record))}
    stages = ended_stages(path / STAGES_FOLDER / record.conditions.env)
    folders = {f"{name}: {STAGES[stage].title}": folder for stage, folder in stages.items()} or {name: path}
    return [Training(title, read_curves(RunFolder(folder).events_dir, keys)) for title, folder in folders.items()]


def _watched(record: EvaluationRecord) -> tuple[str, str]:
    metric = main_metric(record)
    return metric, f"keep_all_{metric}"


def series_of(path: Path, record: EvaluationRecord, options: Mapping[str, Any]) -> str:
    """Return the line of a frontier that a run belongs to.

    Args:
        path: Its folder, ``<stage>-<agent>/<time>-<seed>``.
        record: Its record.
        options: Its options.

    Example:
        >>> flat = {"env": "SQuAD2", "num_texts": 2, "full_f1": 60.0, "full_log_likelihood": -1.0}
        >>> series_of(Path("runs/SQuAD2/policy-ppo/1-0"), EvaluationRecord.from_flat(flat), {})
        'stage 2, ppo'
    """
    stage, _, agent = path.resolve().parent.name.partition("-")
    if options.get("unreduced"):
        return CONTROL
    if stage == "policy":
        return "stage 2" if agent == "reinforce" else f"stage 2, {agent}"
    if stage == "joint":
        return "joint"
    if stage == "finetune":
        return "fine-tuned"
    return record.agent or ("evaluated model" if stage == "evaluate" else stage or path.name)


def read_table(path: Path) -> list[Point]:
    """Read the points of a table of runs.

    Args:
        path: ``frontier.csv`` or ``runs.csv``.

    Raises:
        ValueError: It has no rows, or one is no record of an evaluation.
    """
    rows = read_csv(path, _TEXTS)
    if not rows:
        raise ValueError(f"{path} has no rows: run what it is made of again")
    return [_point(path, row) for row in rows]


def _point(path: Path, row: Mapping[str, Any]) -> Point:
    name = next((name for name in _NAMES if name in row), None)
    if name is None:
        raise ValueError(f"{path} has none of the columns {', '.join(_NAMES)}: it is no table of runs")
    try:
        record = EvaluationRecord.from_flat(row)
    except ValueError as error:
        raise ValueError(f"{path} has a row of {row[name]!r} that is no evaluation: {error}") from error
    return Point(str(row[name]), float(row.get("target", 0.0)), int(row.get("seed", 0)), record)
