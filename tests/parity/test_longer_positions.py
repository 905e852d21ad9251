"""An encoder with longer positions: keep-all equals the stock forward of what was saved, and short texts stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, PreTrainedModel

from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.positions import extend_positions, longest_sequence
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch

TOLERANCE = 1e-5
MakeTexts = Callable[..., list[EncodedText]]


#: Those whose positions end, but not by design: rotary ones reach as far as their configuration says.
@pytest.fixture(params=[name for name in FAMILIES if name not in ("camembert", "modernbert")])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def keep_all(model: PreTrainedModel, texts: list[EncodedText]) -> Tensor:
    forward = StagedForward(StagedEncoder(model), TextBatch.from_texts(texts))
    while not forward.done:
        forward.advance(torch.ones(forward.tokens.layout.total_tokens, dtype=torch.bool))
    return forward.final_states()[0]


def stock(model: PreTrainedModel, texts: list[EncodedText], types: bool) -> Tensor:
    """Each text by itself, with positions of the model's own counting."""
    states = []
    for text in texts:
        inputs = {"input_ids": torch.from_numpy(text.input_ids).long()[None]}
        if types:
            inputs["token_type_ids"] = torch.from_numpy(text.token_type_ids).long()[None]
        states.append(model.base_model(**inputs).last_hidden_state[0])
    return torch.cat(states)


@torch.no_grad()
@pytest.mark.parametrize("length", [700, 1000])
def test_keep_all_equals_the_stock_forward_of_the_saved_model(
    length: int, model: PreTrainedModel, family: str, make_texts: MakeTexts, tmp_path: Path
) -> None:
    assert extend_positions(model, length, "it")
    model.save_pretrained(tmp_path)
    saved = AutoModelForQuestionAnswering.from_pretrained(tmp_path).eval()
    assert saved.config.max_position_embeddings == length + (
        2 if family.endswith("roberta") or family == "mpnet" else 0
    )
    assert longest_sequence(saved) == length
    texts = make_texts((length,), (9,), (450,))
    expected = stock(saved, texts, types=FAMILIES[family].reads_token_types)
    torch.testing.assert_close(keep_all(model, texts), expected, rtol=0, atol=TOLERANCE)
    # Stock forwards read positions, and token types that are not given, from buffers of the same length.
    torch.testing.assert_close(stock(model, texts, False), stock(saved, texts, False), rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_what_fitted_before_stays_bit_for_bit(model: PreTrainedModel, make_texts: MakeTexts) -> None:
    texts = make_texts((longest_sequence(model),), (30,))
    before = keep_all(model, texts)
    extend_positions(model, 900, "it")
    assert torch.equal(keep_all(model, texts), before)


@torch.no_grad()
def test_new_positions_say_what_the_first_say(model: PreTrainedModel, make_texts: MakeTexts) -> None:
    known = longest_sequence(model)
    extend_positions(model, 2 * known + 10, "it")
    (text,) = make_texts((2 * known + 5,))
    batch = TextBatch.from_texts([text])
    states = StagedEncoder(model).embed(batch)
    shifted = TextBatch(batch.input_ids, batch.token_type_ids, batch.sequence_positions % known, batch.layout)
    assert torch.equal(states.states, StagedEncoder(model).embed(shifted).states)
