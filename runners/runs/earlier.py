"""What an earlier run tells a later one: where its texts came from, how they were split, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runners.cli.flags import flag, group_from_json, option_values, options_to_json
from runners.cli.options import DataOptions
from runners.evaluation.record import REQUIRED, EvaluationRecord
from runners.runs.files import read_record
from runners.runs.run_folder import RunFolder, lasting_options
from trbert_env.data.request import DataRequest

#: Options that say where texts come from, and those of them that an earlier run's texts were read with.
SOURCES = ("env", "data_source", "data_dir", "train_file", "validation_file", "dataset")
READ_WITH = (*SOURCES, "dataset_config", "columns", "label_kind", "validation_share", "split_seed", "skip_bad_records")
#: Options that say where the files of a data set lie, which is the same data set wherever they lie.
ELSEWHERE = ("data_source", "data_dir")
#: What tells how own files are read, whichever they are.
FORM = ("env", "columns", "label_kind", "skip_bad_records")
#: Options that name own data.
OWN = ("train_file", "validation_file", "dataset")
#: Options of places, which the same file may be named by in several ways.
PLACED = ("data_dir", "train_file", "validation_file", "dataset")
#: The same, of options that the runs of earlier versions do not have.
LATER_READ_WITH = ("reader_options",)


def data_of_run(path: Path | None, given: DataOptions) -> DataOptions:
    """Return where an earlier run's texts came from, as defaults; those of the class where other texts are named.

    A data set that lies elsewhere is split and read as the run's was. Of a run on own data, other files of own data are
    read as its files were: its columns and kind of label are theirs. Samples and settings of the task are not among the
    defaults.

    Args:
        path: Folder of the run or of its model; None for none.
        given: The options given so far.
    """
    defaults, named = options_to_json(DataOptions()), lasting_options(given)
    saved = None if path is None else saved_options(path)
    if saved is None or not saved.keys() >= set(READ_WITH):
        return DataOptions()
    other = {name for name in SOURCES if _place(name, named[name]) not in (defaults[name], _place(name, saved[name]))}
    own = any(saved[name] is not None for name in OWN)
    read_with = _read_with(saved)
    if not other:
        return group_from_json(DataOptions, defaults | read_with)
    if own and other <= set(OWN):
        return group_from_json(DataOptions, defaults | {name: saved[name] for name in FORM})
    if not own and other <= set(ELSEWHERE):
        return group_from_json(DataOptions, defaults | read_with | {name: defaults[name] for name in ELSEWHERE})
    return DataOptions()


def check_split(request: DataRequest, model: str | Path | None) -> None:
    """Check that the texts are split as those that a model was trained on, where a seed splits them.

    Split otherwise, most texts that it is evaluated on are among those that it was trained on.

    Args:
        request: Names of the texts.
        model: Folder of an encoder or a token-reduced model, of a run or of a run's model; others, hub names and None
            tell nothing.

    Raises:
        ValueError: The same texts are split otherwise.
    """
    trained = _same_texts(request, model) if request.drawn_split else None
    if trained is None:
        return
    if trained.drawn_split != request.drawn_split:
        now, before = _told(request), _told(trained)
        raise ValueError(
            f"the texts are split by {now}, and {model} was trained on the split by {before}, so on texts that are "
            f"now to be evaluated on: split them by {before}"
        )


def knows_texts(request: DataRequest, model: str | Path | None) -> bool:
    """Tell whether a model comes from a run on the same texts, whose training texts it then knows.

    Args:
        request: Names of the texts.
        model: See :func:`check_split`.
    """
    return _same_texts(request, model) is not None


def _same_texts(request: DataRequest, model: str | Path | None) -> DataRequest | None:
    """Names of the texts of the run that a model comes from, None where they are others, or it comes from none."""
    saved = None if model is None else saved_options(Path(model))
    if saved is None or not saved.keys() >= set(READ_WITH):
        return None
    trained = group_from_json(DataOptions, options_to_json(DataOptions()) | _read_with(saved)).request()
    return trained if _sources(trained) == _sources(request) else None


def _read_with(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The saved options that texts were read with."""
    return {name: saved[name] for name in (*READ_WITH, *LATER_READ_WITH) if name in saved}


def _told(request: DataRequest) -> str:
    """The options that split texts so."""
    own = option_values(DataOptions())
    return " ".join(
        f"{flag(name)} {value}" if name in own else f"--reader-options {name}={value}"
        for name, value in request.drawn_split.items()
    )


def _sources(request: DataRequest) -> tuple[str | Path | None, ...]:
    """What tells whether two requests are of the same texts, wherever a published data set lies."""
    return (request.env, *(_place(name, getattr(request, name)) for name in OWN))


def _place(name: str, value: str | Path | None) -> str | Path | None:
    """The value of an option; of a place, the one that it leads to in the end, however it is written."""
    if value is None or name not in PLACED or (name == "dataset" and not Path(value).expanduser().is_dir()):
        return value
    return str(Path(value).expanduser().resolve())


def saved_options(path: Path) -> dict[str, Any] | None:
    """Return the options in a run's ``config.json``; None where the folder is no run's.

    Args:
        path: Folder of the run or of its model.
    """
    for folder in (path, path.parent):
        config = folder / "config.json"
        options = read_record(config).get("options") if config.is_file() else None
        if isinstance(options, dict):
            return options
    return None


def run_record(path: Path) -> EvaluationRecord:
    """Return the record of a run that has ended, ``metrics.json`` in its folder.

    Raises:
        ValueError: It is damaged.
    """
    return EvaluationRecord.from_flat(read_record(RunFolder(path).metrics_path, REQUIRED))


def earlier_record(path: Path | None) -> EvaluationRecord | None:
    """Return the record of a run that a user names, None where none is named.

    Raises:
        FileNotFoundError: The run has not ended, or is none.
        ValueError: The record is damaged, or of a run that evaluates nothing.
    """
    if path is None:
        return None
    folder = RunFolder.open(path)
    if not folder.metrics_path.exists():
        raise FileNotFoundError(f"{path} has no metrics.json: the run has not ended; finish it with --resume")
    record = read_record(folder.metrics_path)
    if missing := [name for name in REQUIRED if name not in record]:
        raise ValueError(
            f"{folder.metrics_path} has no {missing[0]}: name a run of finetune, train_policy, joint_finetune "
            "or evaluate"
        )
    return EvaluationRecord.from_flat(record)
