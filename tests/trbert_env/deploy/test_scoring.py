"""Raw texts are read as in training: whole where they fit, else their beginning, their ends or windows of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, PreTrainedTokenizerBase

from trbert_env import TokenReducedConfig, TokenReducedModel
from trbert_env.deploy.export.backends import missing_packages
from trbert_env.deploy.export.export import export_model

SHORT = ["Anna moved to Bern last year .", "Boris likes the sea .", "The sea is wide ."]
LONG = [" ".join([text] * 12) for text in SHORT]
LENGTH = 16

MakeModel = Callable[..., Any]


@pytest.fixture
def make_model(tokenizer: PreTrainedTokenizerBase) -> MakeModel:
    """A classifier of random weights, with settings of its task."""

    def make(env: str = "TextClassification", **settings: Any) -> Any:
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}
        own = BertConfig(vocab_size=len(tokenizer), initializer_range=0.3, num_labels=3, **sizes).to_dict()
        task = "span_qa" if env == "SpanQA" else "classification"
        config = TokenReducedConfig(
            backbone=own | {"model_type": "bert"}, env=env, task=task, task_settings=settings, policy_size=4
        )
        return TokenReducedModel(config).eval()

    return make


def called(model: Any, inputs: Any) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(**inputs).logits
    return found


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seconds", [None, SHORT[::-1]])
def test_what_a_tokenizer_cuts_alike_has_the_logits_of_the_padded_call(
    make_model: MakeModel, tokenizer: PreTrainedTokenizerBase, seconds: list[str] | None
) -> None:
    model, cut = make_model(max_tokens=LENGTH), {"truncation": True, "max_length": LENGTH, "padding": True}
    for texts in (SHORT, LONG):
        inputs = tokenizer(texts, seconds, return_tensors="pt", **cut)
        close(model.score(texts, seconds, tokenizer=tokenizer), called(model, inputs))


def test_of_windows_the_greatest_logit_counts(make_model: MakeModel, tokenizer: PreTrainedTokenizerBase) -> None:
    model, room = make_model(max_tokens=LENGTH, max_slices=3), LENGTH - 2
    found = model.score(LONG, tokenizer=tokenizer)
    for text, logits in zip(LONG, found, strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][: 3 * room]
        windows = [[tokenizer.cls_token_id, *ids[first : first + room], tokenizer.sep_token_id]
                   for first in range(0, len(ids), room)]  # fmt: skip
        rows = [called(model, {"input_ids": torch.tensor([[window]])})[0] for window in windows]
        assert len(rows) == 3
        close(logits, torch.stack(rows).amax(0))


def test_the_end_is_read_where_it_was_learned(make_model: MakeModel, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [f"{LONG[0]} {end}" for end in ("Boris likes the sea .", "Anna moved to Bern .")]
    head, both = (
        make_model(max_tokens=LENGTH, truncation=truncation).score(texts, tokenizer=tokenizer)
        for truncation in ("head", "head+tail")
    )
    assert torch.equal(head[0], head[1])
    assert not torch.equal(both[0], both[1])


def test_single_strings_many_and_none(
    make_model: MakeModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    make_model(max_tokens=LENGTH).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = TokenReducedModel.from_pretrained(tmp_path)  # with the tokenizer beside it
    of_all = model.score(SHORT, SHORT[0])
    assert of_all.shape == (3, 3)
    close(model.score(SHORT[0], SHORT[0]), of_all[0])
    close(model.score(SHORT[1], SHORT), model.score([SHORT[1]] * 3, SHORT))
    assert model.score(SHORT[0]).shape == (3,)
    assert model.score([]).shape == (0, 3)


def test_an_export_scores_alike(
    make_model: MakeModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing_packages("onnx"):
        pytest.skip("not installed: pip install 'trbert-env[onnx]'")
    model = make_model(max_tokens=LENGTH, max_slices=3)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    export_model(tmp_path, "onnx")
    monkeypatch.chdir(tmp_path)
    exported = TokenReducedModel.from_pretrained(".", backend="onnx")
    monkeypatch.chdir(tmp_path.parent)
    torch.testing.assert_close(exported.score(LONG), model.score(LONG, tokenizer=tokenizer), rtol=0, atol=1e-4)


def test_the_tokenizer_is_found_where_the_model_was_loaded_from(
    make_model: MakeModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = make_model(max_tokens=LENGTH), tmp_path / "run" / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    loaded = [TokenReducedModel.from_pretrained(tmp_path / "run", subfolder="model"),
              TokenReducedModel.from_pretrained("run/model")]  # fmt: skip
    monkeypatch.chdir(tmp_path / "run")
    for one in loaded:
        close(one.score(SHORT), model.score(SHORT, tokenizer=tokenizer))


def test_the_tokenizer_is_of_the_revision_and_cache_that_the_model_was_loaded_from(
    make_model: MakeModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model, cache = make_model(max_tokens=LENGTH), tmp_path / "models--some--reviewer"
    for revision, commit in (("main", "a" * 40), ("second", "b" * 40)):
        (cache / "refs").mkdir(parents=True, exist_ok=True)
        (cache / "refs" / revision).write_text(commit)
        model.save_pretrained(cache / "snapshots" / commit)
    tokenizer.save_pretrained(cache / "snapshots" / ("b" * 40))  # the first revision has none
    options = {"revision": "second", "cache_dir": str(tmp_path), "local_files_only": True}
    loaded = TokenReducedModel.from_pretrained("some/reviewer", **options)
    close(loaded.score(SHORT), model.score(SHORT, tokenizer=tokenizer))


def test_a_model_in_training_mode_scores_without_dropout_and_stays_in_it(
    make_model: MakeModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = make_model(max_tokens=LENGTH)
    expected = model.score(SHORT, tokenizer=tokenizer)
    model.train()
    model.policy.eval()
    close(model.score(SHORT, tokenizer=tokenizer), expected)
    assert model.training
    assert model.backbone.training
    assert not model.policy.training


def test_what_cannot_be_scored_is_refused(make_model: MakeModel, tokenizer: PreTrainedTokenizerBase) -> None:
    model = make_model(max_tokens=LENGTH)
    with pytest.raises(ValueError, match="was not loaded from a folder, so that its tokenizer is not known"):
        model.score(SHORT)
    with pytest.raises(ValueError, match="3 texts but 2 text_pairs: give one second text for each"):
        model.score(SHORT, SHORT[:2], tokenizer=tokenizer)
    with pytest.raises(TypeError, match=r"texts\[1\] is None: give a string, or a list of strings"):
        model.score(["a", None], tokenizer=tokenizer)
    with pytest.raises(ValueError, match="pairs are not sliced"):
        make_model(max_tokens=LENGTH, max_slices=2).score(SHORT, SHORT, tokenizer=tokenizer)
    assert not hasattr(make_model("SpanQA"), "score")
