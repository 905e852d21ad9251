"""Measure how much of the final answer each layer's states tell, and say where the cuts go."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from dataclasses import dataclass, field
from typing import Any

import torch

from runners.cli.display import announce
from runners.cli.flags import refuse_unused
from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions, resolve_device
from runners.cli.plots import line_plot, save_plot
from runners.cli.run import run
from runners.cli.tables import print_table
from runners.evaluation.layer_probe import LayerProbe, measured_cuts, probe_layers
from runners.runs.run_folder import RunFolder
from runners.training.loading import load_split
from trbert_env.data.backbones import move
from trbert_env.data.workload import Workload
from trbert_env.staged_model import StagedModel


@dataclass(frozen=True)
class ProbeOptions:
    """Options of a probe."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        refuse_unused(
            self,
            reduction_layers="it is what is looked for, leave it out",
            max_eval_texts="training texts are looked at, leave it out",
            max_train_texts="a fixed number is looked at, leave it out",
            dtype="it is measured in float32, leave it out",
        )


def report(probe: LayerProbe, workload: Workload, folder: RunFolder) -> None:
    """Print the table, and write plot and ``metrics.json``."""
    rows: list[list[Any]] = [
        [str(layer), divergence, 100 * share]
        for layer, (divergence, share) in enumerate(zip(probe.divergences, probe.told, strict=True), start=1)
    ]
    print_table(f"the answer behind each layer, {workload.preset.name}", ["layer", "divergence", "told, %"], rows)
    told = [(float(layer), 100 * share) for layer, share in enumerate(probe.told, start=1)]
    caption = f"{workload.preset.name} {workload.split}, backbone {Path(workload.backbone.name).name}"
    figure = line_plot(
        "what the states behind each layer tell", "layer", {"share of the answer, %": {"": told}}, caption
    )
    save_plot(figure, folder.path / "probe.png")
    folder.write_metrics(
        {
            "env": workload.preset.name,
            "split": workload.split,
            "data_source": workload.data_source,
            "backbone": workload.backbone.name,
            "prior_divergence": probe.prior,
            **{f"divergence_{layer}": value for layer, value in enumerate(probe.divergences, start=1)},
            **{f"told_{layer}": value for layer, value in enumerate(probe.told, start=1)},
            "reduction_layers": " ".join(map(str, measured_cuts(probe, workload.backbone.model.config))),
        }
    )
    print(f"record: {folder.metrics_path}\nplot: {folder.path / 'probe.png'}")


def main(options: ProbeOptions) -> None:
    """Measure how much of the final answer each layer's states tell, and say where the cuts go."""
    device = resolve_device(options.run.device)
    workload = load_split(options.data, options.encoder.backbone, "train")
    model = move(workload.backbone.model, device, torch.float32)
    probe = probe_layers(StagedModel(model, workload.task), workload.texts)
    place, env = options.run.output_dir, workload.preset.name
    folder = RunFolder.create(place, env, "probe", "layers", options.run.seed)
    folder.write_config(options, {"data_source": workload.data_source, **workload.backbone.facts})
    report(probe, workload, folder)
    layers = measured_cuts(probe, workload.backbone.model.config)
    announce(f"--reduction-layers {' '.join(map(str, layers))} cuts behind the layer that knows")


if __name__ == "__main__":
    run(main, ProbeOptions)
