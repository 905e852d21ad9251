"""Where the cuts go when nobody says so: behind the layer that knows the answer, measured once and remembered."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from runners.cli.display import announce
from runners.cli.options import EncoderOptions
from runners.evaluation.layer_probe import LayerProbe, measured_cuts, probe_layers
from runners.runs.files import write_json
from trbert_env.data.backbones import move
from trbert_env.data.cache import cache_folder, check_cache
from trbert_env.data.workload import Workload
from trbert_env.staged_model import StagedModel


def settled_layers(encoder: EncoderOptions, workload: Workload, device: torch.device) -> EncoderOptions:
    """Return the options with the cuts named, measured on training texts where they are ``auto``.

    Args:
        encoder: The group of options.
        workload: The training texts, with a fine-tuned encoder.
        device: Device to measure on.

    Raises:
        ValueError: There are too few texts to measure on.
    """
    if encoder.layers is not None:
        return encoder
    probe = remembered_probe(workload, device)
    layers = measured_cuts(probe, workload.backbone.model.config)
    shares = ", ".join(f"{100 * max(share, 0.0):.0f}" for share in probe.told)
    announce(
        f"--reduction-layers {' '.join(map(str, layers))}: layers 1 to {len(probe.told)} tell {shares} % of the "
        "answer; the last cut goes behind the first that tells half"
    )
    return replace(encoder, reduction_layers=layers)


def remembered_probe(workload: Workload, device: torch.device) -> LayerProbe:
    """Measure what each layer tells, or take it from an earlier call for the same encoder and texts.

    Args:
        workload: The training texts, with a fine-tuned encoder.
        device: Device to measure on.

    Raises:
        OSError: The cache cannot be written.
        ValueError: There are too few texts to measure on.
    """
    path = _place(workload)
    if path.exists():
        values = json.loads(path.read_text(encoding="utf-8"))
        return LayerProbe(tuple(values["divergences"]), values["prior"])
    check_cache(path)
    model = move(copy.deepcopy(workload.backbone.model), device, torch.float32).eval()
    probe = probe_layers(StagedModel(model, workload.task), workload.texts)
    write_json(path, asdict(probe))
    return probe


def _place(workload: Workload) -> Path:
    found = workload.fingerprints
    return cache_folder() / "layers" / f"{found['encoder_fingerprint']}-{found['texts_fingerprint']}.json"
