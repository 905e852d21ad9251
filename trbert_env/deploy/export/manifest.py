"""The record beside exported graphs: what they are, and of which weights, so that a stale export is refused."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trbert_env.data.fingerprints import fingerprint, fingerprint_file
from trbert_env.encoder.families import LayerSize
from trbert_env.reduction.cost import CostModel

#: Name of the record.
MANIFEST = "export.json"
#: Name of the norms of the word embeddings, ``(vocabulary,)`` float32; there where the policy sees overlap.
NORMS = "embedding_norms.npy"
#: Version of graphs and record; a later one cannot be read by an earlier reader.
FORMAT = 1
#: Entries of a model's configuration that change no graph: how it decides, and what it is called.
_FREE = (
    "threshold",
    "keep_fractions",
    "trained_fractions",
    "speedups",
    "thresholds",
    "env",
    "backbone_name",
    "original_backbone",
    "original_fingerprint",
    "transformers_version",
)


@dataclass(frozen=True)
class Manifest:
    """Record of an export, which lies in its folder.

    Attributes:
        backend: Runtime that it is for.
        precision: Number format.
        unreduced: True for one graph of all layers, with nothing skipped.
        model: Fingerprint of the model; see :func:`fingerprint_folder`.
        graphs: Names of the T + 1 files.
        longest_sequence: Most tokens of a sequence.
        sees_overlap: True if the policy sees lexical overlap.
        cost: FLOPs of a pass.
    """

    backend: str
    precision: str
    unreduced: bool
    model: str
    graphs: tuple[str, ...]
    longest_sequence: int
    sees_overlap: bool
    cost: CostModel

    def write(self, folder: Path) -> None:
        """Write the record, which makes an export whole."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the record.

        Raises:
            FileNotFoundError: There is no export in the folder.
            ValueError: The record is damaged, or another version's.
        """
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            written = values.pop("format")
            if written == FORMAT:
                found = cls(**values | {"graphs": tuple(values["graphs"]), "cost": _cost(values["cost"])})
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{folder} holds no export: {_command(folder)}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}): export the model again, {_command(folder)}") from error
        if written != FORMAT:
            raise ValueError(f"{path} has format {written}, this version reads {FORMAT}: {_command(folder)}")
        return found

    def check_model(self, folder: Path, model_folder: Path) -> None:
        """Check that an export is of the model that it lies beside.

        Args:
            folder: Folder of the export.
            model_folder: Folder of the model.

        Raises:
            ValueError: The model has changed since.
        """
        if self.model != fingerprint_folder(model_folder):
            what = "other weights, or another configuration"
            raise ValueError(f"{folder} is of {what} than {model_folder} now has: {_command(folder)}")


def _cost(values: Mapping[str, Any]) -> CostModel:
    own = {"size": LayerSize(**values["size"]), "stage_depths": tuple(values["stage_depths"])}
    return CostModel(**{**values, **own})


def export_folder(model_folder: Path, backend: str, precision: str, unreduced: bool = False) -> Path:
    """Return where the export of a model lies: beside its weights.

    Example:
        >>> export_folder(Path("model"), "openvino", "int8").as_posix()
        'model/openvino/int8'
    """
    return model_folder / backend / (f"{precision}-unreduced" if unreduced else precision)


def fingerprint_folder(model_folder: Path) -> str:
    """Return the fingerprint of a saved model: its weights, and what of its configuration shapes the graphs.

    Args:
        model_folder: Folder of the model.
    """
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    shaping = {name: value for name, value in config.items() if name not in _FREE}
    weights = [fingerprint_file(path) for path in sorted(model_folder.glob("*.safetensors"))]
    return fingerprint([json.dumps(shaping, sort_keys=True).encode(), *(name.encode() for name in weights)])


def _command(folder: Path) -> str:
    """How to make an export that is missing."""
    unreduced = folder.name.endswith("-unreduced")
    precision = folder.name.removesuffix("-unreduced")
    model = shlex.quote(str(folder.parents[1]))
    return (
        f"make it by python runners/export.py --model {model} --backend {folder.parent.name} "
        f"--precision {precision}{' --unreduced' if unreduced else ''}"
    )
