"""What ModernBERT alone has: heads that read the mean of all tokens, and layers that see only near tokens."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification, PreTrainedModel

from baselines.distilled import keep_layers
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import Classification
from trbert_env.tasks.heads import first_token_logits

MakeTexts = Callable[..., list[EncodedText]]
MakeMasks = Callable[..., list[Tensor]]
MaskedStock = Callable[[Any, Sequence[Tensor]], AbstractContextManager[None]]


@pytest.fixture
def family() -> str:
    return "modernbert"


@torch.no_grad()
def test_a_mean_over_all_tokens_takes_those_that_stopped_in_their_last_state(
    model: PreTrainedModel, make_texts: MakeTexts, make_masks: MakeMasks, masked_stock: MaskedStock
) -> None:
    config = copy.deepcopy(model.config)
    config.classifier_pooling, config.num_labels = "mean", 3
    torch.manual_seed(0)
    classifier: Any = AutoModelForSequenceClassification.from_config(config).eval().double()
    for parameter in classifier.parameters():
        torch.nn.init.normal_(parameter, std=0.25) if parameter.dim() > 1 else None
    stock = copy.deepcopy(classifier)
    stock.set_attn_implementation("eager")
    texts = make_texts((9,), (14,), (1,), (26,))
    masks = make_masks(texts, 2)
    staged = StagedModel(classifier, Classification(), (2, 3))
    assert not staged.reads_first_tokens
    forward = staged.start(TextBatch.from_texts(texts))
    for mask in masks:
        forward.advance(forward.tokens.layout.gather(mask))
    found, _ = staged.read(forward)
    for row, text in enumerate(texts):
        first, second = (mask[row, : len(text)] for mask in masks)
        with masked_stock(stock, [torch.ones_like(first), first, second, second]):
            expected = stock(torch.from_numpy(text.input_ids).long()[None]).logits[0].float()
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-5)


def test_multiple_choice_reads_as_the_configuration_says(model: PreTrainedModel) -> None:
    ids = torch.randint(5, 60, (1, 2, 9), generator=torch.Generator().manual_seed(0))
    for pooling in ("cls", "mean"):
        config = copy.deepcopy(model.config)
        config.classifier_pooling = pooling
        chooser: Any = AutoModelForMultipleChoice.from_config(config).eval()
        expected = chooser(ids, attention_mask=torch.ones_like(ids)).logits[0]
        batch = TextBatch.from_padded(ids)
        encoder = StagedEncoder(chooser)
        found = first_token_logits(chooser, encoder.run_unreduced(batch).states, batch.layout)
        torch.testing.assert_close(found[:, 0], expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_dropped_token_leaves_the_window_of_the_others_where_it_was(model: PreTrainedModel) -> None:
    # Global layers would let the end of a text see its beginning, whatever lies between.
    model.config.layer_types = ["full_attention", *["sliding_attention"] * 3]
    for layer in model.base_model.layers[1:]:
        layer.attention_type = "sliding_attention"
    encoder = StagedEncoder(model, (2,))
    tokens = encoder.run_stage(encoder.embed(TextBatch.from_padded(torch.arange(10, 40)[None])), 0)
    keep = torch.zeros(30, dtype=torch.bool)
    keep[[0, 20, 29]] = True
    kept = tokens.select(keep)
    together = encoder.run_stage(kept, 1).states
    for place in range(3):  # each is more than 3 positions from the next, and so sees itself alone
        alone = encoder.run_stage(kept.select(torch.arange(3) == place), 1).states[0]
        torch.testing.assert_close(together[place], alone, rtol=0, atol=1e-5)


def test_a_student_keeps_the_kinds_of_its_layers_and_the_first_one(model: PreTrainedModel, tmp_path: Any) -> None:
    student = keep_layers(model, (1, 3, 4))
    assert student.config.layer_types == ["full_attention", "sliding_attention", "full_attention"]
    student.save_pretrained(tmp_path)
    again = type(student).from_pretrained(tmp_path).eval()
    batch = TextBatch.from_padded(torch.arange(5, 30)[None])
    found, expected = (StagedEncoder(each).run_unreduced(batch).states for each in (student, again))
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match=r"layers \(2, 4\): a modernbert encoder begins with its layer 1, keep it"):
        keep_layers(model, (2, 4))
