"""Which number format a job computes in."""

from __future__ import annotations

from typing import Literal

import torch

DType = Literal["float32", "bfloat16"]


def training_dtype(wanted: str, device: torch.device) -> DType:
    """Resolve ``"auto"`` for training: bfloat16 where the processor computes in it natively.

    Args:
        wanted: ``"auto"``, ``"float32"`` or ``"bfloat16"``.
        device: Device that the job runs on.
    """
    if wanted == "bfloat16":
        return "bfloat16"
    if wanted == "float32":
        return "float32"
    if device.type == "cuda":
        # Without emulation, which earlier GPUs offer, and which is slow.
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def evaluation_dtype(wanted: str) -> DType:
    """Resolve ``"auto"`` for evaluation: float32, so that metrics are exact."""
    return "bfloat16" if wanted == "bfloat16" else "float32"
