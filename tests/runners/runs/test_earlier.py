from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runners.cli.options import DataOptions, EncoderOptions, Group, OwnDataOptions, RunOptions
from runners.runs.earlier import check_split, data_of_run, knows_texts
from runners.runs.run_folder import RunFolder
from runners.training.loading import RunExamples, load_split


@dataclass(frozen=True)
class JobOptions:
    data: Group[DataOptions] = field(default_factory=DataOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Nothing ties these options."""


def make_run(tmp_path: Path, options: JobOptions) -> RunFolder:
    run = RunFolder.create(tmp_path, options.data.env, "finetune", "embedded", options.run.seed)
    run.write_config(options, {"data_source": "embedded"})
    return run


def test_texts_of_an_earlier_run_are_the_default(tmp_path: Path) -> None:
    own = OwnDataOptions(train_file=Path("pairs.csv").absolute(), columns=("label=verdict",))
    data = DataOptions("TextClassification", max_eval_texts=7, task_options=("max_tokens=99",), own=own)
    run = make_run(tmp_path, JobOptions(data=data))
    same = DataOptions("TextClassification", own=own)
    assert data_of_run(run.path, DataOptions()) == same
    assert data_of_run(run.path, DataOptions(max_eval_texts=3)) == same
    assert data_of_run(run.path / "model", DataOptions()) == same
    assert data_of_run(run.path, same) == same  # they stay the defaults once they are taken


def test_texts_are_read_as_the_run_read_them(tmp_path: Path) -> None:
    """Another fold would test on what the run was trained on."""
    data = DataOptions("Hyperpartisan", split_seed=2, reader_options=("fold=3",))
    run = make_run(tmp_path, JobOptions(data=data))
    assert data_of_run(run.path, DataOptions()) == data
    record = json.loads(run.config_path.read_text())
    del record["options"]["reader_options"]  # a run of an earlier version
    run.config_path.write_text(json.dumps(record))
    assert data_of_run(run.path, DataOptions()) == DataOptions("Hyperpartisan", split_seed=2)


@pytest.mark.parametrize(
    "given",
    [
        DataOptions("SpanQA", own=OwnDataOptions(train_file=Path("other.csv"))),
        DataOptions("IMDB"),
        DataOptions(data_dir=Path("elsewhere")),
    ],
)
def test_other_texts_are_not_mixed_with_them(given: DataOptions, tmp_path: Path) -> None:
    own = OwnDataOptions(train_file=Path("pairs.csv"), columns=("label=verdict",))
    run = make_run(tmp_path, JobOptions(data=DataOptions("TextClassification", own=own)))
    assert data_of_run(run.path, given) == DataOptions()


@pytest.mark.parametrize(
    "given",
    [
        DataOptions("TextClassification", own=OwnDataOptions(train_file=Path("other.csv"))),
        DataOptions(own=OwnDataOptions(validation_file=Path("later.csv"))),
        DataOptions(own=OwnDataOptions(dataset="folder")),
    ],
)
def test_other_files_of_own_data_are_read_as_the_runs_files(given: DataOptions, tmp_path: Path) -> None:
    own = OwnDataOptions(train_file=Path("pairs.csv"), columns=("label=verdict",), label_kind="score")
    run = make_run(tmp_path, JobOptions(data=DataOptions("TextClassification", skip_bad_records=True, own=own)))
    form = OwnDataOptions(columns=("label=verdict",), label_kind="score")
    assert data_of_run(run.path, given) == DataOptions("TextClassification", skip_bad_records=True, own=form)


def test_own_files_are_not_read_as_a_published_data_set(tmp_path: Path) -> None:
    run = make_run(tmp_path, JobOptions(data=DataOptions("IMDB", skip_bad_records=True)))
    given = DataOptions(own=OwnDataOptions(validation_file=Path("later.csv")))
    assert data_of_run(run.path, given) == DataOptions()


def test_a_folder_that_is_no_run_has_no_texts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "trbert"}')
    for path in (None, tmp_path, tmp_path / "nowhere"):
        assert data_of_run(path, DataOptions()) == DataOptions()


@pytest.mark.parametrize("given", [DataOptions(data_dir=Path("elsewhere")), DataOptions(data_source="hub")])
def test_a_data_set_that_lies_elsewhere_is_split_and_read_as_the_runs(given: DataOptions, tmp_path: Path) -> None:
    """Read as it comes, 58 of its 64 test articles would be among those that the run was trained on."""
    read = {"split_seed": 2, "reader_options": ("fold=3",), "skip_bad_records": True}
    run = make_run(tmp_path, JobOptions(DataOptions("Hyperpartisan", data_dir=tmp_path, **read)))
    assert data_of_run(run.path, given) == DataOptions("Hyperpartisan", **read)


@pytest.mark.parametrize(
    ("trained", "given", "told"),
    [
        (
            DataOptions("Hyperpartisan", split_seed=2),
            DataOptions("Hyperpartisan"),
            "by --split-seed 0 --reader-options fold=0.*split them by --split-seed 2 --reader-options fold=0",
        ),
        (
            DataOptions("Hyperpartisan"),
            DataOptions("Hyperpartisan", data_dir=Path("elsewhere"), reader_options=("fold=4",)),
            "by --split-seed 0 --reader-options fold=4.*split them by --split-seed 0 --reader-options fold=0",
        ),
        (
            DataOptions("SpanQA", own=OwnDataOptions(Path("own.csv"), validation_share=0.2)),
            DataOptions("SpanQA", own=OwnDataOptions(Path("own.csv"))),
            "split them by --validation-share 0.2 --split-seed 0",
        ),
    ],
)
def test_an_encoder_is_not_evaluated_on_its_training_texts(
    trained: DataOptions, given: DataOptions, told: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path, JobOptions(trained))
    for folder in (run.path, run.path / "model"):
        check_split(trained.request(), str(folder))
        assert knows_texts(trained.request(), folder)
        with pytest.raises(ValueError, match=told) as caught:
            check_split(given.request(), str(folder))
        assert "\n" not in str(caught.value)


def test_the_same_file_is_known_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "own.csv").write_text("text,label\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "own.csv")
    trained = DataOptions("SpanQA", split_seed=1, own=OwnDataOptions(tmp_path / "own.csv"))
    run = make_run(tmp_path / "runs", JobOptions(trained))
    monkeypatch.chdir(tmp_path / "work")
    for name in (Path("../own.csv"), Path("../link.csv"), tmp_path / "work" / ".." / "own.csv"):
        given = DataOptions("SpanQA", own=OwnDataOptions(name))
        with pytest.raises(ValueError, match=r"split them by --validation-share 0\.1 --split-seed 1"):
            check_split(given.request(), run.path)
        assert data_of_run(run.path, given) == trained
    assert not knows_texts(DataOptions("SpanQA", own=OwnDataOptions(Path("own.csv"))).request(), run.path)


def test_a_split_is_refused_where_texts_are_loaded(tmp_path: Path) -> None:
    run = make_run(tmp_path, JobOptions(DataOptions("Hyperpartisan", split_seed=1)))
    data = DataOptions("Hyperpartisan", data_source="embedded")
    with pytest.raises(ValueError, match="split them by --split-seed 1"):
        load_split(data, str(run.path))
    with pytest.raises(ValueError, match="split them by --split-seed 1"):
        RunExamples.load(data).load_encoder(EncoderOptions(str(run.path)))


@pytest.mark.parametrize(
    ("trained", "given"),
    [
        (DataOptions("Hyperpartisan", split_seed=2), DataOptions("IMDB")),
        (DataOptions("HotpotQA", reader_options=("level=hard",)), DataOptions("HotpotQA")),
        (
            DataOptions("SpanQA", split_seed=2, own=OwnDataOptions(Path("own.csv"))),
            DataOptions("SpanQA", own=OwnDataOptions(Path("other.csv"))),
        ),
        (
            DataOptions("SpanQA", split_seed=2, own=OwnDataOptions(Path("own.csv"))),
            DataOptions("SpanQA", own=OwnDataOptions(Path("own.csv"), Path("later.csv"))),
        ),
    ],
)
def test_other_texts_and_published_splits_go_with_any_encoder(
    trained: DataOptions, given: DataOptions, tmp_path: Path
) -> None:
    run = make_run(tmp_path, JobOptions(trained))
    for encoder in (str(run.path), str(tmp_path), "google-bert/bert-base-uncased", None):
        check_split(given.request(), encoder)
        assert not knows_texts(DataOptions("IMDB" if given.env != "IMDB" else "RACE").request(), encoder)
