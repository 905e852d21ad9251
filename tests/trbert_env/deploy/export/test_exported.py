"""An exported model answers as the model that it was made from."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from trbert_env.deploy.export.backends import backend_of
from trbert_env.deploy.export.export import export_model
from trbert_env.deploy.export.model import ExportedModel
from trbert_env.deploy.model import TokenReducedConfig, TokenReducedModel
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.speed_table import SpeedTable
from trbert_env.system import ReducedSystem

TOLERANCE = 1e-4
TABLE = SpeedTable(speedups=(1.1, 1.5, 3.0), thresholds=(0.1, 0.4, 0.9))
FAMILIES = ("bert", "distilbert", "electra", "roberta", "bert")
KINDS = ("span", "classes", "choice", "candidates", "multi-hop")
FAMILIES_AND_KINDS = [
    ("bert", "span", True),
    ("distilbert", "span", True),
    ("electra", "span", False),
    ("roberta", "span", True),
    ("bert", "classes", False),
    ("distilbert", "classes", True),
    ("electra", "choice", True),
    ("roberta", "choice", False),
    ("bert", "multi-hop", True),
    ("roberta", "candidates", True),
]
#: OpenVINO takes seconds to compile a graph, and is given the same ones: each family and kind once.
EACH_ONCE = [case for case in FAMILIES_AND_KINDS if case[:2] in zip(FAMILIES, KINDS, strict=True)]
CASES = [*(("onnx", *case) for case in FAMILIES_AND_KINDS), *(("openvino", *case) for case in EACH_ONCE)]
RULES = (DecisionRule(0.45), DecisionRule(keep_fractions=(0.7, 0.3)), DecisionRule(1.0))


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("backend", "family", "kind", "overlap"), CASES, indirect=["backend"])
def test_the_same_logits(backend: str, family: str, kind: str, overlap: bool, save: Callable[..., Any]) -> None:
    saved = save(kind, family, overlap=overlap)
    export_model(saved.folder, backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=backend)
    batches = [saved.texts, saved.texts[:1]]
    with torch.no_grad():
        for texts in batches:
            batch = TextBatch.from_texts(texts)
            for rule in RULES:
                expected, found = (ReducedSystem(model, rule).run(batch) for model in (saved.model, exported))
                close(found.logits, expected.logits)
                assert found.kept_tokens.tolist() == expected.kept_tokens.tolist()
                assert found.flops.tolist() == expected.flops.tolist()
                assert found.full_flops.tolist() == expected.full_flops.tolist()


def test_tokenised_batches(any_backend: str, save: Callable[..., Any]) -> None:
    saved = save("choice")
    export_model(saved.folder, any_backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)
    ids = torch.randint(5, 60, (2, 3, 11))
    mask = torch.ones_like(ids)
    mask[0, 1, 4:] = mask[1, 2] = 0
    with torch.no_grad():
        expected, found = (model(input_ids=ids, attention_mask=mask) for model in (saved.model, exported))
    assert type(found) is type(expected)
    close(found.logits, expected.logits)


@pytest.mark.parametrize("name", ["labels", "start_positions", "end_positions"])
def test_it_does_not_learn(name: str, any_backend: str, save: Callable[..., Any]) -> None:
    saved = save()
    export_model(saved.folder, any_backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)
    with pytest.raises(ValueError, match=rf"does not support {name} \(an export does not learn\): leave it out"):
        exported(input_ids=torch.full((1, 5), 7), **{name: torch.ones(1, dtype=torch.int64)})


def test_one_and_three_reductions(backend: str, save: Callable[..., Any]) -> None:
    for family, layers in (("bert", (3,)), ("bert", (2, 3, 4)), ("distilbert", (1.5, 2.5, 4))):
        saved = save(family=family, layers=layers)
        export_model(saved.folder, backend)
        batch = TextBatch.from_texts(saved.texts)
        exported = ExportedModel.from_pretrained(saved.folder, backend)
        with torch.no_grad():
            expected, found = (model.forward_packed(batch) for model in (saved.model, exported))
        close(found.logits, expected.logits)
        assert len(found.layouts) == len(expected.layouts) == len(layers) + 1
        for masks in ("keep_masks", "policy_logits"):
            for one, other in zip(getattr(found, masks), getattr(expected, masks), strict=True):
                close(one.float(), other.float())


def test_nothing_skipped(backend: str, save: Callable[..., Any]) -> None:
    saved = save(overlap=True)
    export_model(saved.folder, backend, unreduced=True)
    exported = ExportedModel.from_pretrained(saved.folder, backend, unreduced=True)
    batch = TextBatch.from_texts(saved.texts)
    output = ReducedSystem(exported).run(batch)
    with torch.no_grad():
        close(output.logits, saved.model.staged(batch))
    assert output.flops.tolist() == output.full_flops.tolist() == saved.model.cost.full(batch.layout).tolist()


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8-dynamic"])
def test_coarser_numbers(precision: str, backend: str, save: Callable[..., Any]) -> None:
    if precision not in backend_of(backend).PRECISIONS:
        with pytest.raises(ValueError, match="precision 'bfloat16': backend 'onnx' has float32, int8, int8-dynamic"):
            export_model("no model", backend, precision)
        return
    saved = save(overlap=True)
    export_model(saved.folder, backend, precision, texts=saved.texts if precision == "int8" else ())
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=backend, precision=precision)
    batch = TextBatch.from_texts(saved.texts)
    rule = DecisionRule(0.0)
    with torch.no_grad():
        expected = saved.model.forward_packed(batch, decision=rule).logits
    found = exported.forward_packed(batch, rule).logits
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.95
    # Quantised for certain: float32 is closer by orders of magnitude. Not every processor has bfloat16.
    assert precision == "bfloat16" or float((found - expected).abs().max()) > TOLERANCE


def test_bfloat16_attends_as_float32_does(backend: str, save: Callable[..., Any]) -> None:
    """Weights that make attention sharp: a bias of padding that the kernels cannot take shows there alone."""
    if "bfloat16" not in backend_of(backend).PRECISIONS:
        pytest.skip(f"{backend} has no bfloat16")
    saved = save(overlap=True)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in saved.model.backbone.named_parameters():
            if parameter.dim() > 1 and "LayerNorm" not in name:
                parameter.normal_(std=0.2)
    saved.model.save_pretrained(saved.folder)
    batch = TextBatch.from_texts(saved.texts)
    with torch.no_grad():
        expected = saved.model.staged(batch)
    export_model(saved.folder, backend, "bfloat16", unreduced=True)
    exported = ExportedModel.from_pretrained(saved.folder, backend, "bfloat16", unreduced=True)
    found = ReducedSystem(exported).run(batch).logits
    assert float((found - expected).abs().mean()) < 0.05 * float(expected.std())


def test_it_decides_by_what_is_set(any_backend: str, save: Callable[..., Any]) -> None:
    saved = save()
    saved.model.speed_table = TABLE
    saved.model.save_pretrained(saved.folder)
    for unreduced in (False, True):
        export_model(saved.folder, any_backend, unreduced=unreduced)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)
    batch, found = TextBatch.from_texts(saved.texts), []
    with torch.no_grad():
        for name, value in (("threshold", 1.0), ("keep_fractions", (0.7, 0.3)), ("speedup", 1.5)):
            for model in (saved.model, exported):
                setattr(model, name, value)
            assert getattr(exported, name) == value
            masks = exported.forward_packed(batch).keep_masks
            expected = saved.model.forward_packed(batch).keep_masks
            assert [mask.tolist() for mask in masks] == [mask.tolist() for mask in expected]
            found.append(float(masks[0].sum()))
    assert len(set(found)) == 3
    with pytest.raises(ValueError, match="2 reductions"):
        exported.keep_fractions = (0.5,)
    whole = ExportedModel.from_pretrained(saved.folder, any_backend, unreduced=True)
    with pytest.raises(ValueError, match="skips nothing, so that nothing is decided: load the reduced export"):
        whole.threshold = 0.3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_that_was_saved_in_half_precision(dtype: torch.dtype, backend: str, save: Callable[..., Any]) -> None:
    saved = save("classes")
    saved.model.to(dtype).save_pretrained(saved.folder)
    export_model(saved.folder, backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=backend)
    batch = TextBatch.from_texts(saved.texts)
    with torch.no_grad():
        close(exported.forward_packed(batch).logits, saved.model.float().forward_packed(batch).logits)


def test_threads_do_not_share_what_they_compute(backend: str, save: Callable[..., Any]) -> None:
    saved = save("classes")
    export_model(saved.folder, backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=backend)
    batches = [TextBatch.from_texts([text]) for text in saved.texts] * 50
    with torch.no_grad():
        alone = [exported.forward_packed(batch).logits.clone() for batch in batches[: len(saved.texts)]] * 50

    def logits(batch: TextBatch) -> torch.Tensor:
        with torch.no_grad():
            return exported.forward_packed(batch).logits

    with ThreadPoolExecutor(4) as threads:
        for found, expected in zip(threads.map(logits, batches), alone, strict=True):
            close(found, expected, 1e-6)


def test_inputs_of_stock_models(any_backend: str, save: Callable[..., Any]) -> None:
    saved = save()
    export_model(saved.folder, any_backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)
    inputs = {"input_ids": torch.tensor([[2, 5, 6, 3]])}
    expected = exported(**inputs)
    for asked in ({"return_dict": True}, {"output_hidden_states": False}, {"position_ids": None}):
        assert exported(**inputs, **asked).to_tuple()[0].equal(expected.to_tuple()[0])
    assert exported(**inputs, return_dict=False)[0].equal(expected.to_tuple()[0])
    for name in ("output_hidden_states", "position_ids"):
        with pytest.raises(ValueError, match=f"does not support {name} .*: leave it out"):
            exported(**inputs, **{name: True})


def test_ids_that_the_encoder_does_not_know_are_named(any_backend: str, save: Callable[..., Any]) -> None:
    saved = save("classes", "roberta")
    export_model(saved.folder, any_backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        close(exported(ids.int()).logits, saved.model(ids).logits)
    types = saved.model.backbone.config.type_vocab_size
    for model in (exported, saved.model):
        with pytest.raises(ValueError, match=f"token_type_ids have the token type id {types}, and the encoder has"):
            model(ids, token_type_ids=torch.full_like(ids, types))


def test_an_export_that_fails_leaves_the_earlier_one(save: Callable[..., Any]) -> None:
    saved = save()
    export_model(saved.folder, "onnx", "int8", texts=saved.texts)
    ids = np.full(401, 7, np.int32)
    long = replace(saved.texts[0], input_ids=ids, token_type_ids=0 * ids, sequence_lengths=(401,))
    with pytest.raises(ValueError, match="401 tokens"):
        export_model(saved.folder, "onnx", "int8", texts=[saved.texts[0], long])
    exported = TokenReducedModel.from_pretrained(saved.folder, backend="onnx", precision="int8")
    with torch.no_grad():
        assert exported.forward_packed(TextBatch.from_texts(saved.texts)).logits.isfinite().all()
    export_model(saved.folder, "onnx", "int8", texts=saved.texts)  # what the failure left is no hindrance


def test_a_changed_model_refuses_its_export(any_backend: str, save: Callable[..., Any]) -> None:
    saved = save()
    with pytest.raises(
        FileNotFoundError, match=f"holds no export: make it by .*--backend {any_backend} --precision float32"
    ):
        TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)
    export_model(saved.folder, any_backend)
    # How it decides is no part of the graphs.
    saved.model.set_decision(DecisionRule(keep_fractions=(0.5, 0.2)))
    saved.model.save_pretrained(saved.folder)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)
    assert exported.decision == DecisionRule(keep_fractions=(0.5, 0.2))
    next(saved.model.policy.parameters()).data[0] += 1.0
    saved.model.save_pretrained(saved.folder)
    with pytest.raises(ValueError, match=r"is of other weights, or another configuration than .* now has: make it by"):
        TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)


def test_a_damaged_record(any_backend: str, save: Callable[..., Any]) -> None:
    saved = save()
    path = export_model(saved.folder, any_backend) / "export.json"
    record = json.loads(path.read_text())
    for text, message in (
        ("{", "is damaged"),
        (json.dumps(record | {"format": 0}), "has format 0, this version reads 1"),
        (json.dumps({name: value for name, value in record.items() if name != "cost"}), "is damaged"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)


def test_too_long_a_sequence(any_backend: str, save: Callable[..., Any]) -> None:
    saved = save()
    export_model(saved.folder, any_backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=any_backend)
    with pytest.raises(ValueError, match="a sequence has 401 tokens, and the encoder has 400 positions"):
        exported(torch.full((1, 401), 7))


def test_what_is_refused(save: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    saved = save()
    with pytest.raises(ValueError, match="backend 'tflite': give one of onnx, openvino"):
        export_model(saved.folder, "tflite")
    with pytest.raises(ValueError, match="precision 'int8' is of an export: name its backend"):
        TokenReducedModel.from_pretrained(saved.folder, precision="int8")
    with pytest.raises(ValueError, match="backend 'onnx' takes a precision and no other option"):
        TokenReducedModel.from_pretrained(saved.folder, backend="onnx", dtype=torch.float32)
    monkeypatch.setattr("trbert_env.deploy.export.backends.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'trbert-env\[openvino\]'"):
        export_model(saved.folder, "openvino")


def test_texts_go_with_int8_alone(any_backend: str, save: Callable[..., Any]) -> None:
    saved = save()
    with pytest.raises(ValueError, match="needs texts to fit scales to"):
        export_model(saved.folder, any_backend, "int8")
    with pytest.raises(ValueError, match="fits no scales: leave texts out"):
        export_model(saved.folder, any_backend, texts=saved.texts)


def test_the_configuration_tells_the_decision() -> None:
    config = TokenReducedConfig(threshold=0.3, keep_fractions=[0.5, 0.2])
    assert config.decision == DecisionRule(0.3, (0.5, 0.2))


def test_texts_do_not_touch_each_other(backend: str, save: Callable[..., Any]) -> None:
    saved = save(overlap=True)
    export_model(saved.folder, backend)
    exported = TokenReducedModel.from_pretrained(saved.folder, backend=backend)
    together = exported.forward_packed(TextBatch.from_texts(saved.texts))
    alone = [exported.forward_packed(TextBatch.from_texts([text])).logits for text in saved.texts]
    close(together.logits, torch.cat(alone), 1e-5)
    assert np.isfinite(together.logits.numpy()).all()


@pytest.mark.parametrize("family", ["deberta-v2", "modernbert", "mpnet"])
def test_families_whose_layers_read_positions_are_refused(
    any_backend: str, family: str, save: Callable[..., Any]
) -> None:
    saved = save("classes", family)
    with pytest.raises(ValueError, match=f"'{family}' cannot be exported"):
        export_model(saved.folder, any_backend)
    assert not (saved.folder / any_backend).exists()
