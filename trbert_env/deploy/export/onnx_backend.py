"""ONNX Runtime: ONNX files as they are, or with quantised matrix products; see :class:`.backends.Backend`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from trbert_env.deploy.export.backends import SMALL_PRODUCT, Arrays, Precision, plain

#: Its processor kernels have no bfloat16.
PRECISIONS: tuple[Precision, ...] = ("float32", "int8", "int8-dynamic")
#: A new shape costs it nothing.
WIDTH_STEP = 1
#: Products with weights are quantised; those of attention have none, and embeddings are looked up.
_QUANTISED: dict[str, Any] = {
    "op_types_to_quantize": ["MatMul", "Gemm"],
    "weight_type": QuantType.QInt8,
    "per_channel": True,
    "extra_options": {"MatMulConstBOnly": True},
}


def _small(source: Path) -> list[str]:
    """Names of the products that are too small to gain: heads of a few logits, features of a few columns."""
    graph = onnx.load(source).graph
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    return [
        node.name
        for node in graph.node
        if any(len(shapes.get(name, ())) == 2 and min(shapes[name]) < SMALL_PRODUCT for name in node.input)
    ]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands calibration inputs on, one at a time."""

    def __init__(self, inputs: Iterator[dict[str, npt.NDArray[Any]]]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """Return the next inputs; None behind the last."""
        return next(self._inputs, None)


def write(source: Path, target: Path, precision: Precision, calibration: Sequence[Arrays]) -> str:
    """Write a graph; see :meth:`.backends.Backend.write`."""
    path = target.with_suffix(".onnx")
    if precision == "float32":
        shutil.copyfile(source, path)
        return path.name
    with TemporaryDirectory() as made:
        prepared = Path(made) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        common = {**_QUANTISED, "nodes_to_exclude": _small(prepared)}
        if precision == "int8-dynamic":
            quantize_dynamic(prepared, path, **common)
        else:
            names = _names(onnxruntime.InferenceSession(str(prepared), providers=["CPUExecutionProvider"]))
            reader = _Reader({name: plain(inputs[name]) for name in names} for inputs in calibration)
            formats = {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt8}
            quantize_static(prepared, path, reader, **formats, **common)
    return path.name


def _names(session: Any) -> list[str]:
    """Names of the inputs that a graph reads."""
    return [value.name for value in session.get_inputs()]


class _Session:
    """A graph in ONNX Runtime."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = _names(self._session)
        self._outputs = [value.name for value in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run it; see :class:`.backends.Graph`."""
        found = self._session.run(self._outputs, {name: plain(inputs[name]) for name in self._inputs})
        return dict(zip(self._outputs, found, strict=True))


def load(path: Path, precision: Precision, threads: int) -> _Session:
    """Load a graph; see :meth:`.backends.Backend.load`."""
    return _Session(path, threads)
