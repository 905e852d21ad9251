"""Float64 on every device: where one has none, on the CPU."""

from __future__ import annotations

from torch import Tensor

#: Kinds of device that have no float64: Apple's GPUs.
WITHOUT_FLOAT64 = frozenset({"mps"})


def in_float64(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on its device or on the CPU.

    Args:
        tensor: Any numbers.
    """
    return (tensor.cpu() if tensor.device.type in WITHOUT_FLOAT64 else tensor).double()
