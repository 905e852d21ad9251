"""StagedModel: what five things that travel together must agree on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.cost import CostModel
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.span_qa import SpanQA


def batch_of(lengths: tuple[int, ...]) -> TextBatch:
    generator = np.random.default_rng(0)
    texts = [
        EncodedText(
            text_id=str(index),
            input_ids=generator.integers(1, 60, length).astype(np.int32),
            token_type_ids=np.zeros(length, dtype=np.int32),
            sequence_lengths=(length,),
            target=np.array([0, 0]),
        )
        for index, length in enumerate(lengths)
    ]
    return TextBatch.from_texts(texts)


def test_keep_all_reads_the_unreduced_logits(make_model: Callable[..., PreTrainedModel]) -> None:
    staged = StagedModel(make_model("bert"), SpanQA(), (2, 3))
    staged.exit_offsets.offsets.data.normal_()
    batch = batch_of((7, 3, 12))
    with torch.no_grad():
        forward = staged.start(batch)
        while not forward.done:
            forward.advance(torch.ones_like(forward.tokens.layout.first_tokens))
        logits, stops = staged.read(forward)
        torch.testing.assert_close(logits, staged(batch), rtol=0, atol=1e-5)
    assert stops.tolist() == [2] * 22


def test_stopped_tokens_get_their_offsets(make_model: Callable[..., PreTrainedModel]) -> None:
    plain = StagedModel(make_model("bert"), SpanQA(), (2, 3))
    offsets = ExitOffsets(2, 2, 48)
    offsets.offsets.data = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    shifted = StagedModel(plain.model, plain.task, (2, 3), offsets)
    assert shifted.exit_offsets is offsets
    batch = batch_of((5,))
    found = []
    with torch.no_grad():
        for staged in (plain, shifted):
            forward = staged.start(batch)
            forward.advance(torch.tensor([True, True, True, False, True]))
            forward.advance(torch.tensor([True, False, True, True]))
            found.append(staged.read(forward))
    (before, stops), (after, _) = found
    assert stops.tolist() == [2, 1, 2, 0, 2]
    expected = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [1.0, 2.0], [0.0, 0.0]])
    torch.testing.assert_close(after - before, expected)


def test_its_parts_belong_together(make_model: Callable[..., PreTrainedModel]) -> None:
    model = make_model("bert")
    staged = StagedModel(model, SpanQA(), (2, 4), policy_flops=10)
    assert staged.cost == CostModel.of(staged.encoder, 10)
    assert staged.num_reductions == staged.exit_offsets.num_reductions == 2
    assert staged.device == model.device
    with pytest.raises(ValueError, match="exit offsets of 3 reductions: there are 2"):
        StagedModel(model, SpanQA(), (2, 4), ExitOffsets(3, 2, 48))
    with pytest.raises(ValueError, match="so each must lie in"):
        StagedModel(model, SpanQA(), (2, 99))
