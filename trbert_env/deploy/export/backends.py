"""The runtimes that a model is exported for, by name, and what each of them has to offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
import numpy.typing as npt

#: A number format: int8 has the scales of its activations from calibration texts, int8-dynamic from each call.
Precision = Literal["float32", "bfloat16", "int8", "int8-dynamic"]
#: A runtime.
BackendName = Literal["onnx", "openvino"]
#: Arrays by the names of :mod:`trbert_env.deploy.export.graphs`.
Arrays = Mapping[str, npt.NDArray[Any]]

#: Names of all inputs and outputs of graphs.
TENSORS = frozenset(
    {"input_ids", "token_type_ids", "states", "attention_mask", "overlap", "skipped_share"}
    | {"last_states", "keep_logits", "logits"}
)
#: Products with a weight that has fewer rows or columns stay in float32: quantising their inputs costs more.
SMALL_PRODUCT = 16

_MODULES: dict[str, str] = {
    "onnx": "trbert_env.deploy.export.onnx_backend",
    "openvino": "trbert_env.deploy.export.openvino_backend",
}
#: Packages of each backend's extra.
_NEEDS: dict[str, tuple[str, ...]] = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino", "nncf")}


class Graph(Protocol):
    """A stage that runs."""

    def __call__(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run it.

        Args:
            inputs: Arrays by name; those that the graph does not read are left out of account.

        Returns:
            Outputs by name; they may change with the next call.
        """


class Backend(Protocol):
    """A module that makes files of ONNX files, and runs them."""

    #: Number formats that it has.
    PRECISIONS: tuple[Precision, ...]
    #: Widths are padded to multiples of it; 1 for any.
    WIDTH_STEP: int

    def write(self, source: Path, target: Path, precision: Precision, calibration: Sequence[Arrays]) -> str:
        """Write a graph in a number format.

        Args:
            source: ONNX file in float32.
            target: Path to write to, without the ending.
            precision: Number format, one of ``PRECISIONS``.
            calibration: Inputs of the graph on calibration texts; only ``"int8"`` reads them.

        Returns:
            Name of the file that :meth:`load` reads.
        """

    def load(self, path: Path, precision: Precision, threads: int) -> Graph:
        """Load a graph.

        Args:
            path: File that :meth:`write` named.
            precision: Number format that it was written in.
            threads: Threads to compute with.
        """


def missing_packages(name: str) -> tuple[str, ...]:
    """Return the packages of a backend that are not installed.

    Args:
        name: A key of :data:`BackendName`.
    """
    return tuple(package for package in _NEEDS[name] if find_spec(package) is None)


def backend_of(name: str) -> Backend:
    """Return a backend.

    Args:
        name: One of :data:`BackendName`.

    Raises:
        ValueError: There is none of that name, or its packages are not installed.
    """
    if name not in _MODULES:
        raise ValueError(f"backend {name!r}: give one of {', '.join(get_args(BackendName))}")
    if missing := missing_packages(name):
        raise ValueError(
            f"backend {name!r} needs {', '.join(missing)}, not installed here: pip install 'trbert-env[{name}]'"
        )
    return cast(Backend, import_module(_MODULES[name]))


def check_precision(name: str, precision: str) -> Precision:
    """Return a number format that a backend has.

    Args:
        name: One of :data:`BackendName`.
        precision: Number format.

    Raises:
        ValueError: The backend does not have it.
    """
    known = backend_of(name).PRECISIONS
    if precision not in known:
        raise ValueError(f"precision {precision!r}: backend {name!r} has {', '.join(known)}")
    return precision


def plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as runtimes take it: one piece of memory."""
    return np.ascontiguousarray(array)
