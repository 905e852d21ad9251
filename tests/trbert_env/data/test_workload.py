"""A workload is refused where nothing can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForQuestionAnswering

from trbert_env.data.backbones import Backbone
from trbert_env.data.checkpoints import locate
from trbert_env.data.embedded.trivia import embedded_triviaqa
from trbert_env.data.request import DataRequest
from trbert_env.data.workload import Workload
from trbert_env.presets import get_preset


def test_records_without_an_answer_to_learn_are_refused_before_training() -> None:
    tokenizer = AutoTokenizer.from_pretrained(locate("embedded"))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = BertConfig(vocab_size=len(tokenizer), **sizes)
    backbone = Backbone(BertForQuestionAnswering(config), tokenizer, "tiny", "nowhere", True)
    preset = get_preset("TriviaQA")
    preset = replace(preset, settings={**preset.settings, "max_tokens": 48, "max_slices": 1})
    records = embedded_triviaqa("train").select(range(2))
    with pytest.raises(ValueError, match="none of the 2 records to train on has an answer in what is read of them"):
        Workload.encode(preset, records, backbone, "train", "embedded")
    assert Workload.encode(preset, records, backbone, "validation", "embedded").texts


def test_a_head_that_is_missing_is_drawn_alike_whatever_was_drawn_before(save_encoder: Callable[..., Path]) -> None:
    encoder = str(save_encoder(hidden_size=8, intermediate_size=8))
    request = DataRequest("IMDB", data_source="embedded")
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with pytest.warns(UserWarning, match="its task head is untrained"):
            workload = Workload.load(request, "train", backbone=encoder, max_examples=2)
        found.append(workload.backbone.model.classifier.weight)
        assert torch.initial_seed() == seed
    assert found[0].equal(found[1])
    assert found[0].std() > 0
