"""The probe finds the layer from which on nothing changes, whatever the head reads; and it is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from agents.policy_agent import PolicyAgentOptions
from runners.cli.options import EncoderOptions
from runners.evaluation.layer_probe import LayerProbe, measured_cuts, probe_layers
from runners.evaluation.matching import fractions_for_speedup
from runners.training import layers as layers_module
from runners.training.layers import LEAST_KEPT, WantedSpeed, settled_layers
from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.presets import get_preset
from trbert_env.reduction.cost import CostModel, policy_flops_per_token
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import Classification, SpanQA, Task


def texts_of(count: int, width: int, slices: int = 1) -> list[EncodedText]:
    random = np.random.default_rng(0)
    found = []
    for index in range(count):
        lengths = tuple(int(random.integers(6, 14)) for _ in range(1 + index % slices))
        target = np.zeros((1, 2), dtype=np.int64) if width == 2 else np.zeros(1, dtype=np.int64)
        ids = random.integers(5, 60, sum(lengths)).astype(np.int32)
        found.append(EncodedText(f"text{index}", ids, np.zeros_like(ids), lengths, target))
    return found


def made(make_model: Callable[..., PreTrainedModel], kind: str) -> tuple[PreTrainedModel, Task]:
    """A tiny BERT of five layers, of which the last two leave their input as it is."""
    model: Any = make_model("bert", layers=5)
    task: Task = SpanQA()
    if kind == "first tokens":
        task = Classification()
        task.configure(model.config, Dataset.from_dict({"label": ["a", "b", "c"]}))
        classifier = AutoModelForSequenceClassification.from_config(model.config).eval()
        classifier.bert.load_state_dict(model.bert.state_dict(), strict=False)
        torch.nn.init.normal_(classifier.classifier.weight, generator=torch.Generator().manual_seed(0))
        model = classifier
    for layer in model.bert.encoder.layer:
        for block in (layer.attention.output, layer.output):
            block.LayerNorm.weight.data.fill_(1.0)
            block.LayerNorm.bias.data.zero_()
    for layer in model.bert.encoder.layer[3:]:
        for block in (layer.attention.output, layer.output):
            block.dense.weight.data.zero_()
            block.dense.bias.data.zero_()
    return model, task


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("kind", ["tokens", "first tokens"])
def test_layers_behind_which_nothing_changes_tell_all(
    make_model: Callable[..., PreTrainedModel], kind: str, slices: int
) -> None:
    model, task = made(make_model, kind)
    probe = probe_layers(StagedModel(model, task), texts_of(400, 2 if kind == "tokens" else 1, slices))
    assert probe.prior > 0
    assert [share > 0.98 for share in probe.told] == [False, False, True, True, True]
    assert probe.told[0] < probe.told[1] < probe.told[2]
    last = next(layer for layer, share in enumerate(probe.told, start=1) if share >= 0.5) + 1
    assert probe.reduction_layers == (2, max(3, last))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ((0.0, 0.1, 0.2, 0.8, 0.97, 1.0), (2, 5)),
        ((0.6, 0.7, 0.8, 0.9, 1.0), (2, 3)),  # the first cut is before layer 2 in any case
        ((0.0, 0.1, 0.2, 0.3, 0.4, 1.0), (2, 6)),  # no layer but the last tells half: cut before it
        ((-0.5, 0.49, 0.5, 1.0), (2, 4)),
        ((0.1, 1.0), (2,)),
        ((0.1, 0.2, 1.0), (2, 3)),
    ],
)
def test_the_last_cut_goes_behind_the_first_layer_that_tells_half(
    told: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    probe = LayerProbe(tuple(4.0 * (1 - share) for share in told), prior=4.0)
    assert probe.told == pytest.approx(told)
    assert probe.reduction_layers == expected


def test_modernberts_cuts_are_moved_and_means_of_tokens_are_read(make_model: Callable[..., PreTrainedModel]) -> None:
    config = make_model("modernbert", layers=12).config
    probe = LayerProbe((3.0, 3.0, 3.0, 3.0, 1.0, *(0.0,) * 7), prior=4.0)
    assert measured_cuts(probe, config) == (4, 7)  # layers 1, 4, 7 and 10 are global
    assert measured_cuts(probe, make_model("bert", layers=12).config) == probe.reduction_layers == (2, 6)
    config.classifier_pooling, config.num_labels = "mean", 3
    task = Classification()
    task.configure(config, Dataset.from_dict({"label": ["a", "b", "c"]}))
    torch.manual_seed(0)
    classifier = AutoModelForSequenceClassification.from_config(config).eval()
    staged = StagedModel(classifier, task)
    assert not staged.reads_first_tokens
    found = probe_layers(staged, texts_of(60, 1))
    assert found.divergences[-1] == pytest.approx(0.0, abs=1e-3)


def test_too_few_texts(make_model: Callable[..., PreTrainedModel]) -> None:
    with pytest.raises(ValueError, match="2 texts cannot tell where the cuts go"):
        probe_layers(StagedModel(make_model("bert"), SpanQA()), texts_of(2, 2))


def tiny_workload(make_model: Callable[..., PreTrainedModel]) -> Workload:
    """Texts of a tiny BERT of five layers, whose measured cuts are 2 and 3."""
    model, task = made(make_model, "tokens")

    class Tokenizer:
        backend_tokenizer = None

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    backbone = Backbone(model, cast(PreTrainedTokenizerBase, Tokenizer()), "tiny", "tiny", fine_tuned=True)
    records = Dataset.from_dict({"id": [f"text{index}" for index in range(60)]})
    return Workload(get_preset("SQuAD2"), task, backbone, records, texts_of(60, 2), "train", "local")


@pytest.mark.parametrize("fractions", [None, (0.9, 0.5), (1.0, 0.2)])
def test_for_great_speed_ups_all_cuts_lie_half_a_layer_earlier(
    make_model: Callable[..., PreTrainedModel],
    fractions: tuple[float, ...] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path))
    workload, device = tiny_workload(make_model), torch.device("cpu")
    agent = PolicyAgentOptions(keep_fractions=fractions)
    usual = cast(tuple[int, ...], settled_layers(EncoderOptions(), workload, device).layers)
    encoder = StagedEncoder(workload.backbone.model, usual)
    cost = CostModel.of(encoder, policy_flops_per_token(encoder.hidden_size, agent.policy_size))
    shape = agent.fractions(2)
    for speedup in (1.2, 1.6, 2.0, 2.4, 2.8, 4.0):
        found = settled_layers(EncoderOptions(), workload, device, WantedSpeed(speedup, agent)).layers
        said = capsys.readouterr().err
        if shape[0] == 1.0:
            assert found == usual
            assert "too few tokens" not in said
            continue
        # Nothing behind the usual cuts is left at 4x.
        kept = 0.0 if speedup == 4.0 else fractions_for_speedup(speedup, shape, cost, workload.texts)[0]
        earlier = tuple(cut - 0.5 for cut in usual)
        assert found == (earlier if kept < LEAST_KEPT else usual)
        assert ("too few tokens" in said) == (kept < LEAST_KEPT)
    named = EncoderOptions(reduction_layers=(2, 4))
    assert settled_layers(named, workload, device, WantedSpeed(4.0, agent)) is named


def test_texts_without_labels_are_measured_on(
    make_model: Callable[..., PreTrainedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path))
    workload = tiny_workload(make_model)
    practice = replace(workload, texts=texts_of(60, 3), split="unlabelled", labelled=False)
    measured: list[Any] = []

    def noted(staged: Any, texts: Any) -> LayerProbe:
        measured.append(texts)
        return probe_layers(staged, texts)

    monkeypatch.setattr(layers_module, "probe_layers", noted)
    settled_layers(EncoderOptions(), workload, torch.device("cpu"), practice=practice)
    assert [texts is practice.texts for texts in measured] == [True]


def test_it_is_measured_once_and_named_layers_are_left_alone(
    make_model: Callable[..., PreTrainedModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path))
    workload = tiny_workload(make_model)
    named = EncoderOptions(reduction_layers=(2, 4))
    assert settled_layers(named, workload, torch.device("cpu")) is named
    first = settled_layers(EncoderOptions(), workload, torch.device("cpu"))
    assert f"--reduction-layers {' '.join(map(str, first.reduction_layers))}" in capsys.readouterr().err

    def refuse(*_: Any) -> LayerProbe:
        raise AssertionError("it was measured again")

    monkeypatch.setattr(layers_module, "probe_layers", refuse)
    assert settled_layers(EncoderOptions(), workload, torch.device("cpu")) == first
    cast(Any, workload.backbone.model).qa_outputs.weight.data.add_(1.0)  # another encoder
    with pytest.raises(AssertionError, match="measured again"):
        settled_layers(EncoderOptions(), workload, torch.device("cpu"))
