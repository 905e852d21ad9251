"""Whoever loads models by transformers or sentence-transformers loads shipped ones too, with the same numbers."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    pipeline,
)

import trbert_env
from trbert_env import TokenReducedForSequenceClassification, TokenReducedModel
from trbert_env.data.weights import WrongLoadError
from trbert_env.encoder.texts import TextBatch
from trbert_env.system import ReducedSystem

FolderOf = Callable[[str], Path]
AUTO: dict[str, Any] = {
    "questions": AutoModelForQuestionAnswering,
    "classes": AutoModelForSequenceClassification,
    "relevance": AutoModelForSequenceClassification,
    "regression": AutoModelForSequenceClassification,
    "bounded regression": AutoModelForSequenceClassification,
    "choice": AutoModelForMultipleChoice,
    "multi-hop": AutoModelForTokenClassification,
}
TEXTS = ["A fine film.", "Two hours of my life that I want back, and a ticket.", "Good."]
PAIRS = [("who sold drums?", "Ada sold drums."), ("who sold drums?", "The sea is wide, and it was cold ."), ("a", "b")]


@torch.no_grad()
def test_auto_classes_give_the_class_of_the_kind(kind: str, folder_of: FolderOf, padded: Any) -> None:
    saved, inputs = TokenReducedModel.from_pretrained(folder_of(kind)), padded(kind)
    loaded = AUTO[kind].from_pretrained(folder_of(kind))
    name = f"TokenReduced{AUTO[kind].__name__.removeprefix('AutoModel')}"
    assert type(loaded) is type(saved) is getattr(trbert_env, name)
    assert loaded.config.architectures == [name]
    for one, other in zip(loaded(**inputs).values(), saved(**inputs).values(), strict=True):
        assert one.equal(other)
    made = AUTO[kind].from_config(AutoConfig.from_pretrained(folder_of(kind)))
    assert made.load_state_dict(saved.state_dict()).missing_keys == []


def test_auto_classes_of_other_kinds_are_refused_by_name(kind: str, folder_of: FolderOf) -> None:
    for other in {*AUTO.values(), AutoModel, AutoModelForMaskedLM} - {AUTO[kind]}:
        message = f"load it by {AUTO[kind].__name__} or TokenReducedModel, not by {other.__name__}"
        with pytest.raises(WrongLoadError, match=f"{message}$") as caught:
            other.from_pretrained(folder_of(kind))
        assert "\n" not in str(caught.value)
        with pytest.raises(WrongLoadError, match=f"{message}$"):
            other.from_config(AutoConfig.from_pretrained(folder_of(kind)))


def test_another_number_of_labels_is_refused(folder_of: FolderOf) -> None:
    with pytest.raises(WrongLoadError, match="num_labels is 5, and the model has 3 outputs: leave num_labels out"):
        AutoModelForSequenceClassification.from_pretrained(folder_of("classes"), num_labels=5)


class Weighted(TokenReducedForSequenceClassification):
    """A user's own class, as for a loss of theirs."""

    def forward(self, *inputs: Any, **named: Any) -> Any:
        found = super().forward(*inputs, **named)
        return found | {"logits": 2 * found.logits}


@torch.no_grad()
def test_a_class_of_ones_own_loads_as_that(folder_of: FolderOf, padded: Any) -> None:
    own, stock = (kind.from_pretrained(folder_of("classes")) for kind in (Weighted, TokenReducedModel))
    assert type(own) is type(copy.deepcopy(own)) is type(Weighted(own.config)) is Weighted
    assert own(**padded("classes"))["logits"].equal(2 * stock(**padded("classes")).logits)
    with pytest.raises(WrongLoadError, match="load it by AutoModelForQuestionAnswering or TokenReducedModel"):
        Weighted.from_pretrained(folder_of("questions"))


def test_options_that_loading_does_not_know_are_named(folder_of: FolderOf) -> None:
    with pytest.raises(TypeError, match="is loaded by no option 'speedup': leave it out"):
        TokenReducedModel.from_pretrained(folder_of("classes"), speedup=2.0)
    with pytest.raises(ValueError, match=r"threshold 2.0.*: correct threshold=2.0, or restore"):
        TokenReducedModel.from_pretrained(folder_of("classes"), threshold=2.0)


def test_a_folder_of_an_earlier_version_loads_too(folder_of: FolderOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("classes"), tmp_path / "model"))
    path = folder / "config.json"
    path.write_text(path.read_text().replace("TokenReducedForSequenceClassification", "TokenReducedModel"))
    assert AutoConfig.from_pretrained(folder).architectures == ["TokenReducedForSequenceClassification"]
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    assert loaded.config.num_labels == 3


def test_loading_with_the_readmes_code_prints_nothing(folder_of: FolderOf) -> None:
    code = (
        "import torch\nfrom transformers import AutoModelForSequenceClassification, AutoTokenizer, logging\n"
        "import trbert_env\nlogging.disable_progress_bar()\n"
        f"model = AutoModelForSequenceClassification.from_pretrained({str(folder_of('classes'))!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({str(folder_of('classes'))!r})\n"
        "inputs = tokenizer(['a', 'b c'], padding=True, truncation=True, return_tensors='pt')\n"
        "with torch.inference_mode():\n    assert model(**inputs).logits.shape == (2, 3)\n"
    )
    process = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


@torch.no_grad()
@pytest.mark.parametrize("kind", ["classes", "relevance", "regression", "bounded regression"])
def test_the_pipeline_gives_the_models_scores(
    kind: str, folder_of: FolderOf, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = TokenReducedModel.from_pretrained(folder_of(kind))
    logits = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    scores = {"classes": logits.softmax(1), "relevance": logits.sigmoid(), "regression": logits,
              "bounded regression": logits.sigmoid()}[kind]  # fmt: skip
    names = model.config.id2label
    for classify in (
        pipeline("text-classification", model=str(folder_of(kind))),
        pipeline("text-classification", model=model, tokenizer=tokenizer),
    ):
        for batch_size in (1, 3):
            found = classify(TEXTS, top_k=None, batch_size=batch_size)
            for answers, row in zip(found, scores, strict=True):
                expected = {names[place]: float(score) for place, score in enumerate(row)}
                assert {one["label"]: one["score"] for one in answers} == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["classes", "relevance", "regression", "bounded regression"])
def test_a_cross_encoder_gives_the_models_scores(
    kind: str, folder_of: FolderOf, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = TokenReducedModel.from_pretrained(folder_of(kind))
    queries, passages = ([pair[place] for pair in PAIRS] for place in (0, 1))
    inputs = tokenizer(queries, passages, padding=True, truncation=True, return_tensors="pt")
    logits = model(**inputs).logits
    encoder = library.CrossEncoder(str(folder_of(kind)), device="cpu")
    same_batch = ReducedSystem(model).run(TextBatch.from_padded(**inputs)).logits
    assert same_batch.equal(logits), "what evaluations measure"
    expected = {"classes": logits, "relevance": logits.sigmoid()[:, 0], "regression": logits[:, 0],
                "bounded regression": logits.sigmoid()[:, 0]}[kind]  # fmt: skip
    found = torch.from_numpy(encoder.predict(PAIRS))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    encoder.save_pretrained(str(tmp_path))
    again = library.CrossEncoder(str(tmp_path), device="cpu")
    torch.testing.assert_close(torch.from_numpy(again.predict(PAIRS)), found, rtol=0, atol=0)
    if kind != "classes":
        ranked = encoder.rank(queries[0], passages)
        scores = encoder.predict([(queries[0], passage) for passage in passages])
        assert [one["corpus_id"] for one in ranked] == (-scores).argsort().tolist()
        assert [one["score"] for one in ranked] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-5)


def test_the_tokenizer_beside_it_says_what_fits(folder_of: FolderOf) -> None:
    assert AutoTokenizer.from_pretrained(folder_of("classes")).model_max_length == 64
