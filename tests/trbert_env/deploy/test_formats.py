"""Number formats, quantisation, shards and uploads: what programs do with any model of transformers."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import EntryNotFoundError
from torch import nn

from trbert_env import TokenReducedModel

MakeShipped = Callable[..., Any]
MakeInputs = Callable[..., Any]


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.02), (torch.bfloat16, 0.15)])
def test_half_precision(
    kind: str, dtype: torch.dtype, tolerance: float, shipped: MakeShipped, padded: MakeInputs
) -> None:
    model, inputs = shipped(kind, threshold=0.0), padded(kind)
    expected = model(**inputs)
    half = copy.deepcopy(model).half() if dtype == torch.float16 else copy.deepcopy(model).bfloat16()
    for each in (half, copy.deepcopy(model).to(dtype)):
        assert {values.dtype for values in each.parameters()} == {dtype}
        for name, values in each(**inputs).items():
            assert values.dtype == torch.float32
            torch.testing.assert_close(values, expected[name], rtol=0, atol=tolerance)


@torch.no_grad()
def test_half_precision_is_saved_and_loaded(
    family: str, shipped: MakeShipped, padded: MakeInputs, tmp_path: Path
) -> None:
    model, inputs = shipped("classes", family).bfloat16(), padded("classes", family)
    model.save_pretrained(tmp_path)
    loaded = TokenReducedModel.from_pretrained(tmp_path)
    assert loaded.dtype == torch.bfloat16
    assert loaded(**inputs).logits.equal(model(**inputs).logits)
    assert TokenReducedModel.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_dynamic_quantisation(kind: str, family: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    # All tokens are kept: a policy may decide otherwise on rounded states, which says nothing of the rounding.
    model, inputs = shipped(kind, family, threshold=0.0), padded(kind, family)
    expected = model(**inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    assert not any(type(part) is nn.Linear for part in quantised.modules())
    for name, values in quantised(**inputs).items():
        there = torch.isfinite(expected[name])
        spread = expected[name][there].std()
        torch.testing.assert_close(values[there], expected[name][there], rtol=0, atol=float(spread))
    quantised.threshold = 0.5
    quantised(**inputs)
    assert model.threshold == 0.0


@torch.no_grad()
def test_copies_and_pickles_are_whole(kind: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = shipped(kind), padded(kind)
    expected = model(**inputs)[0]
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other(**inputs)[0].equal(expected)
        other.backbone.base_model.get_input_embeddings().weight.zero_()
        assert not other(**inputs)[0].equal(expected)
    assert model(**inputs)[0].equal(expected)


def test_shards(shipped: MakeShipped, tmp_path: Path) -> None:
    model = shipped("classes")
    model.save_pretrained(tmp_path, max_shard_size="1MB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    loaded = TokenReducedModel.from_pretrained(tmp_path)
    assert all(values.equal(model.state_dict()[name]) for name, values in loaded.state_dict().items())
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(FileNotFoundError, match="lacks the shard model-0000"):
        TokenReducedModel.from_pretrained(tmp_path)


def test_an_upload_is_a_folder_that_loads(
    shipped: MakeShipped, padded: MakeInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is a folder here: what would be committed is written to it."""

    def commit(self: HfApi, repo_id: str, operations: Any, **options: Any) -> str:
        for operation in operations:
            content = Path(operation.path_or_fileobj).read_bytes()
            (tmp_path / operation.path_in_repo).write_bytes(content)
        return f"hub/{repo_id}"

    def no_card(*arguments: Any, **options: Any) -> ModelCard:
        raise EntryNotFoundError("a new repository")

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **options: SimpleNamespace(repo_id=repo_id))
    monkeypatch.setattr(HfApi, "create_commit", commit)
    monkeypatch.setattr(ModelCard, "load", no_card)
    model, inputs = shipped("questions"), padded("questions")
    assert model.push_to_hub("someone/faster") == "hub/someone/faster"
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    with torch.no_grad():
        loaded = TokenReducedModel.from_pretrained(tmp_path)
        assert loaded(**inputs).start_logits.equal(model(**inputs).start_logits)


@torch.no_grad()
def test_a_compiled_model_is_the_model(kind: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise AssertionError("a graph of packed sequences was to be compiled")

    model, inputs = shipped(kind), padded(kind)
    compiled: Any = torch.compile(model, backend=backend)
    for _ in range(2):
        assert compiled(**inputs)[0].equal(model(**inputs)[0])


def test_a_model_without_values_is_placed(family: str, shipped: MakeShipped) -> None:
    emptied = shipped("classes", family).to("meta").to_empty(device="cpu")
    assert {values.device.type for values in (*emptied.parameters(), *emptied.buffers())} == {"cpu"}
