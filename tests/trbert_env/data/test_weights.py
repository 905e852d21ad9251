"""Weights are loaded whole or not at all, of every encoder family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from trbert_env.data.weights import check_backbone_missing, load_weights
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.families import FAMILIES
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.tasks import SpanQA

Tensors = dict[str, torch.Tensor]
WEIGHTS, CONFIG = "model.safetensors", "config.json"
#: A part of the name of the last of four layers.
LAST = "layer.3."
#: What the names of an encoder's weights begin with, where that is not the family.
PREFIXES = {"deberta-v2": "deberta.", "modernbert": "model.", "xlm-roberta": "roberta."}
#: What the faults below call weights by other names in ModernBERT.
MODERN = {"word_embeddings": "tok_embeddings", "layer.": "layers.", "qa_outputs.": "classifier."}


def prefix_of(family: str) -> str:
    return PREFIXES.get(family, f"{family}.")


def renamed(tensors: Tensors, names: dict[str, str]) -> Tensors:
    for old, new in names.items():
        tensors = {name.replace(old, new): values for name, values in tensors.items()}
    return tensors


@pytest.fixture
def encoder(make_model: Callable[..., PreTrainedModel], family: str, tmp_path: Path) -> Path:
    """A fine-tuned encoder of each family."""
    make_model(family, hidden=16).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def reduced(make_model: Callable[..., PreTrainedModel], tmp_path: Path) -> Path:
    """A token-reduced model."""
    policy = TokenPolicy(16, 2, 8, overlap=True)
    model = TokenReducedModel.from_parts(
        make_model("bert", hidden=16),
        policy,
        env="SQuAD2",
        task=SpanQA(),
        reduction_layers=[2, 3],
        decision=DecisionRule(),
    )
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path, auto: Any = AutoModelForQuestionAnswering) -> tuple[PreTrainedModel, bool]:
    model, missing = load_weights(auto.from_pretrained, str(folder), "backbone 'x'")
    return model, check_backbone_missing(model, missing, "backbone 'x'", str(folder))


def write(folder: Path, tensors: Tensors) -> None:
    save_file({name: values.contiguous() for name, values in tensors.items()}, folder / WEIGHTS, {"format": "pt"})


def configure(folder: Path, **values: Any) -> None:
    (folder / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | values))


def no_layer(tensors: Tensors, prefix: str) -> None:
    for name in [name for name in tensors if LAST in name]:
        del tensors[name]


def one_layer_more(tensors: Tensors, prefix: str) -> None:
    for name in [name for name in tensors if LAST in name]:
        tensors[name.replace(LAST, "layer.4.")] = tensors[name].clone()


def no_encoder(tensors: Tensors, prefix: str) -> None:
    for name in [name for name in tensors if name.startswith(prefix)]:
        del tensors[name]


def another_prefix(tensors: Tensors, prefix: str) -> None:
    for name in [name for name in tensors if name.startswith(prefix)]:
        tensors[f"berta.{name}"] = tensors.pop(name)


def unknown(name: str) -> Callable[[Tensors, str], None]:
    return lambda tensors, prefix: tensors.update({name.replace("PREFIX.", prefix): torch.ones(2)})


def element(part: str, value: float) -> Callable[[Tensors, str], None]:
    def change(tensors: Tensors, prefix: str) -> None:
        next(values for name, values in sorted(tensors.items()) if part in name).view(-1)[-1] = value

    return change


def shape(part: str) -> Callable[[Tensors, str], None]:
    def change(tensors: Tensors, prefix: str) -> None:
        name = next(name for name in sorted(tensors) if part in name)
        tensors[name] = tensors[name][:-1]

    return change


#: What is done to the weights of an encoder of each family, and a word of the line that refuses them.
FAULTS: dict[str, tuple[Callable[[Tensors, str], None], str]] = {
    "no last layer": (no_layer, "lacks weights"),
    "a layer too many": (one_layer_more, "does not know"),
    "no encoder": (no_encoder, "none of the weights"),
    "another prefix": (another_prefix, "none of the weights"),
    "an unknown weight in the encoder": (unknown("PREFIX.extra.weight"), "extra.weight"),
    "an unknown embedding": (unknown("PREFIX.embeddings.extra.weight"), "does not know"),
    "an unknown weight of a layer without the prefix": (unknown("encoder.layer.0.adapter.weight"), "does not know"),
    "an embedding too few": (shape("word_embeddings"), "another shape"),
    "a position too few": (shape("position_embeddings"), "another shape"),
    "a row too few in a layer": (shape(LAST), "another shape"),
    "a head of one output": (shape("qa_outputs.weight"), "a task head of 1 outputs"),
    "NaN in the last layer": (element(LAST, float("nan")), "1 of"),
    "infinity in the embeddings": (element("word_embeddings", float("inf")), "no numbers"),
    "NaN in the head": (element("qa_outputs.bias", float("nan")), "qa_outputs.bias"),
}


#: Encoders of relative positions alone have no table of positions.
CASES = [
    (name, family)
    for family in FAMILIES
    if family != "camembert"
    for name in FAULTS
    if family not in ("deberta-v2", "modernbert") or "position" not in name
]


@pytest.mark.parametrize(("name", "family"), CASES)
def test_weights_that_do_not_fit(name: str, encoder: Path, family: str) -> None:
    change, word = FAULTS[name]
    names = MODERN if family == "modernbert" else {}
    tensors = renamed(load_file(encoder / WEIGHTS), {own: common for common, own in names.items()})
    change(tensors, prefix_of(family))
    write(encoder, renamed(tensors, names))
    with pytest.raises(ValueError, match=r"^backbone 'x' has|^backbone 'x' lacks") as caught:
        load(encoder)
    assert next(iter(renamed({word: torch.empty(0)}, names))) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_single_weight_is_needed(encoder: Path) -> None:
    tensors = load_file(encoder / WEIGHTS)
    for name in tensors:
        write(encoder, {other: values for other, values in tensors.items() if other != name})
        with pytest.raises(ValueError, match="lacks weights") as caught:
            load(encoder)
        assert name in str(caught.value)


def test_each_single_weight_of_a_model_is_needed(reduced: Path) -> None:
    tensors = load_file(reduced / WEIGHTS)
    assert {name.split(".")[0] for name in tensors} == {"backbone", "policy", "calibration"}
    for name in tensors:
        write(reduced, {other: found for other, found in tensors.items() if other != name})
        with pytest.raises(ValueError, match="lacks weights") as caught:
            TokenReducedModel.from_pretrained(reduced)
        assert name in str(caught.value)


def test_weights_of_a_model_are_finite(reduced: Path) -> None:
    tensors = load_file(reduced / WEIGHTS)
    for name in [*list(tensors)[::8], *(name for name in tensors if not name.startswith("backbone"))]:
        values = tensors[name]
        write(reduced, tensors | {name: torch.full_like(values, torch.nan)})
        with pytest.raises(ValueError, match=f"no numbers \\({values.numel():,} of {name}\\)"):
            TokenReducedModel.from_pretrained(reduced)


@pytest.mark.parametrize(
    "name",
    [
        "extra.weight",
        "qa_outputs.weight",
        "policy.heads.2.1.weight",
        "calibration.extra",
        "backbone.bert.pooler.dense.weight",
        "backbone.classifier.weight",
    ],
)
def test_a_model_brings_nothing_else(name: str, reduced: Path) -> None:
    write(reduced, load_file(reduced / WEIGHTS) | {name: torch.ones(2)})
    with pytest.raises(ValueError, match=f"does not know \\({name}\\)"):
        TokenReducedModel.from_pretrained(reduced)


def test_a_buffer_of_old_is_not_read(reduced: Path) -> None:
    name = "backbone.bert.embeddings.position_ids"  # which transformers once saved
    write(reduced, load_file(reduced / WEIGHTS) | {name: torch.full((1, 128), 7)})
    buffers = dict(TokenReducedModel.from_pretrained(reduced).named_buffers())
    assert buffers[name][0, :3].tolist() == [0, 1, 2]


#: ModernBERT's heads are told by the name of their class: see tests/trbert_env/data/test_backbones.py.
@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("camembert", "modernbert")])
@pytest.mark.parametrize("auto", [AutoModelForMaskedLM, AutoModelForPreTraining, AutoModelForSequenceClassification])
def test_another_tasks_head_is_left_out(auto: Any, encoder: Path, family: str) -> None:
    saved = auto.from_config(AutoConfig.from_pretrained(encoder))
    saved.save_pretrained(encoder)
    model, fine_tuned = load(encoder)
    assert not fine_tuned
    loaded = model.state_dict()
    kept = [name for name in saved.state_dict() if name.startswith(prefix_of(family)) and "pooler" not in name]
    assert len(kept) > 60
    assert all(torch.equal(saved.state_dict()[name], loaded[name]) for name in kept)


def test_a_whole_encoder_is_as_it_was_saved(encoder: Path, family: str) -> None:
    model, fine_tuned = load(encoder)
    assert fine_tuned
    saved = load_file(encoder / WEIGHTS)
    assert saved.keys() == model.state_dict().keys()
    assert all(torch.equal(values, saved[name]) for name, values in model.state_dict().items())
    # The encoder alone, whose weights are named without the prefix.
    base: Any = model.base_model
    base.save_pretrained(encoder)
    assert not next(iter(load_file(encoder / WEIGHTS))).startswith(prefix_of(family))
    assert not load(encoder)[1]


@pytest.mark.parametrize(
    ("gone", "refused"),
    [
        ([], False),
        (["classifier.weight", "classifier.bias"], False),
        (["classifier.weight", "classifier.bias", "pooler.dense.weight", "pooler.dense.bias"], False),
        (["pooler.dense.weight", "pooler.dense.bias"], True),
        (["classifier.weight", "classifier.bias", "pooler.dense.bias"], True),
        (["classifier.bias"], True),
    ],
)
def test_a_pooler_belongs_to_the_head(gone: list[str], refused: bool, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = AutoConfig.for_model("bert", vocab_size=20, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    write(tmp_path, {name: values for name, values in tensors.items() if name.removeprefix("bert.") not in gone})
    if refused:
        with pytest.raises(ValueError, match="lacks weights"):
            load(tmp_path, AutoModelForSequenceClassification)
    else:
        assert load(tmp_path, AutoModelForSequenceClassification)[1] == (not gone)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"is_decoder": True}, "is a decoder"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps nan"),
        ({"initializer_range": float("inf")}, "initializer_range inf"),
        ({"odd": [0.5, float("-inf")]}, "odd"),
    ],
)
def test_configurations_that_build_but_cannot_run(values: dict[str, Any], word: str, encoder: Path) -> None:
    configure(encoder, **values)
    with pytest.raises(ValueError, match=f"^backbone 'x' .*{word}"):
        load(encoder)


@pytest.mark.parametrize("index", [None, -1])
def test_roberta_counts_positions_from_its_padding(
    index: int | None, make_model: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    make_model("roberta", hidden=16).save_pretrained(tmp_path)
    configure(tmp_path, pad_token_id=index)
    with pytest.raises(ValueError, match=f"has the pad_token_id {index} "):
        load(tmp_path)


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (SafetensorError("header too small"), ValueError, "are damaged"),
        (ImportError("bitsandbytes\nis missing"), ValueError, "a package that is not installed"),
        (OSError("no such file\nanywhere"), FileNotFoundError, "could not be loaded"),
        (RuntimeError("sizes\ndo not match"), ValueError, "could not be built"),
        (ZeroDivisionError(), ValueError, "could not be built"),
        (AssertionError("padding_idx"), ValueError, "could not be built"),
    ],
)
def test_what_loading_raises_is_one_line(error: Exception, kind: type[Exception], word: str, encoder: Path) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise error

    with pytest.raises(kind, match=word) as caught:
        load_weights(fail, str(encoder), "backbone 'x'")
    assert "\n" not in str(caught.value)
    assert "backbone 'x'" in str(caught.value)


def test_no_pickle_is_loaded_whatever_the_caller_says(reduced: Path) -> None:
    torch.save(load_file(reduced / WEIGHTS), reduced / "pytorch_model.bin")
    (reduced / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"only pytorch_model\.bin, a pickle"):
        TokenReducedModel.from_pretrained(reduced, use_safetensors=False)


def test_options_of_transformers_still_serve(reduced: Path) -> None:
    model = TokenReducedModel.from_pretrained(reduced.parent, subfolder=reduced.name, dtype=torch.float64)
    saved = load_file(reduced / WEIGHTS)
    assert all(torch.equal(values, saved[name].double()) for name, values in model.state_dict().items())
    write(reduced, {name: values for name, values in saved.items() if "policy" not in name})
    with pytest.raises(ValueError, match="lacks weights"):
        TokenReducedModel.from_pretrained(reduced.parent, subfolder=reduced.name, ignore_mismatched_sizes=True)
