"""Sides of a benchmark: a model in torch, its exports, and other trained systems that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from baselines.saving import is_system, load_system
from runners.cli.display import announce
from runners.cli.run import UserError
from runners.evaluation.grid import Side
from runners.evaluation.timing import model_systems, timed_model
from runners.runs.models import load_model
from trbert_env.data.backbones import move
from trbert_env.data.checkpoints import model_folder
from trbert_env.data.workload import Workload
from trbert_env.deploy.export.backends import BackendName, Precision, backend_of, missing_packages
from trbert_env.deploy.export.export import export_model
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.deploy.replay import ReplayedSystem, replay_refusal
from trbert_env.encoder.texts import EncodedText
from trbert_env.system import ReducedSystem, StockSystem, System

#: Runtimes that a model is exported for.
EXPORT_BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
#: Number formats that torch has linear layers in.
TORCH_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def precisions_of(backend: str) -> tuple[Precision, ...]:
    """Return the number formats of a runtime.

    Args:
        backend: ``"torch"`` or a backend of exports.

    Raises:
        ValueError: It is not installed.
    """
    return TORCH_PRECISIONS if backend == "torch" else backend_of(backend).PRECISIONS


def installed_backends() -> tuple[BackendName, ...]:
    """Return the backends of exports whose packages are installed."""
    return tuple(name for name in EXPORT_BACKENDS if not missing_packages(name))


def side_name(kind: str, backend: str, precision: str, plain: str) -> str:
    """Return the name of a side in records; torch in the first number format needs no addition.

    Args:
        kind: Kind of system.
        backend: Runtime.
        precision: Number format.
        plain: The first number format of torch.

    Example:
        >>> side_name("reduced", "torch", "float32", "float32"), side_name("reduced", "onnx", "int8-dynamic", "float32")
        ('reduced', 'reduced_onnx_int8_dynamic')
    """
    if backend == "torch":
        return kind if precision == plain else f"{kind}_{precision}"
    return f"{kind}_{backend}_{precision}".replace("-", "_")


def torch_sides(
    model: TokenReducedModel, precisions: Sequence[Precision], device: str, replayed: bool = False
) -> list[Side]:
    """Return stock transformers, on a CPU also with our linear layers, packed keep-all and the model itself.

    Args:
        model: The model; left as it is.
        precisions: Number formats, all of torch.
        device: Device to compute on.
        replayed: True for the model with recorded passes too, which is announced where it cannot be replayed; see
            :mod:`trbert_env.deploy.replay`.
    """
    found = []
    for precision in precisions:
        placed = timed_model(model, model.decision, getattr(torch, precision), device)
        placed.requires_grad_(False)  # as before serving: see trbert_env/encoder/linear.py
        systems = model_systems(placed)
        if device == "cpu":  # elsewhere its linear layers are stock ones
            systems["stock_linear"] = StockSystem(placed.backbone, placed.task, faster_linear=True)
        if replayed and (refusal := replay_refusal(placed)) is not None:
            announce(f"no replayed passes in {precision}: {refusal}")
        elif replayed:
            systems["replayed"] = ReplayedSystem(placed)
        found += [_torch_side(kind, precision, system, precisions) for kind, system in systems.items()]
    return found


def replay_record(sides: Sequence[Side]) -> dict[str, int]:
    """Return how many batches were replayed, and how many did not fit and ran eagerly.

    Args:
        sides: Sides, after they were measured.
    """
    record: dict[str, int] = {}
    for side in sides:
        if isinstance(side.system, ReplayedSystem):
            found = side.system
            record |= {f"{side.name}_batches": found.replays, f"{side.name}_overflows": found.overflows}
    return record


def export_sides(
    model: TokenReducedModel,
    backend: BackendName,
    precisions: Sequence[Precision],
    place: Path,
    texts: Sequence[EncodedText],
) -> list[Side]:
    """Return a model's exports, unreduced and reduced.

    Args:
        model: The model; left as it is.
        backend: Runtime.
        precisions: Number formats, all of the runtime.
        place: Folder to export into, in which the model is saved.
        texts: Training texts that int8 fits scales to.
    """
    found = []
    for precision in precisions:
        for kind in ("unreduced", "reduced"):
            full = kind == "unreduced"
            announce(f"exporting the {kind} model: {backend} {precision}")
            export_model(place, backend, precision, texts=texts if precision == "int8" else (), unreduced=full)
            exported = ExportedModel.from_pretrained(place, backend, precision, unreduced=full)
            system = ReducedSystem(exported, model.decision, exported.name)
            found.append(Side(kind, backend, precision, system, side_name(kind, backend, precision, "")))
    return found


def opponent_sides(
    paths: Sequence[Path], workload: Workload, precisions: Sequence[Precision], device: str
) -> list[Side]:
    """Return other trained systems on the same texts.

    Args:
        paths: Folders of runs or of models: compared systems, or token-reduced models.
        workload: Texts that are timed; a system must read them with the same tokenizer, for the same task.
        precisions: Number formats, all of torch.
        device: Device to compute on.

    Raises:
        UserError: A system is of another data set, task or tokenizer, or has the name of another one.
    """
    found: list[Side] = []
    for path in paths:
        for precision in precisions:
            kind, system = _load_opponent(path, workload, precision, device)
            side = _torch_side(kind, precision, system, precisions)
            if side.name in [other.name for other in found]:
                raise UserError(f"--opponents names two systems of the name {kind!r}: leave {path} out")
            found.append(side)
    return found


def _torch_side(kind: str, precision: Precision, system: System, precisions: Sequence[Precision]) -> Side:
    return Side(kind, "torch", precision, system, side_name(kind, "torch", precision, precisions[0]))


def _load_opponent(path: Path, workload: Workload, precision: Precision, device: str) -> tuple[str, System]:
    """Name and system of a folder, in a number format."""
    dtype, folder = getattr(torch, precision), Path(model_folder(str(path)))
    system: System
    if is_system(folder):
        compared, backbone, record = load_system(folder)
        compared.settle()
        if compared.cost_note is not None:
            announce(compared.cost_note)
        compared.to(device).requires_grad_(False)
        move(compared.model, device, dtype)
        system, kind, env = compared, record.system.replace("-", "_"), record.env
    else:
        model, backbone = load_model(path, device)
        placed = timed_model(model, model.decision, dtype, device)
        placed.requires_grad_(False)
        system, kind, env = ReducedSystem(placed), f"opponent_{path.resolve().name}", model.config.env
    if env != workload.preset.name or type(system.task) is not type(workload.task):
        raise UserError(f"--opponents {path} was trained for {env}: give systems that were for {workload.preset.name}")
    if backbone.tokenizer.get_vocab() != workload.backbone.tokenizer.get_vocab():
        raise UserError(f"--opponents {path} has another vocabulary than the model: give systems that share it")
    return kind, system
