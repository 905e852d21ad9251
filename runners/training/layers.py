"""Where the cuts go when nobody says so: behind the layer that knows the answer, measured once and remembered.

For great speed-ups they lie half a layer earlier: what runs before the first cut would leave too little to the rest.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from agents.policy_agent import PolicyAgentOptions
from runners.cli.display import announce
from runners.cli.options import EncoderOptions
from runners.evaluation.layer_probe import LayerProbe, measured_cuts, probe_layers
from runners.evaluation.matching import fractions_speedup, full_layout
from runners.runs.files import write_json
from runners.training.reach import priced_shape
from trbert_env.data.backbones import move
from trbert_env.data.cache import cache_folder, check_cache
from trbert_env.data.workload import Workload
from trbert_env.staged_model import StagedModel

#: Where the first cut would keep a smaller share of the tokens, all cuts lie half a layer earlier (RESULTS.md, 3).
LEAST_KEPT = 1 / 3


@dataclass(frozen=True)
class WantedSpeed:
    """What the cuts must serve.

    Attributes:
        speedup: The FLOPs speed-up.
        agent: Options of the policy, which say how keep fractions are bent to it.
    """

    speedup: float
    agent: PolicyAgentOptions


def settled_layers(
    encoder: EncoderOptions,
    workload: Workload,
    device: torch.device,
    wanted: WantedSpeed | None = None,
    practice: Workload | None = None,
) -> EncoderOptions:
    """Return the options with the cuts named, measured where they are ``auto``.

    Args:
        encoder: The group of options.
        workload: The training texts, with a fine-tuned encoder; the cost of a speed-up is theirs.
        device: Device to measure on.
        wanted: The speed-up that is trained for; None where none is named.
        practice: Texts to measure on in place of the training texts, whose answers early layers of an encoder that has
            memorised them seem to tell; they need no labels.

    Raises:
        ValueError: There are too few texts to measure on.
    """
    if encoder.layers is not None:
        return encoder
    probe = remembered_probe(workload if practice is None else practice, device)
    layers: tuple[float, ...] = measured_cuts(probe, workload.backbone.model.config)
    shares = ", ".join(f"{100 * max(share, 0.0):.0f}" for share in probe.told)
    why = "the last cut goes behind the first that tells half"
    if wanted is not None and keeps_too_little(layers, workload, wanted):
        layers = tuple(layer - 0.5 for layer in layers)
        why += f", and all lie half a layer earlier, for {wanted.speedup:g}x would else leave too few tokens"
    announce(
        f"--reduction-layers {' '.join(map(str, layers))}: layers 1 to {len(probe.told)} tell {shares} % of the "
        f"answer; {why}"
    )
    return replace(encoder, reduction_layers=layers)


def keeps_too_little(layers: Sequence[float], workload: Workload, wanted: WantedSpeed) -> bool:
    """Return whether a speed-up leaves less than :data:`LEAST_KEPT` of the tokens behind the first cut.

    Args:
        layers: The cuts.
        workload: Texts that the cost is worked out on, and the encoder.
        wanted: The speed-up.
    """
    shape, cost = priced_shape(workload, layers, wanted.agent)
    if shape[0] == 1.0:  # nothing is to stop there
        return False
    power = math.log(LEAST_KEPT) / math.log(shape[0])
    least = [fraction**power for fraction in shape]
    return fractions_speedup(least, cost, full_layout(workload.texts)) < wanted.speedup


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
