"""Export a trained model for ONNX Runtime or OpenVINO, into a folder beside its weights."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from runners.cli.flags import flag, option_paths, refuse_given, refuse_unused
from runners.cli.options import DataOptions, Group, RunOptions
from runners.cli.run import UserError, run
from runners.runs.earlier import data_of_run
from runners.runs.models import SETTLED, check_settled, load_model
from runners.training.loading import TrainedOn, load_split
from trbert_env.data.backbones import Backbone
from trbert_env.data.checkpoints import model_folder
from trbert_env.deploy.export.backends import BackendName, Precision, check_precision
from trbert_env.encoder.texts import EncodedText
from trbert_env.ranges import Range


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export."""

    model: Path | None = None
    """A run's folder, or a folder with a model."""

    backend: BackendName = "openvino"
    """The runtime that it is for."""

    precision: Precision = "float32"
    """Number format; int8 fits the scales of activations to training texts, int8-dynamic finds them at each call."""

    unreduced: bool = False
    """Export the model's own encoder with nothing skipped instead, to compare with."""

    calibration_texts: Annotated[int, Range(1)] = 100
    """With int8: training texts to fit the scales to; a random sample."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def defaults(self) -> ExportOptions:
        """Return the defaults: the data of the run that the model is of."""
        return ExportOptions(data=data_of_run(self.model, self.data))

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        if self.model is None:
            raise UserError("give --model RUN_OR_MODEL_DIR")
        refuse_unused(
            self,
            max_train_texts="give --calibration-texts",
            max_eval_texts="give --calibration-texts",
            dtype="give --precision",
            device="exports run on the CPU, leave it out",
            seed="nothing is random, leave it out",
            output_dir="an export lies beside its model, leave it out",
        )
        check_precision(self.backend, self.precision)
        if self.precision != "int8":
            texts = ["--calibration-texts", *(flag(name) for name in option_paths(DataOptions) if name not in SETTLED)]
            refuse_given(self, texts, f"--precision {self.precision} fits no scales")


def calibration_texts(data: DataOptions, count: int, trained: TrainedOn, backbone: Backbone) -> Sequence[EncodedText]:
    """Return training texts to fit scales of activations to.

    Args:
        data: Group of options.
        count: Number of records that the sample has.
        trained: Data set and task of the model that is exported.
        backbone: Its encoder, with the tokenizer.
    """
    return load_split(replace(data, max_eval_texts=count), backbone, "train", trained=trained).texts


def main(options: ExportOptions) -> None:
    """Export a trained model for ONNX Runtime or OpenVINO, into a folder beside its weights."""
    from trbert_env.deploy.export.export import export_model  # which --help need not wait for

    assert options.model is not None
    model, backbone = load_model(options.model, "cpu")
    check_settled(options, model.config.env)
    fitted = options.precision == "int8"
    trained = TrainedOn.of(model, options.model)
    texts = calibration_texts(options.data, options.calibration_texts, trained, backbone) if fitted else ()
    source = model_folder(str(options.model))
    folder = export_model(source, options.backend, options.precision, texts=texts, unreduced=options.unreduced)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"export: {folder} ({size / 1e6:,.0f} MB)")


if __name__ == "__main__":
    run(main, ExportOptions)
