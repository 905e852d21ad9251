"""A workload is refused where nothing can be done with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoTokenizer, BertConfig, BertForQuestionAnswering

from trbert_env.data.backbones import Backbone
from trbert_env.data.checkpoints import locate
from trbert_env.data.embedded.trivia import embedded_triviaqa
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
