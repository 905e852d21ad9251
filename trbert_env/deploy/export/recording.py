"""What enters a graph on given texts, for runtimes that fit scales of activations to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trbert_env.deploy.export.backends import Arrays, Graph


class RecordingGraph:
    """A graph that keeps what it is given.

    Args:
        graph: Graph to run.

    Attributes:
        inputs: Inputs of each call.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.inputs: list[Arrays] = []

    def __call__(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph; see :class:`.backends.Graph`."""
        self.inputs.append({name: np.array(values) for name, values in inputs.items()})
        return self._graph(inputs)
