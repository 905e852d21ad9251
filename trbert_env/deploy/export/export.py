"""From a saved model to graphs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch
from torch import nn

from trbert_env.deploy.export.backends import Arrays, Backend, Precision, backend_of, check_precision
from trbert_env.deploy.export.graphs import StageGraph, stages_of, write_onnx
from trbert_env.deploy.export.manifest import NORMS, Manifest, export_folder, fingerprint_folder
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.deploy.export.recording import RecordingGraph
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.positions import longest_sequence
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.folders import replacing_folder
from trbert_env.reduction.cost import CostModel


def export_model(
    model_folder: str | Path,
    backend: str,
    precision: str = "float32",
    *,
    texts: Sequence[EncodedText] = (),
    unreduced: bool = False,
) -> Path:
    """Export a saved model for another runtime, into a folder beside its weights.

    Args:
        model_folder: Folder of a token-reduced model.
        backend: ``"onnx"`` for ONNX Runtime, or ``"openvino"``.
        precision: Number format, one that the backend has.
        texts: Training texts that ``"int8"`` fits the scales of activations to; about a hundred do.
        unreduced: True to export the model's encoder and head with nothing skipped, to compare with.

    Returns:
        The folder, as :meth:`TokenReducedModel.from_pretrained` finds it.

    Raises:
        ValueError: The backend is unknown or not installed, it does not have the number format, or texts are missing
            where these are needed; or the encoder's family cannot be exported.
        FileNotFoundError: There is no model in the folder.

    Example:
        >>> export_model("runs/SQuAD2/.../model", "openvino")  # doctest: +SKIP
    """
    model_folder = Path(model_folder)
    target, found = backend_of(backend), check_precision(backend, precision)
    if (found == "int8") != bool(texts):
        needs = "needs texts to fit scales to: give some" if found == "int8" else "fits no scales: leave texts out"
        raise ValueError(f"precision {precision!r} {needs}")
    # In float32, whatever format it was saved in: that of the export is the precision.
    model = TokenReducedModel.from_pretrained(model_folder, dtype=torch.float32)
    model.eval()
    if (refusal := export_refusal(model)) is not None:
        raise ValueError(refusal)
    manifest = Manifest(
        backend,
        found,
        unreduced,
        fingerprint_folder(model_folder),
        (),
        longest_sequence(model.backbone),
        model.policy.overlap and not unreduced,
        _cost(model, unreduced),
    )
    folder = export_folder(model_folder, backend, precision, unreduced)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as partial:  # what a server loads at its next start stays until all is there
        if manifest.sees_overlap:
            np.save(partial / NORMS, _embedding_norms(model))
        names = _write_graphs(model, manifest, target, partial, texts)
        replace(manifest, graphs=tuple(names)).write(partial)
    return folder


def export_refusal(model: TokenReducedModel) -> str | None:
    """Return why a model cannot be exported, and what to do instead; None where it can be.

    Args:
        model: The model.
    """
    if not model.encoder.family.reads_positions:
        return None
    return (
        f"family '{model.backbone.config.model_type}' cannot be exported (its layers read where tokens stood, "
        "which exported stages are not told): run the model in torch"
    )


def _cost(model: TokenReducedModel, unreduced: bool) -> CostModel:
    """What a pass costs; of the unreduced model, all layers on all tokens."""
    cost = model.cost
    return replace(cost, stage_depths=(cost.num_layers,), policy_flops=0) if unreduced else cost


def _embedding_norms(model: TokenReducedModel) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """``(vocabulary,)`` float32; see :func:`~trbert_env.reduction.overlap.lexical_overlap`."""
    table = cast(nn.Embedding, model.backbone.get_input_embeddings()).weight.detach()
    norms: np.ndarray[tuple[int], np.dtype[np.float32]] = torch.linalg.vector_norm(table.float(), dim=1).numpy()
    return norms


def _write_graphs(
    model: TokenReducedModel, manifest: Manifest, target: Backend, folder: Path, texts: Sequence[EncodedText]
) -> list[str]:
    """Write the graphs and return the names of their files."""
    precision = cast(Precision, manifest.precision)
    with TemporaryDirectory() as made:
        sources = []
        for number, stage in enumerate(stages_of(model, manifest.unreduced)):
            sources.append(Path(made) / f"stage_{number}.onnx")
            write_onnx(StageGraph(model, stage), sources[-1])
        calibration = _calibration(model, manifest, target, sources, folder, texts) if texts else [[]] * len(sources)
        return [
            target.write(source, folder / source.stem, precision, inputs)
            for source, inputs in zip(sources, calibration, strict=True)
        ]


def _calibration(
    model: TokenReducedModel,
    manifest: Manifest,
    target: Backend,
    sources: Sequence[Path],
    folder: Path,
    texts: Sequence[EncodedText],
) -> list[list[Arrays]]:
    """What enters each graph on the texts, one at a time and so without padding, with float32 graphs."""
    graphs = []
    with TemporaryDirectory() as made:
        for source in sources:
            name = target.write(source, Path(made) / source.stem, "float32", ())
            graphs.append(RecordingGraph(target.load(Path(made) / name, "float32", torch.get_num_threads())))
        norms = np.load(folder / NORMS, allow_pickle=False) if manifest.sees_overlap else None
        exported = ExportedModel(model.config, Path(str(model.name_or_path)), manifest, graphs, norms)
        for text in texts:
            exported.forward_packed(TextBatch.from_texts([text]))
    return [graph.inputs for graph in graphs]
