"""Passes over a split fit into the memory that there is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trbert_env.encoder.batching import pass_rows


@pytest.mark.parametrize(("gibibytes", "rows"), [(139, 512), (40, 512), (23.6, 384), (15.8, 256), (7.9, 128), (2, 64)])
def test_texts_of_a_pass_follow_the_memory_of_a_gpu(
    gibibytes: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(total_memory=int(gibibytes * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    assert pass_rows("cuda") == rows
    assert pass_rows("cpu") == 64
