"""What a process has set around a model changes nothing: default formats and devices, ids of 32 bits, no home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from trbert_env.data import cache
from trbert_env.encoder import kernels
from trbert_env.encoder.packing import Layout, PackedTokens, restore_text_order

DEFAULTS = ("bfloat16", "float64", "meta")


@contextmanager
def default(name: str) -> Iterator[None]:
    """Set another default format, or another default device: any tensor made there by mistake has no values."""
    if name == "meta":
        with torch.device("meta"):
            yield
        return
    torch.set_default_dtype(getattr(torch, name))
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@torch.no_grad()
@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "deberta-v2", "modernbert"])
def test_defaults_of_torch_do_not_count(family: str, name: str, shipped: Any, padded: Any) -> None:
    if (family, name) == ("deberta-v2", "meta"):
        pytest.skip("stock DeBERTa makes tensors on the default device")
    models = [shipped("questions", family, threshold=0.5), shipped("questions", family, (1.5, 3), threshold=0.5)]
    inputs = padded("questions", family)
    alone = {name: values[:1] for name, values in inputs.items()}
    expected = [model(**given).to_tuple() for model in models for given in (inputs, alone)]
    with default(name):
        found = [model(**given).to_tuple() for model in models for given in (inputs, alone)]
    for one, other in zip(found, expected, strict=True):
        assert all(part.equal(wanted) for part, wanted in zip(one, other, strict=True))


@pytest.mark.parametrize("name", DEFAULTS)
def test_layouts_stay_where_they_are_kept(name: str) -> None:
    layout = Layout.from_lengths([2, 3, 1], [2, 1])
    expected, index = layout.expand(2)
    with default(name):
        found, again = Layout.from_lengths([2, 3, 1], [2, 1]).expand(2)
        states, stops = restore_text_order([PackedTokens(index.float()[:, None], found)])
    assert again.equal(index)
    for part in ("text_index", "positions", "sequence_lengths", "sequences_per_text", "text_lengths"):
        assert getattr(found, part).equal(getattr(expected, part)), part
    assert states.squeeze(1).equal(index.float())
    assert not stops.any()


@torch.no_grad()
def test_ids_of_32_bits_are_ids(kind: str, shipped: Any, padded: Any) -> None:
    model, inputs = shipped(kind), padded(kind)
    found = model(**{name: values.int() for name, values in inputs.items()}).to_tuple()
    assert all(part.equal(wanted) for part, wanted in zip(found, model(**inputs).to_tuple(), strict=True))


@torch.no_grad()
def test_without_a_home_the_faster_library_is_measured_each_time(
    shipped: Any, padded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TRBERT_CACHE", raising=False)
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    monkeypatch.setattr(cache.Path, "home", no_home)
    kernels.linear_library.cache_clear()
    assert shipped("classes")(**padded("classes")).logits.isfinite().all()
    kernels.linear_library.cache_clear()
    with pytest.raises(OSError, match="no home directory to keep a cache in: set TRBERT_CACHE to a folder"):
        cache.cache_folder()
