"""A trained compared system on the disk: a stock task model, with ``system.json`` and weights of its own beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from baselines.base import ComparedSystem, Reference
from baselines.registry import system_class
from trbert_env.data.backbones import Backbone, load_backbone_from
from trbert_env.tasks import task_name, task_of

#: File that tells a compared system's folder from that of an encoder.
FILE = "system.json"
#: File of the weights that a stock task model has no place for; there is none where a system has none.
OWN_WEIGHTS = "system.safetensors"


@dataclass(frozen=True)
class SystemRecord:
    """What ``system.json`` says.

    Attributes:
        system: Name of the system.
        settings: Settings of the system; see :attr:`~baselines.base.ComparedSystem.settings`.
        reference: Sizes of the unreduced encoder.
        env: Name of the data set that it was trained for.
        task: Kind of task, a key of :data:`trbert_env.tasks.TASKS`.
        task_settings: Settings of the task.
        original: Folder or hub name of the unreduced encoder.
        original_fingerprint: Fingerprint of the unreduced encoder.
    """

    system: str
    settings: dict[str, Any]
    reference: dict[str, Any]
    env: str
    task: str
    task_settings: dict[str, Any]
    original: str
    original_fingerprint: str

    @classmethod
    def of(cls, system: ComparedSystem[Any], env: str, original: str, fingerprint: str) -> SystemRecord:
        """Return the record of a trained system.

        Args:
            system: The system.
            env: Name of the data set.
            original: Folder or hub name of the unreduced encoder.
            fingerprint: Fingerprint of the unreduced encoder.
        """
        task = system.task
        return cls(
            system.title, system.settings, asdict(system.compared_with), env, task_name(task), task.settings,
            original, fingerprint,
        )  # fmt: skip


def save_system(
    system: ComparedSystem[Any], tokenizer: PreTrainedTokenizerBase, folder: Path, record: SystemRecord
) -> None:
    """Write a trained system into a folder.

    Args:
        system: The system.
        tokenizer: Its tokenizer.
        folder: Folder that is there.
        record: Record that is written beside the weights.
    """
    system.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    own = {name: values.detach().cpu().contiguous() for name, values in system.own_weights.items()}
    if own:
        save_file(own, folder / OWN_WEIGHTS)
    (folder / FILE).write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def is_system(folder: Path) -> bool:
    """Tell whether a folder holds a compared system.

    Args:
        folder: The folder.
    """
    return (folder / FILE).is_file()


def load_system(folder: str | Path) -> tuple[ComparedSystem[Any], Backbone, SystemRecord]:
    """Load a trained system, its model as a backbone, and what was written beside it.

    Args:
        folder: A folder that :func:`save_system` wrote.

    Raises:
        ValueError: The record or the system's own weights are damaged, or it is an unknown system.
        FileNotFoundError: The model is missing.
    """
    folder = Path(folder)
    path = folder / FILE
    try:
        record = SystemRecord(**json.loads(path.read_text(encoding="utf-8")))
        reference = Reference(**record.reference)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): restore it, or train the system again") from error
    task = task_of(record.task, record.task_settings)
    backbone = load_backbone_from(str(folder), task, f"{record.system} of {reference.name}")
    try:
        own = load_file(folder / OWN_WEIGHTS) if (folder / OWN_WEIGHTS).exists() else {}
        system = system_class(record.system).restore(backbone.model, task, record.settings, reference, own)
    except (TypeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder} is damaged ({error}): restore it, or train the system again") from error
    return system.eval(), backbone, record
