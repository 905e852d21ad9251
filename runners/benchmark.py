"""Clock times and ratios: stock transformers, packed keep-all, reduced, and training against the naive way."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import torch
from transformers import BertConfig

from agents.policy_agent import KeepFractions
from runners.cli.display import print_table
from runners.cli.options import (
    DataOptions,
    EncoderOptions,
    Group,
    RunOptions,
    refuse_given,
    refuse_unused,
    resolve_device,
)
from runners.cli.plots import save_plot
from runners.cli.run import UserError, run
from runners.evaluation.growth import growth_plot, growth_record, measure_growth, print_growth
from runners.evaluation.step_times import StepSettings, time_environment, time_joint, time_sb3, time_training
from runners.evaluation.timing import model_systems, system_flops_speedup, time_systems
from runners.runs.models import check_settled, load_model
from runners.runs.run_folder import RunFolder, data_of_run
from runners.training.loading import TrainedOn, load_split
from runners.training.precision import evaluation_dtype
from trbert_env.data.backbones import Backbone, move
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.positions import longest_sequence
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.presets import get_preset
from trbert_env.ranges import Range
from trbert_env.reduction.decision import DecisionRule, check_keep_fractions
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.system import StockSystem
from trbert_env.tasks import make_task


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of a benchmark."""

    model: Path | None = None
    """A run's folder or a model's; random masks when not given."""

    keep_fractions: KeepFractions = (0.64, 0.22)
    """With random masks: kept fractions of the full length, one a reduction."""

    architecture: Literal["backbone", "bert-base"] = "backbone"
    """bert-base: random weights of that size in place of the backbone's; the clock does not see the difference."""

    batch_size: Annotated[int, Range(1)] = 32
    """Texts of one batch."""

    num_texts: Annotated[int, Range(1)] = 128
    """Texts that are timed; a random sample."""

    rounds: Annotated[int, Range(1)] = 5
    """Rounds that count; the sides take turns, and the median of each is taken."""

    lengths: tuple[Annotated[int, Range(8)], ...] | None = None
    """Time texts of just these numbers of tokens instead: how clock and memory grow with the length."""

    training: bool = True
    """Timing of training steps too."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def defaults(self) -> BenchmarkOptions:
        """Return the defaults: the data of the run that the model is of."""
        return BenchmarkOptions(data=data_of_run(self.model, self.data))

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        refuse_unused(self, max_train_texts="give --num-texts", max_eval_texts="give --num-texts")
        if self.architecture == "bert-base" and self.model is not None:
            raise UserError("--architecture bert-base has random weights: leave --model out")
        if self.lengths is not None:
            refuse_given(self, ("--num-texts", "--batch-size", "--max-length"), "--lengths times inference alone")
        if self.model is not None and (self.lengths is not None or not self.training):
            refuse_given(self, ("--keep-fractions", "--reduction-layers"), "--model has its own cuts and masks")


def load_workload(options: BenchmarkOptions, device: str) -> tuple[Workload, TokenReducedModel | None]:
    """A sample of validation texts, with the model or its stand-in."""
    model: TokenReducedModel | None = None
    backbone: Backbone | str | None = options.encoder.backbone
    if options.model is not None:
        model, backbone = load_model(options.model, device)
        check_settled(options, model.config.env)
    workload = load_split(options.data, backbone, trained=None if model is None else TrainedOn.of(model))
    workload = replace(workload, texts=random_texts(workload, options))
    if options.architecture == "bert-base":
        positions = max(BertConfig().max_position_embeddings, workload.task.max_tokens)
        config = BertConfig(vocab_size=len(workload.backbone.tokenizer), max_position_embeddings=positions)
        config.num_labels = workload.task.num_logits
        large = workload.task.auto_model.from_config(config).eval()
        random = replace(workload.backbone, model=large, name="bert-base (random)", extended_from=None)
        workload = replace(workload, backbone=random)
    return workload, model


def random_texts(workload: Workload, options: BenchmarkOptions) -> list[EncodedText]:
    """The texts that are timed."""
    generator = torch.Generator().manual_seed(options.run.seed)
    order = torch.randperm(len(workload.texts), generator=generator)[: options.num_texts]
    return [workload.texts[index] for index in order.tolist()]


def random_model(workload: Workload, options: BenchmarkOptions) -> TokenReducedModel:
    """An untrained policy that keeps the wanted fractions: the clock does not see which tokens they are."""
    encoder = StagedEncoder(workload.backbone.model, options.encoder.layers)
    fractions = check_keep_fractions(options.keep_fractions, encoder.num_reductions)
    return TokenReducedModel.from_parts(
        workload.backbone.model,
        TokenPolicy(encoder.hidden_size, encoder.num_reductions),
        env=workload.preset.name,
        task=workload.task,
        reduction_layers=encoder.reduction_layers,
        decision=DecisionRule(keep_fractions=fractions),
    )


def inference_dtype(options: BenchmarkOptions) -> torch.dtype:
    """float32 unless bfloat16 is asked for, on every side."""
    return torch.bfloat16 if evaluation_dtype(options.run.dtype) == "bfloat16" else torch.float32


def time_inference(
    workload: Workload, model: TokenReducedModel, options: BenchmarkOptions, device: str
) -> dict[str, float]:
    """Stock passes, as they are and with our linear layers, packed and reduced passes over the same texts."""
    model = move(model, device, inference_dtype(options))
    model.requires_grad_(False)  # as before serving: see trbert_env/encoder/linear.py
    systems, texts = model_systems(model), list(workload.texts)
    systems["stock_linear"] = StockSystem(model.backbone, model.task, faster_linear=True)
    timings = time_systems(systems, texts, options.batch_size, options.rounds)
    seconds = {name: timing.median for name, timing in timings.items()}
    flops = system_flops_speedup(systems["reduced"], texts)
    stock, packed = (seconds[name] / seconds["reduced"] for name in ("stock", "packed"))
    return {
        "flops_speedup": flops,
        "stock_seconds": seconds["stock"],
        "stock_linear_seconds": seconds["stock_linear"],
        "packed_seconds": seconds["packed"],
        "reduced_seconds": seconds["reduced"],
        "wall_speedup_stock": stock,
        "wall_speedup_stock_linear": seconds["stock_linear"] / seconds["reduced"],
        "wall_speedup_packed": packed,
        "stock_over_flops": stock / flops,
        "packed_over_flops": packed / flops,
    }


def time_lengths(options: BenchmarkOptions, device: str) -> None:
    """Measure how clock and memory grow with the length, and keep the table, its plot and the record."""
    lengths = sorted(options.lengths or ())
    longest = lengths[-1]
    options = replace(options, num_texts=1)
    if options.model is None and longest > make_task(get_preset(options.data.env)).max_tokens:
        options = replace(options, data=replace(options.data, max_length=longest))
    workload, model = load_workload(options, device)
    model = move(model or random_model(workload, options), device, inference_dtype(options))
    if longest > (most := longest_sequence(model.backbone)):
        raise UserError(f"--lengths {longest} is beyond the {most} positions of {options.model}: leave it out")
    rows = measure_growth(model, lengths, options.rounds, options.run.seed)
    folder = RunFolder.create(
        options.run.output_dir, options.data.env, "benchmark", f"{options.architecture}-lengths", options.run.seed
    )
    folder.write_config(options, {"data_source": workload.data_source, **workload.backbone.facts})
    record = {"env": workload.preset.name, "backbone": workload.backbone.name, "num_texts": 0, **growth_record(rows)}
    folder.write_metrics(record)
    save_plot(growth_plot(rows, f"{workload.backbone.name}, {describe(device)}"), folder.path / "growth.png")
    print_growth(rows)
    print(f"record: {folder.metrics_path}\nplot: {folder.path / 'growth.png'}")


def describe(device: str) -> str:
    """Name the device."""
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def main(options: BenchmarkOptions) -> None:
    """Clock times and ratios: stock transformers, packed keep-all, reduced, and training against the naive way."""
    device = str(resolve_device(options.run.device))
    if options.lengths is not None:
        time_lengths(options, device)
        return
    workload, model = load_workload(options, device)
    source = "random masks" if model is None else str(options.model)
    record: dict[str, Any] = {
        "env": workload.preset.name,
        "backbone": workload.backbone.name,
        "data_source": workload.data_source,
        "masks": source,
        "dtype": evaluation_dtype(options.run.dtype),
        "batch_size": options.batch_size,
        "num_texts": len(workload.texts),
        "mean_tokens": sum(map(len, workload.texts)) / len(workload.texts),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }
    if options.training:
        dtype = evaluation_dtype(options.run.dtype)
        settings = StepSettings(
            options.keep_fractions, options.encoder.layers, dtype, device, options.rounds, options.run.seed
        )
        for part in (time_environment, time_training, time_joint, time_sb3):
            record |= part(workload, settings)
    record |= time_inference(workload, model or random_model(workload, options), options, device)
    folder = RunFolder.create(
        options.run.output_dir, options.data.env, "benchmark", options.architecture, options.run.seed
    )
    folder.write_config(options, {"data_source": workload.data_source, **workload.backbone.facts})
    folder.write_metrics(record)
    rows = [
        [name.replace("_", " "), value if isinstance(value, str) else f"{value:.4g}"] for name, value in record.items()
    ]
    print_table("benchmark: medians; ratios are of this run", ["", "value"], rows)
    print(f"record: {folder.metrics_path}")


if __name__ == "__main__":
    run(main, BenchmarkOptions)
