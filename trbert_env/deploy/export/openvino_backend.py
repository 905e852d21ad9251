"""OpenVINO: its own files, with products quantised by NNCF where that is asked for; see :class:`.backends.Backend`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import openvino

from trbert_env.deploy.export.backends import SMALL_PRODUCT, TENSORS, Arrays, Precision, plain

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "int8-dynamic")
#: It builds kernels for each new shape, which takes several times as long as to run them.
WIDTH_STEP = 16


def write(source: Path, target: Path, precision: Precision, calibration: Sequence[Arrays]) -> str:
    """Write a graph; see :meth:`.backends.Backend.write`. bfloat16 is a way to run the float32 graph."""
    model = _read(source)
    if precision == "int8":
        model = _quantised(model, calibration)
    elif precision == "int8-dynamic":
        model = _nncf().compress_weights(model, ignored_scope=_small(model))
    path = target.with_suffix(".xml")
    openvino.save_model(model, path, compress_to_fp16=False)
    return path.name


def _read(source: Path) -> Any:
    """A graph, fused as ``openvino.convert_model`` fuses it.

    That one forks a process at each call to report it to a server; what else it does concerns older formats, names, and
    weights that come quantised.
    """
    from openvino._offline_transformations import apply_moc_transformations

    model = openvino.Core().read_model(source)
    apply_moc_transformations(model, cf=False, smart_reshape=True)
    return model


def _quantised(model: Any, calibration: Sequence[Arrays]) -> Any:
    """A graph whose activations have scales that fit the calibration inputs."""
    nncf = _nncf()
    names = _names(model.inputs)
    data = nncf.Dataset([{name: plain(inputs[name]) for name in names} for inputs in calibration])
    return nncf.quantize(
        model,
        data,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(calibration),
        ignored_scope=_small(model),
    )


def _names(values: Sequence[Any]) -> list[str]:
    """Names of inputs or outputs; where nothing happens to a value, it has the names of others too."""
    return [next(iter(TENSORS & value.get_names())) for value in values]


def _small(model: Any) -> Any:
    """The products that are too small to gain: heads of a few logits, features of a few columns."""
    names = [
        operation.get_friendly_name()
        for operation in model.get_ops()
        if operation.get_type_name() == "MatMul"
        and any(
            value.get_node().get_type_name() == "Constant" and min(value.get_shape()) < SMALL_PRODUCT
            for value in operation.input_values()
        )
    ]
    return _nncf().IgnoredScope(names=names)


def _nncf() -> Any:
    """The package that quantises; loaded where it is needed, for that takes seconds."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


class _Compiled:
    """A graph in OpenVINO."""

    def __init__(self, path: Path, precision: Precision, threads: int) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        }
        if precision == "int8-dynamic":
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(2**32 - 1)  # a scale for each row
        compiled = openvino.Core().compile_model(path, "CPU", settings)
        self._inputs, self._outputs = _names(compiled.inputs), _names(compiled.outputs)
        self._compiled, self._requests = compiled, threading.local()

    def __call__(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run it; see :class:`.backends.Graph`."""
        given = [plain(inputs[name]) for name in self._inputs]
        found = self._request().infer(given, share_inputs=True, share_outputs=True)
        return {name: found[number] for number, name in enumerate(self._outputs)}

    def _request(self) -> Any:
        """The calling thread's own request: its buffers are those of its results."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        return self._requests.own


def load(path: Path, precision: Precision, threads: int) -> _Compiled:
    """Load a graph; see :meth:`.backends.Backend.load`."""
    return _Compiled(path, precision, threads)
