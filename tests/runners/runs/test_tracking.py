from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions
from runners.runs.tracking import Tracker


@dataclass(frozen=True)
class JobOptions:
    rate: float = 1e-3
    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Nothing ties these options."""


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def curve(folder: Path, key: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(key)]


def test_figures_become_curves(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        for step in range(3):
            tracker.log({"charts/episodic_return": -step, "losses/entropy": 0.5}, step)
    assert curve(tmp_path, "charts/episodic_return") == [(0, 0.0), (1, -1.0), (2, -2.0)]
    assert curve(tmp_path, "losses/entropy") == [(0, 0.5), (1, 0.5), (2, 0.5)]


def test_a_flush_brings_figures_to_the_disk(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.log({"a": 1.0}, 0)
    tracker.flush()
    assert curve(tmp_path, "a") == [(0, 1.0)]
    tracker.close()


def test_a_resumed_run_has_one_curve(tmp_path: Path) -> None:
    # Ten steps; the checkpoint was taken after step 4, and the run goes on with step 5.
    with Tracker(tmp_path) as tracker:
        for step in range(10):
            tracker.log({"a": float(step)}, step)
    with Tracker(tmp_path, resume_step=5) as tracker:
        for step in range(5, 8):
            tracker.log({"a": step + 100.0}, step)
    expected = [(step, float(step)) for step in range(5)] + [(step, step + 100.0) for step in range(5, 8)]
    assert curve(tmp_path, "a") == expected


def test_options_and_final_figures_stand_in_the_table_of_runs(tmp_path: Path) -> None:
    options = JobOptions(
        encoder=EncoderOptions(reduction_layers=(2, 4)), run=RunOptions(seed=4, output_dir=Path("out"))
    )
    with Tracker(tmp_path) as tracker:
        tracker.log({"eval/f1": 1.0}, 0)
        tracker.add_hparams(options, {"f1": 56.5, "env": "SQuAD2", "num_texts": 3, "accuracy": None})
    events = read(tmp_path)
    assert events.Scalars("final/f1")[0].value == pytest.approx(56.5)
    assert events.Scalars("final/num_texts")[0].value == 3
    assert {"final/env", "final/accuracy"}.isdisjoint(events.Tags()["scalars"])
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    saved = HParamsPluginData.FromString(content).session_start_info.hparams
    assert saved["seed"].number_value == 4
    assert saved["reduction_layers"].string_value == "[2, 4]"
    assert saved["output_dir"].string_value == "out"
    # In the run's own folder, not in a run of its own beside it.
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_the_blocks_own_error_is_the_one_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(writer: object) -> None:
        raise OSError(28, "No space left on device")

    def work() -> None:
        with Tracker(tmp_path / "one") as tracker:
            tracker.log({"a": 1.0}, 0)
            monkeypatch.setattr(RecordWriter, "flush", full)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    monkeypatch.undo()
    tracker = Tracker(tmp_path / "other")
    tracker.log({"a": 1.0}, 0)
    monkeypatch.setattr(RecordWriter, "flush", full)
    with pytest.raises(OSError, match="No space left"):
        tracker.close()
