"""What is already loaded is wrapped by a policy that was trained for it, and by no other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from trbert_env import TokenReducedModel, accelerate

MakeShipped = Callable[..., Any]
MakeInputs = Callable[..., Any]
FolderOf = Callable[[str], Path]
PAIRS = [("who sold drums?", "Ada sold drums."), ("who sold drums?", "The sea is wide, and it was cold .")]


@pytest.fixture
def policy(shipped: MakeShipped) -> Any:
    return shipped("classes", keep_fractions=(0.6, 0.3))


@pytest.fixture
def stock(policy: Any, tmp_path: Path) -> Any:
    """The encoder that the policy was trained for, as its owner loads it."""
    policy.backbone.save_pretrained(tmp_path / "stock")
    return AutoModelForSequenceClassification.from_pretrained(tmp_path / "stock")


@torch.no_grad()
@pytest.mark.parametrize("form", ["folder", "run", "model"])
def test_a_loaded_model_is_wrapped(form: str, policy: Any, stock: Any, padded: MakeInputs, tmp_path: Path) -> None:
    inputs = padded("classes")
    plain = stock(**inputs).logits
    policy.save_pretrained(tmp_path / "run" / "model")
    sources = {"folder": tmp_path / "run" / "model", "run": str(tmp_path / "run"), "model": policy}
    expected = policy(**inputs).logits
    faster = accelerate(stock, policy=sources[form])
    assert faster(**inputs).logits.equal(expected)
    assert not expected.equal(plain)
    assert faster.backbone is stock
    torch.testing.assert_close(stock(**inputs).logits, plain, rtol=0, atol=1e-5)
    faster.keep_fractions = (1.0, 1.0)
    torch.testing.assert_close(faster(**inputs).logits, plain, rtol=0, atol=1e-5)
    assert policy.keep_fractions == (0.6, 0.3)
    assert policy.backbone is not stock
    assert policy(**inputs).logits.equal(expected)


@torch.no_grad()
def test_format_and_mode_are_the_models_own(policy: Any, stock: Any, padded: MakeInputs) -> None:
    faster = accelerate(stock.bfloat16().train(), policy=policy)
    assert {values.dtype for values in faster.parameters()} == {torch.bfloat16}
    assert faster.training
    assert faster.policy.training
    assert policy.dtype == torch.float32
    expected = copy.deepcopy(policy).bfloat16()(**padded("classes")).logits
    assert faster.eval()(**padded("classes")).logits.equal(expected)


def test_the_owners_names_of_labels_stay(policy: Any, tmp_path: Path) -> None:
    policy.backbone.save_pretrained(tmp_path / "stock")
    names = {place: f"Klasse {place}" for place in range(policy.config.num_labels)}
    numbers = {name: place for place, name in names.items()}
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "stock", id2label=names, label2id=numbers)
    before = policy.config.id2label
    faster = accelerate(stock, policy=policy)
    assert (faster.config.id2label, faster.config.label2id) == (names, numbers)
    assert policy.config.id2label == before != names


@torch.no_grad()
def test_it_is_saved_whole(policy: Any, stock: Any, padded: MakeInputs, tmp_path: Path) -> None:
    accelerate(stock, policy=policy).save_pretrained(tmp_path / "faster")
    loaded = TokenReducedModel.from_pretrained(tmp_path / "faster")
    assert loaded(**padded("classes")).logits.equal(policy(**padded("classes")).logits)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["relevance", "regression"])
def test_a_cross_encoder_is_wrapped(
    kind: str, folder_of: FolderOf, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = TokenReducedModel.from_pretrained(folder_of(kind))
    model.backbone.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    identity = torch.nn.Identity()
    encoder = library.CrossEncoder(str(tmp_path), device="cpu", activation_fn=identity)
    plain = encoder.predict(PAIRS)
    assert accelerate(encoder, policy=folder_of(kind)) is encoder
    assert isinstance(encoder.model, TokenReducedModel)
    reduced = library.CrossEncoder(str(folder_of(kind)), device="cpu", activation_fn=identity).predict(PAIRS)
    assert encoder.predict(PAIRS).tolist() == reduced.tolist()
    encoder.save_pretrained(str(tmp_path / "faster"))
    saved = library.CrossEncoder(str(tmp_path / "faster"), device="cpu")
    assert saved.predict(PAIRS).tolist() == reduced.tolist()
    encoder.model.keep_fractions = (1.0, 1.0)
    assert encoder.predict(PAIRS).tolist() == pytest.approx(plain.tolist(), abs=1e-5)
    assert len(encoder.rank(PAIRS[0][0], [PAIRS[0][1], PAIRS[1][1]])) == 2


def test_policies_of_other_encoders_are_refused(policy: Any, stock: Any, shipped: MakeShipped) -> None:
    other = copy.deepcopy(stock)
    other.classifier.bias.data += 1.0
    with pytest.raises(ValueError, match=r"trained for another encoder than the model .*: give that one"):
        accelerate(other, policy=policy)
    message = "trained for a BertForQuestionAnswering, and the model is a BertForSequenceClassification"
    with pytest.raises(ValueError, match=message):
        accelerate(stock, policy=shipped("questions"))
    policy.config.original_fingerprint = "0123456789abcdef"
    with pytest.raises(ValueError, match=r"encoder was trained with it, .*: load the whole model, by"):
        accelerate(stock, policy=policy)


def test_what_is_no_such_model(policy: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Linear cannot be accelerated: give a model of transformers, or"):
        accelerate(torch.nn.Linear(2, 2), policy=policy)
    with pytest.raises(TypeError, match="the model is token-reduced already: set its speedup"):
        accelerate(policy, policy=policy)
    with pytest.raises(FileNotFoundError, match="could not be loaded"):
        accelerate(policy.backbone, policy=tmp_path)


def test_a_plain_checkpoint_is_no_policy(stock: Any, tmp_path: Path) -> None:
    said = r"stock' holds a 'bert' model, not a token-reduced one: make a faster model of it by runners/make_faster.py"
    with pytest.raises(ValueError, match=said):
        accelerate(stock, policy=tmp_path / "stock")
    with pytest.raises(ValueError, match=said):
        TokenReducedModel.from_pretrained(tmp_path / "stock")
