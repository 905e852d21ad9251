"""Options of a benchmark, and its suites: defaults for what is measured together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch

from agents.policy_agent import KeepFractions
from runners.cli.flags import refuse_given, refuse_unused
from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions, resolve_device
from runners.cli.run import UserError
from runners.evaluation.grid import Order
from runners.evaluation.sides import EXPORT_BACKENDS, installed_backends, precisions_of
from runners.runs.earlier import data_of_run
from runners.training.precision import evaluation_dtype
from trbert_env.deploy.export.backends import BackendName, Precision, missing_packages
from trbert_env.ranges import Items, Range

BatchSizes = Annotated[tuple[Annotated[int, Range(1)], ...], Items(1, distinct=True)]


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of a benchmark."""

    suite: Literal["cpu", "gpu"] | None = None
    """Other defaults: every batch size, order, number format and installed runtime of a CPU, or what a GPU is for."""

    model: Path | None = None
    """A run's folder or a model's; random masks when not given."""

    keep_fractions: KeepFractions | None = None
    """With random masks: kept fractions of the full length, one a reduction; those of train_policy.py by default."""

    architecture: Literal["backbone", "bert-base"] = "backbone"
    """bert-base: random weights of that size in place of the backbone's; the clock does not see the difference."""

    batch_size: BatchSizes = (32,)
    """Texts of one batch; one or several sizes."""

    orders: Annotated[tuple[Order, ...], Items(1, distinct=True)] = ("sorted",)
    """Order in which all systems run the texts: shortest first, or as drawn, where padding costs more."""

    precisions: Annotated[tuple[Precision, ...], Items(distinct=True)] = ()
    """Number formats; each runtime computes in those that it has. That of --dtype when not given."""

    backends: Annotated[tuple[Literal["torch"] | BackendName, ...], Items(1, distinct=True)] = ("torch",)
    """Runtimes: torch, and those that the model is exported for, into a folder that is not kept."""

    opponents: tuple[Path, ...] = ()
    """Other systems for the same texts: folders of runs of train_baseline.py, or of other models."""

    num_texts: Annotated[int, Range(1)] = 128
    """Texts that are timed; a random sample."""

    rounds: Annotated[int, Range(1)] = 5
    """Rounds that count; the sides take turns, and the median of each is taken."""

    threads: Annotated[int, Range(1)] | None = None
    """Threads to compute with; as many as torch takes when not given."""

    calibration_texts: Annotated[int, Range(1)] = 100
    """With --precisions int8: training texts to fit the scales of activations to; a random sample."""

    lengths: tuple[Annotated[int, Range(8)], ...] | None = None
    """Time texts of just these numbers of tokens instead: how clock and memory grow with the length."""

    keep_all: Annotated[int, Range(1)] | None = None
    """Measure quality instead, with nothing skipped, on this many validation records: every runtime, number format and
    library must answer as stock transformers does."""

    training: bool = True
    """Timing of training steps too."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def defaults(self) -> BenchmarkOptions:
        """Return the defaults: those of the suite, and the data of the run that the model is of."""
        data = data_of_run(self.model, self.data)
        if self.suite == "cpu":
            return BenchmarkOptions(
                batch_size=(1, 8, 32, 128),
                orders=("sorted", "unsorted"),
                precisions=("float32", "bfloat16", "int8", "int8-dynamic"),
                backends=("torch", *installed_backends()),
                threads=1,
                training=False,
                data=data,
                run=RunOptions(device="cpu"),
            )
        if self.suite == "gpu":
            return BenchmarkOptions(
                batch_size=(8, 128, 512, 1024),
                precisions=("bfloat16",),
                num_texts=2048,
                training=False,
                data=data,
                run=RunOptions(device="cuda"),
            )
        return BenchmarkOptions(data=data)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        refuse_unused(self, max_train_texts="give --num-texts", max_eval_texts="give --num-texts")
        if self.architecture == "bert-base" and self.model is not None:
            raise UserError("--architecture bert-base has random weights: leave --model out")
        if self.lengths is not None:
            given = ("--num-texts", "--batch-size", "--orders", "--opponents", "--max-length")
            refuse_given(self, given, "--lengths times inference alone")
        if self.keep_all is not None:
            timing = ("--num-texts", "--batch-size", "--orders", "--opponents", "--lengths", "--rounds")
            refuse_given(self, (*timing, "--keep-fractions", "--reduction-layers"), "--keep-all measures quality alone")
        if self.model is not None and (self.lengths is not None or not self.training):
            refuse_given(self, ("--keep-fractions", "--reduction-layers"), "--model has its own cuts and masks")
        if self.precisions:
            refuse_given(self, ("--dtype",), "--precisions names the number formats")
        if "int8" not in self.precisions:
            refuse_given(self, ("--calibration-texts",), "only --precisions int8 fits scales")
        if self.opponents and "torch" not in self.backends:
            raise UserError("--opponents run in torch: name it in --backends, or leave --opponents out")
        if self.suite == "gpu" and self.run.device == "cuda" and not torch.cuda.is_available():
            raise UserError(
                "--suite gpu measures a CUDA device, and torch finds none here: run it where there is one, or try it "
                "out by --device cpu"
            )
        self._check_runtimes()

    def _check_runtimes(self) -> None:
        """Refuse number formats and runtimes that do not go together."""
        exporting = self.backends != ("torch",)
        if exporting and str(resolve_device(self.run.device)) != "cpu":
            raise UserError("--backends onnx and openvino run on the CPU: give --device cpu, or leave them out")
        known = {backend: precisions_of(backend) for backend in self.backends}
        unknown = [precision for precision in self.numbers if not any(precision in own for own in known.values())]
        for precision in unknown:
            if self.suite is None or len(unknown) == len(self.numbers):
                raise UserError(f"--precisions {precision}: no runtime of --backends has it, name one that does")
        for backend, own in known.items():
            if not any(precision in own for precision in self.numbers):
                raise UserError(f"--backends {backend} has {', '.join(own)}: name one of them in --precisions")
        if self.keep_all is not None and "float32" not in self.numbers_of("torch"):
            raise UserError("--keep-all compares with torch in float32: name float32 in --precisions")
        timed = self.training and self.lengths is None and self.keep_all is None
        if timed and ("torch" not in self.backends or not self.numbers_of("torch")):
            raise UserError("training steps run in torch, in float32 or bfloat16: name both, or give --no-training")

    @property
    def left_out(self) -> list[str]:
        """Runtimes and number formats that the suite of a CPU does not measure here, each with the reason."""
        if self.suite != "cpu":
            return []
        missing = {backend: missing_packages(backend) for backend in EXPORT_BACKENDS if backend not in self.backends}
        found = [
            f"{backend}, for {' and '.join(packages)} {'is' if len(packages) == 1 else 'are'} not installed: "
            f"pip install 'trbert-env[{backend}]'"
            for backend, packages in missing.items()
            if packages
        ]
        measured = {precision for backend in self.backends for precision in self.numbers_of(backend)}
        return found + [
            f"{precision}, which no runtime of {', '.join(self.backends)} has"
            for precision in self.numbers
            if precision not in measured
        ]

    @property
    def numbers(self) -> tuple[Precision, ...]:
        """Number formats to measure."""
        return self.precisions or (evaluation_dtype(self.run.dtype),)

    def numbers_of(self, backend: str) -> tuple[Precision, ...]:
        """Return the number formats to measure in a runtime."""
        return tuple(precision for precision in self.numbers if precision in precisions_of(backend))
