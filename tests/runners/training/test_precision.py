"""Number formats and kernels of GPUs, as told by torch."""

from __future__ import annotations

import pytest
import torch

from runners.training.precision import training_dtype
from trbert_env.encoder import attention

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of a pretended GPU is remembered."""
    monkeypatch.setattr(attention, "_has_flash_attention", attention._has_flash_attention.__wrapped__)


@pytest.mark.parametrize(("major", "serves"), [(7, False), (8, True), (9, True)])
def test_gpus_before_ampere_take_neither_bfloat16_nor_flash_attention(
    major: int, serves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch says that they support bfloat16, which they emulate; a T4 has the capability 7.5."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or serves)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (major, 5))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    monkeypatch.setattr(attention, "_varlen_kernel", lambda: print)
    assert training_dtype("auto", CUDA) == ("bfloat16" if serves else "float32")
    assert attention.fits_varlen(CUDA, torch.float16, 64) is serves
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    assert not attention.fits_varlen(CUDA, torch.float16, 64)
