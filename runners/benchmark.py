"""Clock times and ratios: stock transformers, packed keep-all, reduced, and training against the naive way."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from transformers import BertConfig

from agents.policy_agent import PolicyAgentOptions
from runners.cli.display import announce
from runners.cli.options import resolve_device
from runners.cli.plots import save_plot
from runners.cli.run import UserError, run
from runners.cli.tables import print_table
from runners.evaluation.benchmark_options import BenchmarkOptions
from runners.evaluation.grid import Cell, Measurement, Side, batch_cells, grid_record, measure_grid
from runners.evaluation.grid_report import grid_plot, print_grid
from runners.evaluation.growth import growth_plot, growth_record, length_cells, print_growth
from runners.evaluation.keep_all import keep_all_record, measure_keep_all, print_keep_all
from runners.evaluation.machine import LoadWatch
from runners.evaluation.sides import export_sides, opponent_sides, replay_record, torch_sides
from runners.evaluation.step_times import StepSettings, time_environment, time_joint, time_sb3, time_training
from runners.export import calibration_texts
from runners.runs.files import write_csv
from runners.runs.models import check_settled, load_model
from runners.runs.run_folder import RunFolder
from runners.training.loading import TrainedOn, load_split
from runners.training.precision import DType
from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.deploy.export.export import export_refusal
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.positions import longest_sequence
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.presets import get_preset
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.tasks import make_task


def load_workload(options: BenchmarkOptions, device: str) -> tuple[Workload, TokenReducedModel | None]:
    """A sample of validation texts, with the model or its stand-in."""
    model: TokenReducedModel | None = None
    backbone: Backbone | str | None = options.encoder.backbone
    if options.model is not None:
        model, backbone = load_model(options.model, device)
        check_settled(options, model.config.env)
    data = replace(options.data, max_eval_texts=options.keep_all)
    trained = None if model is None else TrainedOn.of(model, options.model)
    workload = load_split(data, backbone, trained=trained)
    if options.keep_all is None:
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


def mask_fractions(encoder: StagedEncoder, options: BenchmarkOptions) -> tuple[float, ...]:
    """What random masks keep: the given fractions, or those that a policy is trained for by default."""
    return PolicyAgentOptions(keep_fractions=options.keep_fractions).fractions(encoder.num_reductions)


def random_model(workload: Workload, options: BenchmarkOptions) -> TokenReducedModel:
    """An untrained policy that keeps the wanted fractions: the clock does not see which tokens they are."""
    encoder = workload.encoder(options.encoder.layers)
    fractions = mask_fractions(encoder, options)
    return TokenReducedModel.from_parts(
        workload.backbone.model,
        TokenPolicy(encoder.hidden_size, encoder.num_reductions),
        env=workload.preset.name,
        task=workload.task,
        reduction_layers=encoder.reduction_layers,
        decision=DecisionRule(keep_fractions=fractions),
    )


def make_sides(
    workload: Workload, model: TokenReducedModel, options: BenchmarkOptions, device: str, place: Path
) -> list[Side]:
    """Return all that is measured; see :mod:`runners.evaluation.sides`.

    Args:
        workload: Texts that are timed.
        model: Model, or its stand-in.
        options: Options.
        device: Device.
        place: Empty folder to export into.
    """
    sides: list[Side] = []
    if "torch" in options.backends:
        sides += torch_sides(model, options.numbers_of("torch"), device, replayed=options.suite == "gpu")
        sides += opponent_sides(options.opponents, workload, options.numbers_of("torch"), device)
    return sides + make_exports(workload, model, options, place)


def make_exports(workload: Workload, model: TokenReducedModel, options: BenchmarkOptions, place: Path) -> list[Side]:
    """Return the model's exports; see :func:`make_sides`."""
    sides: list[Side] = []
    exports = [backend for backend in options.backends if backend != "torch"]
    refusal = export_refusal(model)
    if exports and refusal is not None and options.suite is not None:
        announce(f"no exports for {' and '.join(exports)}: {refusal}")
        return sides
    if not exports:
        return sides
    model.save_pretrained(place)
    fitted = "int8" in options.precisions
    trained = TrainedOn.of(model, options.model)  # a stand-in comes from no folder
    texts = calibration_texts(options.data, options.calibration_texts, trained, workload.backbone) if fitted else ()
    for backend in exports:
        sides += export_sides(model, backend, options.numbers_of(backend), place, texts)
    return sides


def measure_all(
    workload: Workload,
    model: TokenReducedModel,
    cells: list[Cell],
    options: BenchmarkOptions,
    device: str,
    watch: LoadWatch,
) -> tuple[list[Measurement], dict[str, int]]:
    """Measure a model, its exports and its opponents; and say how many batches were replayed."""
    with TemporaryDirectory() as place:
        sides = make_sides(workload, model, options, device, Path(place))
        if not sides:
            raise UserError("nothing is left to measure: name torch in --backends")
        return measure_grid(sides, cells, options.rounds, watch), replay_record(sides)


def inference_record(rows: list[Measurement]) -> dict[str, float]:
    """Return seconds of a round and ratios of the first cell and number format, and all that was measured.

    Wall speed-ups are by the clock, CPU speed-ups by CPU time, which tells more where the machine was not quiet. They
    are of sorted texts; where there are none, names of stock transformers, which pads, say ``unsorted``.

    Args:
        rows: Measurements.
    """
    start = next((row for row in rows if row.order == "sorted"), rows[0])
    own = [row for row in rows if (row.cell, row.backend, row.precision) == (start.cell, "torch", start.precision)]
    first = {row.kind: row for row in own}
    kinds = [kind for kind in ("stock", "stock_linear", "packed", "reduced") if kind in first]
    pads = ("stock", "stock_linear")
    names = {kind: f"{kind}_unsorted" if kind in pads and start.order == "unsorted" else kind for kind in kinds}
    seconds = {kind: first[kind].milliseconds * first[kind].num_texts / 1000.0 for kind in kinds}
    record = {f"{names[kind]}_seconds": value for kind, value in seconds.items()}
    for kind in kinds[:-1]:
        record[f"wall_speedup_{names[kind]}"] = seconds[kind] / seconds["reduced"]
        record[f"cpu_speedup_{names[kind]}"] = first[kind].cpu_milliseconds / first["reduced"].cpu_milliseconds
    if "packed" in kinds:
        record["flops_speedup"] = first["stock"].gflops / first["reduced"].gflops
        for kind in ("stock", "packed"):  # each by its own FLOPs, which are not the same for heads of first tokens
            flops = first[kind].gflops / first["reduced"].gflops
            record[f"{names[kind]}_over_flops"] = record[f"wall_speedup_{names[kind]}"] / flops
    return record | grid_record(rows)


def length_workload(options: BenchmarkOptions, device: str) -> tuple[Workload, TokenReducedModel]:
    """Load an encoder that reads the longest of the lengths, with the model or its stand-in."""
    longest = max(options.lengths or ())
    options = replace(options, num_texts=1)
    if options.model is None and longest > make_task(get_preset(options.data.env)).max_tokens:
        options = replace(options, data=replace(options.data, max_length=longest))
    workload, model = load_workload(options, device)
    model = model or random_model(workload, options)
    if longest > (most := longest_sequence(model.backbone)):
        raise UserError(f"--lengths {longest} is beyond the {most} positions of {options.model}: leave it out")
    return workload, model


def describe(device: str) -> str:
    """Name the device."""
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def time_lengths(options: BenchmarkOptions, device: str) -> None:
    """Measure how clock and memory grow with the length, and keep the table, its plot and the record."""
    workload, model = length_workload(options, device)
    cells = length_cells(sorted(options.lengths or ()), model.backbone.config.vocab_size, options.run.seed)
    watch = LoadWatch()
    rows, replays = measure_all(workload, model, cells, options, device, watch)
    folder = make_folder(workload, options, f"{options.architecture}-lengths")
    record = {"env": workload.preset.name, "backbone": workload.backbone.name, "num_texts": 0, **growth_record(rows)}
    folder.write_metrics(record | replays | watch.load.to_flat())
    write_csv(folder.path / "growth.csv", [row.row() for row in rows])
    save_plot(growth_plot(rows, f"{workload.backbone.name}, {describe(device)}"), folder.path / "growth.png")
    print_growth(rows)
    print_end(folder, watch, "growth")


def time_batches(options: BenchmarkOptions, device: str) -> None:
    """Measure training steps and the grid of batch sizes and orders, and keep tables, plot and record."""
    workload, model = load_workload(options, device)
    record: dict[str, Any] = {
        "env": workload.preset.name,
        "backbone": workload.backbone.name,
        "data_source": workload.data_source,
        "masks": "random masks" if model is None else str(options.model),
        "dtype": (options.numbers_of("torch") if "torch" in options.backends else options.numbers)[0],
        "batch_size": options.batch_size[0],
        "num_texts": len(workload.texts),
        "mean_tokens": sum(map(len, workload.texts)) / len(workload.texts),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }
    cells, watch = batch_cells(workload.texts, options.batch_size, options.orders), LoadWatch()
    # Before the training steps: an opponent or an export that fails does so at the beginning.
    rows, replays = measure_all(workload, model or random_model(workload, options), cells, options, device, watch)
    if options.training:
        record |= time_steps(workload, options, device)
    record |= inference_record(rows) | replays | watch.load.to_flat()
    folder = make_folder(workload, options, options.architecture)
    folder.write_metrics(record)
    write_csv(folder.path / "benchmark.csv", [row.row() for row in rows])
    save_plot(grid_plot(rows, f"{workload.backbone.name}, {describe(device)}"), folder.path / "benchmark.png")
    of_cells = grid_record(rows)
    shown = [
        [name.replace("_", " "), value if isinstance(value, str) else f"{value:.4g}"]
        for name, value in record.items()
        if name not in of_cells and value is not None
    ]
    print_table("benchmark: medians; ratios are of this run", ["", "value"], shown)
    print_grid(rows)
    print_end(folder, watch, "benchmark")


def measure_quality(options: BenchmarkOptions, device: str) -> None:
    """Measure quality with nothing skipped, and keep the table and the record."""
    workload, model = load_workload(options, device)
    model = model or random_model(workload, options)
    with TemporaryDirectory() as place:
        exports = make_exports(workload, model, options, Path(place))
        precisions = sorted(options.numbers_of("torch"), key=lambda name: name != "float32")
        rows = measure_keep_all(model, workload, precisions, device, exports)
    folder, metric = make_folder(workload, options, "keep-all"), workload.task.metric_names[0]
    record = {"env": workload.preset.name, "backbone": workload.backbone.name, "num_texts": len(workload.texts)}
    folder.write_metrics(record | keep_all_record(rows, metric))
    print_keep_all(rows, metric)
    print(f"record: {folder.metrics_path}")


def time_steps(workload: Workload, options: BenchmarkOptions, device: str) -> dict[str, float]:
    """Measure training steps, in the first number format of torch."""
    dtype = cast(DType, options.numbers_of("torch")[0])
    encoder = workload.encoder(options.encoder.layers)
    settings = StepSettings(
        mask_fractions(encoder, options), options.encoder.layers, dtype, device, options.rounds, options.run.seed
    )
    record: dict[str, float] = {}
    for part in (time_environment, time_training, time_joint, time_sb3):
        record |= part(workload, settings)
    return record


def make_folder(workload: Workload, options: BenchmarkOptions, name: str) -> RunFolder:
    """Make the folder of the run."""
    folder = RunFolder.create(options.run.output_dir, options.data.env, "benchmark", name, options.run.seed)
    folder.write_config(options, {"data_source": workload.data_source, **workload.backbone.facts})
    return folder


def print_end(folder: RunFolder, watch: LoadWatch, name: str) -> None:
    """Say whether the machine was quiet, and where the files are."""
    load = watch.load
    if load.quiet:
        print(load.describe())
    else:
        announce(load.describe())
    print(f"record: {folder.metrics_path}\ntable: {folder.path / name}.csv\nplot: {folder.path / name}.png")


def main(options: BenchmarkOptions) -> None:
    """Clock times and ratios: stock transformers, packed keep-all, reduced, and training against the naive way."""
    device = str(resolve_device(options.run.device))
    for what in options.left_out:
        announce(f"--suite {options.suite} leaves out {what}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.keep_all is not None:
        measure_quality(options, device)
    elif options.lengths is not None:
        time_lengths(options, device)
    else:
        time_batches(options, device)


if __name__ == "__main__":
    run(main, BenchmarkOptions)
