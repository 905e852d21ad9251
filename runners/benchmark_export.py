"""Quality and CPU time of a model's exports, reduced and not, in one runtime."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch

from runners.cli.display import announce
from runners.cli.flags import refuse_given, refuse_unused
from runners.cli.options import DataOptions, Group, RunOptions
from runners.cli.run import UserError, run
from runners.cli.tables import print_table
from runners.evaluation.benchmark_options import BatchSizes
from runners.evaluation.export_comparison import compare_exports, export_record, export_table
from runners.export import calibration_texts
from runners.runs.earlier import data_of_run
from runners.runs.models import check_settled, load_model
from runners.runs.run_folder import RunFolder
from runners.training.loading import TrainedOn, load_split
from trbert_env.data.checkpoints import model_folder
from trbert_env.data.workload import Workload
from trbert_env.deploy.export.backends import BackendName, Precision, check_precision
from trbert_env.deploy.export.export import export_model
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.encoder.texts import EncodedText
from trbert_env.ranges import Items, Range


@dataclass(frozen=True)
class BenchmarkExportOptions:
    """Options of a benchmark of exports."""

    model: Path | None = None
    """A run's folder, or a folder with a model."""

    backend: BackendName = "openvino"
    """The runtime."""

    precisions: Annotated[tuple[Precision, ...], Items(1, distinct=True)] = ("float32", "int8")
    """Number formats to compare."""

    batch_sizes: BatchSizes = (1, 32)
    """Texts of one batch."""

    num_texts: Annotated[int, Range(1)] = 64
    """Texts that are timed; a random sample, sorted by length."""

    rounds: Annotated[int, Range(1)] = 5
    """Rounds that count; the sides take turns, and the median of each is taken."""

    threads: Annotated[int, Range(1)] = 1
    """Threads to compute with."""

    calibration_texts: Annotated[int, Range(1)] = 100
    """Training texts that int8 fits the scales of activations to; a random sample."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def defaults(self) -> BenchmarkExportOptions:
        """Return the defaults: the data of the run that the model is of."""
        return BenchmarkExportOptions(data=data_of_run(self.model, self.data))

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        if self.model is None:
            raise UserError("give --model RUN_OR_MODEL_DIR")
        refuse_unused(
            self,
            max_train_texts="give --calibration-texts",
            dtype="give --precisions",
            device="exports run on the CPU, leave it out",
        )
        for precision in self.precisions:
            check_precision(self.backend, precision)
        if "int8" not in self.precisions:
            refuse_given(self, ("--calibration-texts",), "only --precisions int8 fits scales")


def load_exports(
    options: BenchmarkExportOptions, source: Path, place: Path, texts: Sequence[EncodedText]
) -> list[ExportedModel]:
    """Export the model, reduced and not, in each number format, into a folder that is not the model's own."""
    for path in (*source.glob("*.json"), *source.glob("*.safetensors")):
        shutil.copyfile(path, place / path.name)
    found = []
    for precision in options.precisions:
        for unreduced in (True, False):
            announce(f"exporting the {'unreduced' if unreduced else 'reduced'} model: {options.backend} {precision}")
            given = texts if precision == "int8" else ()
            export_model(place, options.backend, precision, texts=given, unreduced=unreduced)
            found.append(ExportedModel.from_pretrained(place, options.backend, precision, unreduced=unreduced))
    return found


def timed_texts(workload: Workload, options: BenchmarkExportOptions) -> list[EncodedText]:
    """Return the texts that are timed, shortest first."""
    chosen = np.random.default_rng(options.run.seed).permutation(len(workload.texts))[: options.num_texts]
    return sorted((workload.texts[int(place)] for place in chosen), key=len)


def main(options: BenchmarkExportOptions) -> None:
    """Quality and CPU time of a model's exports, reduced and not, in one runtime."""
    assert options.model is not None
    torch.set_num_threads(options.threads)
    model, backbone = load_model(options.model, "cpu")
    check_settled(options, model.config.env)
    trained = TrainedOn.of(model, options.model)
    workload = load_split(options.data, backbone, trained=trained)
    fitted = "int8" in options.precisions
    texts = calibration_texts(options.data, options.calibration_texts, trained, backbone) if fitted else ()
    with TemporaryDirectory() as place:
        exports = load_exports(options, Path(model_folder(str(options.model))), Path(place), texts)
        timed = timed_texts(workload, options)
        rows = compare_exports(exports, workload, timed, options.batch_sizes, options.rounds)
    record = {
        "env": workload.preset.name,
        "data_source": workload.data_source,
        "backbone": workload.backbone.name,
        "num_texts": len(workload.texts),
        "backend": options.backend,
        "threads": options.threads,
        "timed_texts": len(timed),
        "mean_tokens": float(np.mean([len(text) for text in timed])),
        **export_record(rows),
    }
    folder = RunFolder.create(
        options.run.output_dir, workload.preset.name, "benchmark", f"export-{options.backend}", options.run.seed
    )
    folder.write_config(options, {"data_source": workload.data_source, "backbone": workload.backbone.name})
    folder.write_metrics(record)
    print_table("exports: CPU milliseconds a text, medians of rounds in turns", *export_table(rows))
    print(f"record: {folder.metrics_path}")


if __name__ == "__main__":
    run(main, BenchmarkExportOptions)
